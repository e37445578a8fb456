"""Which alarms are written: by kind and subject, whatever their texts say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from itertools import count, pairwise

import pytest

from conductor.state.alarms import Alarms
from rollout.errors import UnavailableError
from rollout.events import Alarm
from rollout.model import Occasion, Trouble
from rollout.record import dump_event, parse_events
from tests.fakes import START, FakeWorld
from tests.unit.conductor.processes import PLAN, Process

SCRAPE = timedelta(seconds=1)
LONG = PLAN.model_copy(
    update={
        "steps": (PLAN.steps[0].model_copy(update={"bake": timedelta(minutes=30), "deadline": timedelta(minutes=40)}),)
    }
)


def told(alarms: Alarms, trouble: Trouble, seconds: Iterator[int] | range) -> list[tuple[int, int]]:
    """Return when an alarm was due, in seconds, and with which count."""
    due = [(second, alarms.due(trouble, "", START + timedelta(seconds=second), every=SCRAPE)) for second in seconds]
    return [(second, times) for second, times in due if times is not None]


def written(world: FakeWorld, trouble: Trouble) -> list[Alarm]:
    return [event for event in world.ledger("r1").record.of(Alarm) if event.trouble is trouble]


class Hanging:
    """Signals that cannot be read, each time for another reason in words."""

    def __init__(self) -> None:
        self.attempts = count()

    def read(self) -> tuple[()]:
        raise UnavailableError(f"read timed out after {next(self.attempts) / 7:.2f} s at {object()}")


def test_a_trouble_that_goes_on_is_told_after_growing_pauses_with_a_count() -> None:
    assert told(Alarms(), Trouble.PODS_UNSEEN, range(3600)) == [(0, 0), (300, 299), (900, 599), (2100, 1199)]


def test_a_trouble_that_comes_and_goes_is_told_at_most_once_in_five_minutes() -> None:
    flapping = (second for second in range(3600) if second % 120 < 10)

    times = [second for second, _ in told(Alarms(), Trouble.PODS_UNSEEN, flapping)]

    assert all(after - before >= 300 for before, after in pairwise(times))


def test_a_trouble_that_was_away_for_five_minutes_is_new_and_says_how_often_it_was_seen_before() -> None:
    alarms = Alarms()

    assert told(alarms, Trouble.PODS_UNSEEN, range(60)) == [(0, 0)]
    assert told(alarms, Trouble.PODS_UNSEEN, range(400, 460)) == [(400, 59)]
    assert told(alarms, Trouble.PODS_UNSEEN, range(460, 700)) == []
    assert told(alarms, Trouble.PODS_UNSEEN, range(700, 705)) == [(700, 299)]


def test_what_stands_until_a_person_acts_is_told_once() -> None:
    assert told(Alarms(), Trouble.HELD, range(36_000)) == [(0, 0)]


def test_two_subjects_of_one_kind_are_two_troubles() -> None:
    alarms = Alarms()

    due = [alarms.due(Trouble.NOTICES_UNDELIVERED, name, START, every=SCRAPE) for name in ("1 (Slack)", "2 (mail)")]

    assert due == [0, 0]


def test_a_port_that_hangs_with_other_words_each_time_is_one_alarm_and_one_notice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = FakeWorld()
    process = Process(world, "ada", LONG)
    hanging = Hanging()
    signals = world.signals("r1")
    read = signals.read
    for minute, port in ((2, hanging.read), (6, read)):
        world.clock.after(
            timedelta(minutes=minute), lambda port=port: monkeypatch.setattr(signals, "read", port, raising=True)
        )

    process.carry_out()

    (alarm,) = written(world, Trouble.SIGNALS_UNSEEN)
    assert alarm.count == 0
    assert [notice.text for notice in world.notices.sent if notice.occasion is Occasion.ALARM].count(alarm.text) == 1
    assert next(hanging.attempts) > 200


def test_whoever_takes_the_rollout_over_does_not_tell_again_what_was_told() -> None:
    world = FakeWorld()
    run = Process(world, "ada").run()
    run.note_alarm(Trouble.PODS_UNSEEN, "cannot see pods: gone", world.clock.now())
    run.save()

    taken = Process(world, "bob").run()
    taken.restore_position(world.ledger("r1").state or "")
    taken.note_alarm(Trouble.PODS_UNSEEN, "cannot see pods: still gone", world.clock.now())

    assert [alarm.what for alarm in written(world, Trouble.PODS_UNSEEN)] == ["cannot see pods: gone"]


def test_an_alarm_of_a_record_that_knew_no_kinds_is_still_read() -> None:
    (old,) = parse_events(['{"at": "2026-01-05T09:00:00Z", "kind": "alarm", "what": "cannot renew the lock"}'])
    new = Alarm(at=START, what="cannot renew the lock", trouble=Trouble.LOCK_NOT_RENEWED, count=41)

    assert isinstance(old, Alarm)
    assert (old.trouble, old.count, old.text) == (None, 0, "cannot renew the lock")
    assert parse_events([dump_event(new)]) == (new,)
    assert new.text == "cannot renew the lock (seen 41 more times since the last alarm)"
