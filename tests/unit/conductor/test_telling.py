"""Who is told what of a whole rollout, by real receivers, and that it waits for none of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from backends.notifiers import Notifier, receivers
from conductor.commands import commands
from conductor.commands.guard import Guard
from conductor.rollout import carry_out
from rollout.errors import UnavailableError
from rollout.events import Alarm, Ended
from rollout.model import Occasion
from rollout.ports import Notices, Undelivered
from rollout.record import Event
from tests.fakes import FakeWorld
from tests.receiving import WebServer, serving
from tests.unit.conductor.processes import PLAN, Process


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving(WebServer()) as server:
        yield server
        server.lets_go.set()


def carried_out(notices: Notices) -> tuple[list[Event], FakeWorld]:
    world = FakeWorld()
    process = Process(world, "ada")
    run = process.run()
    run.ports = replace(run.ports, notices=notices)
    carry_out(run, process.started(), waits_for_person=False)
    return world.ledger("r1").events, world


def test_a_promotion_is_told_from_its_start_step_by_step_to_its_end(web: WebServer) -> None:
    post = Notifier(receivers(f"json://{web.where}/"))

    carried_out(post)

    assert post.wait(timedelta(seconds=30))
    told = [(got["occasion"], got["figures"]["canary's share"]) for _, got in web.got if got["occasion"] != "alarm"]
    steps = [("step", "20 %"), ("step", "50 %"), ("step", "100 %")]
    assert told == [("started", "0 %"), *steps, ("promoted", "100 %")]
    assert "v1 stays ready for" in web.got[-1][1]["reason"]
    assert "evidence for a promotion" in web.got[-1][1]["figures"]


def test_a_rollout_waits_neither_for_a_receiver_that_never_answers_nor_for_one_that_is_gone(web: WebServer) -> None:
    web.lets_go.clear()
    undisturbed, _ = carried_out(FakeWorld().notices)
    post = Notifier(receivers(f"json://127.0.0.1:9/ json://{web.where}/"))

    disturbed, _ = carried_out(post)

    assert not post.wait(timedelta(0))  # the rollout has ended, and nothing was answered yet
    assert isinstance(disturbed[-1], Ended)
    assert _without_alarms(disturbed) == _without_alarms(undisturbed)


def test_a_receiver_that_misses_notices_is_an_alarm_once(web: WebServer) -> None:
    world = FakeWorld()
    world.notices.lost = (Undelivered("1 (JSON at gone)", "notices do not reach receiver 1 (JSON at gone)"),)

    Process(world, "ada").carry_out()

    alarms = [event.what for event in world.ledger("r1").record.of(Alarm)]
    assert alarms.count("notices do not reach receiver 1 (JSON at gone)") == 1
    assert [notice.text for notice in world.notices.sent if notice.occasion is Occasion.ALARM] == alarms


def test_an_alarm_is_told_once_while_it_goes_on_and_again_when_it_comes_back() -> None:
    world = FakeWorld()
    plan = PLAN.model_copy(
        update={
            "steps": (
                PLAN.steps[0].model_copy(update={"bake": timedelta(minutes=14), "deadline": timedelta(minutes=20)}),
            )
        }
    )
    for minutes in (1, 9):
        world.clock.after(
            timedelta(minutes=minutes), lambda: world.metrics.fail("read", UnavailableError("gone"), times=90)
        )

    Process(world, "ada", plan).carry_out()

    gone = [event.at for event in world.ledger("r1").record.of(Alarm) if "gone" in event.what]
    assert [(at - gone[0]) // timedelta(minutes=1) for at in gone] == [0, 8]


def test_a_restore_after_a_promotion_is_told() -> None:
    world = FakeWorld()
    Process(world, "ada").carry_out()

    list(commands.restore(Process(world, "bob").desk, "second thoughts"))

    last = world.notices.sent[-1]
    assert last.occasion is Occasion.ROLLED_BACK
    assert last.text == "restored by bob: second thoughts, after it had ended as promoted"


def test_an_abort_that_takes_the_traffic_from_an_owner_that_hangs_is_told() -> None:
    world = FakeWorld()
    Process(world, "ada").dies_in("increase")
    world.holder.gone, holder = False, world.holder
    for seconds in range(120):
        world.clock.after(timedelta(seconds=seconds), lambda: setattr(holder, "renewed", world.clock.time))

    list(commands.abort(Process(world, "bob").desk, "looks wrong"))

    last = world.notices.sent[-1]
    assert last.occasion is Occasion.ALARM
    assert last.text == "aborted by bob: looks wrong: ada does not answer; all traffic was put on stable"


def test_what_the_plan_did_not_choose_is_not_for_people_but_still_there_for_automations() -> None:
    world = FakeWorld()
    plan = PLAN.model_copy(update={"notify": (Occasion.PROMOTED,)})

    Process(world, "ada", plan).carry_out()

    wanted = [notice.occasion for notice in world.notices.sent if notice.is_wanted]
    assert wanted == [Occasion.PROMOTED]
    assert {Occasion.STARTED, Occasion.STEP} <= {notice.occasion for notice in world.notices.sent}


def _without_alarms(events: list[Event]) -> list[Event]:
    return [event for event in events if not isinstance(event, Alarm)]


def test_the_guard_tells_of_what_it_takes_over_and_of_what_it_closes() -> None:
    world = FakeWorld()
    Process(world, "ada").dies_in("increase")
    told = len(world.notices.sent)

    list(Guard(Process(world, "guard").desk, lambda one: one.name).look())

    after = world.notices.sent[told:]
    assert [notice.occasion for notice in after] == [Occasion.TAKEN_OVER, Occasion.ROLLED_BACK]
    assert "guard after ada" in after[0].text
    assert after[0].figures["step"] == "increase"
