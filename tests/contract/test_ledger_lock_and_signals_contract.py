"""What any ledger, lock and signals promise."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from rollout.errors import LockedError
from rollout.events import Alarm, Ended, EndState
from rollout.ports import Signal, SignalKind
from rollout.record import MAX_POINTS, SeriesPoint
from tests.contract.contracted import Contracted

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)


def test_a_new_ledger_is_empty(world: Contracted) -> None:
    ledger = world.ledger(world.fresh_name)

    assert ledger.read().events == ()
    assert ledger.read_events() == ()
    assert ledger.read().series == {}
    assert ledger.load_state() is None


def test_events_are_read_back_in_the_order_they_were_appended(world: Contracted) -> None:
    ledger = world.ledger(world.fresh_name)
    events = [Alarm(at=AT, what="Ünicode, and\na second line"), Ended(at=AT, state=EndState.PROMOTED, reason="fine")]

    for event in events:
        ledger.append(event)

    assert list(ledger.read().events) == events
    assert list(ledger.read_events()) == events


def test_a_ledger_opened_again_by_its_name_has_what_was_written(world: Contracted) -> None:
    first = world.ledger(world.fresh_name)
    first.append(Alarm(at=AT, what="one"))
    first.save_state('{"step": 1}')

    again = world.ledger(world.fresh_name)
    again.append(Alarm(at=AT, what="two"))

    assert [event.what for event in again.read().events] == ["one", "two"]  # type: ignore[union-attr]
    assert again.load_state() == '{"step": 1}'


def test_the_latest_state_replaces_the_one_before(world: Contracted) -> None:
    ledger = world.ledger(world.fresh_name)

    ledger.save_state("first")
    ledger.save_state("second")

    assert ledger.load_state() == "second"


def test_two_rollouts_have_ledgers_of_their_own(world: Contracted) -> None:
    world.ledger(world.fresh_name).append(Alarm(at=AT, what="one"))

    assert world.ledger(f"{world.fresh_name}-other").read().events == ()


def test_long_series_are_thinned_and_lose_neither_their_ends_nor_their_extremes(world: Contracted) -> None:
    ledger = world.ledger(world.fresh_name)
    values = [float(number % 100) for number in range(2 * MAX_POINTS + 500)]
    for number, value in enumerate(values):
        at = AT + timedelta(seconds=number)
        ledger.add_points([SeriesPoint.single("a", at, value), SeriesPoint.single("b", at, -value)])

    series = ledger.read().series

    assert set(series) == {"a", "b"}
    for points, sign in ((series["a"], 1), (series["b"], -1)):
        assert len(points) <= MAX_POINTS
        assert points[0].at == AT
        assert sum(point.count for point in points) == len(values)
        assert {min(point.low * sign for point in points), max(point.high * sign for point in points)} <= {0, 99}


def test_only_one_owner_may_steer_and_the_other_is_told_who_does(world: Contracted) -> None:
    first, second = world.lock("ada"), world.lock("bob")
    first.acquire()

    with pytest.raises(LockedError, match=r"ada.*since 20\d\d-"):
        second.acquire()

    first.release()


def test_a_lock_that_was_given_back_can_be_had_by_another(world: Contracted) -> None:
    first, second = world.lock("ada"), world.lock("bob")
    first.acquire()
    first.release()

    second.acquire()

    second.renew()
    with pytest.raises(LockedError):
        first.renew()
    second.release()


def test_an_owner_may_acquire_and_renew_again(world: Contracted) -> None:
    lock = world.lock("ada")

    lock.acquire()
    lock.acquire()
    lock.renew()

    lock.release()


def test_releasing_a_lock_that_is_not_held_is_harmless_to_its_owner(world: Contracted) -> None:
    owner, stranger = world.lock("ada"), world.lock("bob")
    owner.acquire()

    stranger.release()

    owner.renew()
    owner.release()
    owner.release()


def test_signals_are_read_in_the_order_they_were_said(world: Contracted) -> None:
    signals = world.signals(world.fresh_name)
    said = [
        Signal(SignalKind.COMPLAINT, "slow", "hotline", AT, count=3),
        Signal(SignalKind.ABORT, "looks wrong\nto me", "ada", AT),
    ]
    assert signals.read() == ()

    for signal in said:
        signals.send(signal)  # type: ignore[attr-defined]

    assert world.signals(world.fresh_name).read() == tuple(said)
