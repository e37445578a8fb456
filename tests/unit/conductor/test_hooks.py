"""Hooks on fakes: when they run, what their failure does, and that the watch goes on meanwhile."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from conductor.commands.exporter import is_held
from conductor.commands.send_signal import say
from conductor.commands.status import standing
from conductor.rollout import carry_out
from rollout.errors import UnavailableError
from rollout.events import (
    Alarm,
    Ended,
    EndState,
    HookEnded,
    SignalReceived,
    StepEnded,
    WeightsSet,
)
from rollout.model import AT_REST, Track, Weights
from rollout.ports import HookOutcome
from rollout.signals import Signal, SignalKind
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import PLAN, Process

FAILED = HookOutcome(ok=False, reason="answered 500")
FINE = HookOutcome(ok=True, reason="answered 200")
MOMENTS = ("before-rollout", "before-step", "after-step", "before-promote", "after-promote", "after-rollback")
SPLITS = [AT_REST, Weights(80, 20), Weights(50, 50), Weights(0, 100)]


def hook(when: str, **parts: Any) -> dict[str, Any]:
    return {"name": when, "when": when, "url": "http://hooks.example/"} | parts


class Rollout:
    """A rollout of a plan with hooks, on fakes."""

    def __init__(self, *hooks: dict[str, Any], world: FakeWorld | None = None, owner: str = "ada") -> None:
        self.world = world or FakeWorld()
        plan = PLAN.model_validate(PLAN.model_dump(mode="json") | {"hooks": hooks})
        self.process = Process(self.world, owner, plan)

    def carry_out(self, *, waits: bool = False) -> Ended:
        run = self.process.run()
        run.ports = replace(run.ports, hooks=self.world.hooks)
        return carry_out(run, self.process.started(), waits_for_person=waits)

    def abort_when(self, seconds: float) -> None:
        world = self.world
        world.clock.after(timedelta(seconds=seconds), lambda: world.signals("r1").abort(world.clock.time))

    def events(self, kind: type[Any]) -> list[Any]:
        return list(self.world.ledger("r1").record.of(kind))


def test_each_hook_runs_at_its_moment_once_a_step_and_the_record_tells_it() -> None:
    rollout = Rollout(*(hook(when) for when in MOMENTS))

    rollout.carry_out()

    a_step = ["before-step", "after-step"]
    assert rollout.world.hooks.ran == ["before-rollout", *(3 * a_step), "before-promote", "after-promote"]
    told = [(event.hook, event.step, event.ok) for event in rollout.events(HookEnded)]
    assert told[:3] == [
        ("before-rollout", "", True),
        ("before-step", "introduce", True),
        ("after-step", "introduce", True),
    ]
    assert rollout.world.router.history == SPLITS


def test_a_hook_is_told_what_is_known() -> None:
    rollout = Rollout(hook("after-step", steps=["increase"], metadata={"team": "shop"}), hook("after-promote"))

    ended = rollout.carry_out()

    after_step, after_promote = rollout.world.hooks.payloads
    assert after_step == {
        "hook": "after-step",
        "when": "after-step",
        "at": after_step["at"],
        "rollout": "r1",
        "service": "canary-app",
        "stable": "v1",
        "canary": "v2",
        "step": "increase",
        "weights": {"stable": 50, "canary": 50},
        "verdict": "pass",
        "reason": after_step["reason"],
        "state": "under way",
        "metadata": {"team": "shop"},
    }
    assert "criteria are met" in after_step["reason"]
    assert (after_promote["state"], after_promote["reason"]) == ("promoted", ended.reason)
    assert after_promote["weights"] == {"stable": 0, "canary": 100}


@pytest.mark.parametrize(
    ("when", "history"),
    [("before-rollout", []), ("before-step", [AT_REST]), ("after-step", SPLITS[:2]), ("before-promote", SPLITS)],
)
def test_a_hook_that_fails_rolls_back_from_where_the_rollout_is(when: str, history: list[Weights]) -> None:
    rollout = Rollout(hook(when), hook("after-rollback"))
    rollout.world.hooks.says[when] = [FAILED]

    ended = rollout.carry_out()

    assert ended.state is EndState.ROLLED_BACK
    assert ended.reason == f"hook {when} answered 500"
    assert [weights for weights in rollout.world.router.history if weights != AT_REST] == history[1:]
    assert rollout.world.router.weights == AT_REST
    assert rollout.world.hooks.ran == [when, "after-rollback"]
    assert rollout.world.hooks.payloads[-1]["state"] == "rolled back"


def test_a_hook_whose_failure_is_ignored_is_an_alarm_to_people_and_no_more() -> None:
    rollout = Rollout(hook("before-step", on_failure="ignore", steps=["introduce"]))
    rollout.world.hooks.says["before-step"] = [FAILED]

    ended = rollout.carry_out()

    assert ended.state is EndState.PROMOTED
    assert "hook before-step answered 500" in [notice.text for notice in rollout.world.notices.sent]


def test_a_hook_that_does_not_end_in_time_is_ended_and_has_failed() -> None:
    rollout = Rollout(hook("before-step", timeout="5s"))
    rollout.world.hooks.seconds["before-step"] = 3600

    ended = rollout.carry_out()

    assert ended.reason == "hook before-step did not end within 5 s"
    assert rollout.world.hooks.stopped == ["before-step"]


@pytest.mark.parametrize("when", ["before-rollout", "before-step", "after-step", "before-promote"])
def test_a_slow_hook_never_delays_an_abort(when: str) -> None:
    rollout = Rollout(hook(when, timeout="1h"))
    rollout.world.hooks.seconds[when] = 3600
    rollout.abort_when(200)

    ended = rollout.carry_out()

    said = rollout.world.signals("r1").said[0].at
    assert "aborted by ada" in ended.reason
    assert ended.at - said <= 2 * PLAN.scrape + timedelta(seconds=12)  # the traffic is seen to have left
    home = [event.at for event in rollout.events(WeightsSet) if event.canary == 0 and event.at >= said]
    assert home[0] - said <= PLAN.scrape
    assert rollout.world.hooks.stopped == [when]


def test_the_judge_rolls_back_while_a_hook_runs() -> None:
    rollout = Rollout(hook("after-step", timeout="1h"))
    rollout.world.hooks.seconds["after-step"] = 3600
    worse = rollout.world.metrics.behaviour["canary"]  # type: ignore[index]
    rollout.world.clock.after(timedelta(seconds=100), lambda: setattr(worse, "errors", 0.5))

    ended = rollout.carry_out()

    assert ended.state is EndState.ROLLED_BACK
    assert "error" in ended.reason
    assert rollout.world.hooks.stopped == ["after-step"]


def test_a_hook_that_holds_is_asked_again_until_it_succeeds_and_told_when_it_says_something_else() -> None:
    rollout = Rollout(hook("before-promote", on_failure="hold"))
    refused = HookOutcome(ok=False, reason="answered 403")
    rollout.world.hooks.says["before-promote"] = [FAILED, FAILED, refused, refused, FINE]

    ended = rollout.carry_out(waits=True)

    assert ended.state is EndState.PROMOTED
    assert rollout.world.hooks.ran == ["before-promote"] * 5
    assert [event.reason for event in rollout.events(HookEnded)] == ["answered 500", "answered 403", "answered 200"]
    held = [event.what for event in rollout.events(Alarm) if event.needs_person]
    assert held == ["held: hook before-promote answered 500", "held: hook before-promote answered 403"]


def test_a_hook_holds_no_longer_than_its_deadline() -> None:
    rollout = Rollout(hook("before-step", on_failure="hold", deadline="1m"))
    rollout.world.hooks.says["before-step"] = [FAILED]

    ended = rollout.carry_out(waits=True)

    assert ended.state is EndState.ROLLED_BACK
    assert ended.reason == "hook before-step answered 500, until its deadline"
    assert len(rollout.world.hooks.ran) == 7  # at once, and every 10 s


def test_where_nobody_waits_a_hook_that_holds_ends_the_rollout_as_held() -> None:
    rollout = Rollout(hook("before-step", on_failure="hold"))
    rollout.world.hooks.says["before-step"] = [FAILED]

    ended = rollout.carry_out()

    assert (ended.state, ended.reason) == (EndState.HELD, "hook before-step answered 500")


def test_an_abort_wins_while_a_hook_holds() -> None:
    rollout = Rollout(hook("before-step", on_failure="hold", steps=["increase"]))
    rollout.world.hooks.says["before-step"] = [FAILED]
    rollout.abort_when(300)

    ended = rollout.carry_out(waits=True)

    assert "aborted by ada" in ended.reason
    assert rollout.world.router.weights == AT_REST


@pytest.mark.parametrize("seconds", [300, 302, 304, 306, 308])
def test_a_rollout_on_its_way_home_waits_for_no_hook(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = Rollout(hook("before-step", on_failure="hold", steps=["increase"]))
    rollout.world.hooks.says["before-step"] = [FAILED]
    rollout.world.hooks.seconds["before-step"] = 5  # the abort is read while it runs, or before it is asked again
    rollout.abort_when(seconds)
    desk, scale, waited = Process(rollout.world, "bob").desk, rollout.world.workloads.scale, list[str]()

    def look(track: Track, replicas: int) -> None:
        waited.append(standing(desk.world, desk.clock.now()).waits)
        scale(track, replicas)

    monkeypatch.setattr(rollout.world.workloads, "scale", look)

    rollout.carry_out(waits=True)

    assert (rollout.world.workloads.wanted[Track.CANARY], waited[-1]) == (0, "")


def test_what_has_succeeded_is_not_run_again_by_whoever_takes_the_rollout_over() -> None:
    before = hook("before-step"), hook("before-rollout")
    rollout = Rollout(*before)
    run = rollout.process.run
    rollout.process.run = lambda *a: _with_hooks(run(*a), rollout.world)  # type: ignore[method-assign]
    rollout.process.plan = rollout.process.plan.model_copy(update={"when_orphaned": "resume"})
    rollout.process.dies_in("increase")
    assert rollout.world.hooks.ran == ["before-rollout", "before-step", "before-step"]

    after = Rollout(*before, world=rollout.world, owner="bob")
    after.process.plan = rollout.process.plan
    ended = after.carry_out()

    assert ended.state is EndState.PROMOTED
    assert rollout.world.hooks.ran == ["before-rollout", "before-step", "before-step", "before-step"]


def test_what_was_said_before_a_takeover_lets_nobody_past_a_hook_that_holds() -> None:
    gate = hook("before-step", on_failure="hold", steps=["increase"], deadline="2m")
    rollout = Rollout(gate)
    rollout.process.plan = rollout.process.plan.model_copy(update={"when_orphaned": "resume"})
    clock, signals = rollout.world.clock, rollout.world.signals("r1")
    clock.after(timedelta(seconds=6), lambda: signals.send(Signal(SignalKind.SKIP, "seen", "bob", clock.time)))
    run = rollout.process.run
    rollout.process.run = lambda *a: _with_hooks(run(*a), rollout.world)  # type: ignore[method-assign]
    rollout.world.hooks.says["before-step"] = [FAILED]
    rollout.process.waits_for_person = True
    rollout.process.dies_in("introduce", 30)
    assert [said.word for said in rollout.events(SignalReceived)] == ["skip"]

    after = Rollout(gate, world=rollout.world, owner="bob")
    after.process.plan = rollout.process.plan
    ended = after.carry_out(waits=True)

    assert ended.reason == "hook before-step answered 500, until its deadline"


def test_what_is_said_to_an_orphan_that_a_hook_held_counts_once_it_is_taken_over() -> None:
    gate = hook("before-step", on_failure="hold", steps=["increase"], deadline="1h")
    rollout = Rollout(gate)
    rollout.process.plan = rollout.process.plan.model_copy(update={"when_orphaned": "resume"})
    run = rollout.process.run
    rollout.process.run = lambda *a: _with_hooks(run(*a), rollout.world)  # type: ignore[method-assign]
    rollout.world.hooks.says["before-step"] = [FAILED]
    rollout.process.waits_for_person = True
    rollout.process.dies_in("introduce", 60)
    say(Process(rollout.world, "bob").desk, SignalKind.SKIP, "known")

    after = Rollout(gate, world=rollout.world, owner="bob")
    after.process.plan = rollout.process.plan
    ended = after.carry_out(waits=True)

    assert ended.state is EndState.PROMOTED


@pytest.mark.parametrize(("when", "said_in"), [("before-step", "introduce"), ("before-promote", "full")])
def test_nothing_is_run_for_what_comes_next_while_a_person_holds_the_rollout(when: str, said_in: str) -> None:
    first = hook("after-step", steps=[said_in])
    rollout = Rollout(first, hook(when, steps=[] if when == "before-promote" else ["increase"]))
    rollout.world.hooks.seconds["after-step"] = 10
    clock, signals, ran = rollout.world.clock, rollout.world.signals("r1"), list[list[str]]()

    def look() -> None:
        if not rollout.world.hooks.ran:
            clock.after(timedelta(seconds=1), look)
            return
        signals.send(Signal(SignalKind.PAUSE, "wait", "bob", clock.time))
        clock.after(timedelta(seconds=60), lambda: ran.append(list(rollout.world.hooks.ran)))
        clock.after(timedelta(seconds=61), lambda: signals.send(Signal(SignalKind.RESUME, "", "bob", clock.time)))

    look()

    ended = rollout.carry_out(waits=True)

    assert (ran, rollout.world.hooks.ran) == ([["after-step"]], ["after-step", when])
    assert ended.state is EndState.PROMOTED


def test_a_hook_after_the_end_changes_nothing_of_it_and_keeps_nobody_from_the_service() -> None:
    rollout = Rollout(hook("after-promote", timeout="1m"))
    rollout.world.hooks.seconds["after-promote"] = 3600

    ended = rollout.carry_out()

    assert ended.state is EndState.PROMOTED
    assert rollout.events(HookEnded)[-1].reason == "did not end within 1 min"
    assert rollout.world.holder.owner == ""
    assert rollout.world.router.weights == Weights(0, 100)


def test_where_nothing_runs_hooks_they_have_failed() -> None:
    rollout = Rollout(hook("before-rollout"))

    ended = carry_out(rollout.process.run(), rollout.process.started(), waits_for_person=False)

    assert ended.reason == "hook before-rollout cannot run here"


def _with_hooks(run: Any, world: FakeWorld) -> Any:
    run.ports = replace(run.ports, hooks=world.hooks)
    return run


@pytest.mark.parametrize("word", [SignalKind.SKIP, SignalKind.PROMOTE])
def test_a_person_may_wait_no_longer_for_a_hook_that_holds(word: SignalKind) -> None:
    rollout = Rollout(hook("before-promote", on_failure="hold"))
    rollout.world.hooks.says["before-promote"] = [FAILED]
    clock, signals = rollout.world.clock, rollout.world.signals("r1")
    clock.after(timedelta(minutes=10), lambda: signals.send(Signal(word, "known", "bob", clock.time, step="full")))

    ended = rollout.carry_out(waits=True)

    assert ended.state is EndState.PROMOTED
    assert ended.at - rollout.events(Alarm)[-1].at > timedelta(minutes=8)


@pytest.mark.parametrize("when", ["before-rollout", "before-step"])
def test_a_person_may_go_on_without_a_hook_that_holds_before_the_canary_has_any_traffic(when: str) -> None:
    rollout = Rollout(hook(when, on_failure="hold"))
    rollout.world.hooks.says[when] = [FAILED]
    desk, heard = Process(rollout.world, "bob").desk, list[str]()

    def skip() -> None:
        found = standing(desk.world, desk.clock.now())
        assert (is_held(found), found.waits.partition(";")[0]) == (True, f"hook {when} answered 500")
        heard.append(say(desk, SignalKind.SKIP, "known"))
        rollout.world.hooks.says[when] = [FINE]

    rollout.world.clock.after(timedelta(minutes=2), skip)

    ended = rollout.carry_out(waits=True)

    assert heard == ["r1: told skip"]
    assert ended.state is EndState.PROMOTED
    assert ended.at - rollout.events(Alarm)[0].at > timedelta(minutes=1)


def test_a_step_that_has_passed_is_not_rolled_back_at_its_deadline_while_a_hook_holds() -> None:
    rollout = Rollout(hook("before-promote", on_failure="hold"))
    rollout.process.plan = rollout.process.plan.model_copy(update={"when_inconclusive": "rollback"})
    rollout.world.hooks.says["before-promote"] = [FAILED]
    clock, metrics = rollout.world.clock, rollout.world.metrics
    clock.after(timedelta(minutes=5), lambda: metrics.fail("read", UnavailableError("restarts"), times=30))
    clock.after(timedelta(minutes=10), lambda: rollout.world.hooks.says.update({"before-promote": [FINE]}))

    ended = rollout.carry_out(waits=True)

    assert any("metrics source down" in event.what for event in rollout.events(Alarm))
    assert ended.state is EndState.PROMOTED


def test_a_hook_that_holds_at_each_step_is_told_at_each() -> None:
    rollout = Rollout(hook("before-step", on_failure="hold"))
    rollout.world.hooks.says["before-step"] = [FAILED, FINE, FAILED, FINE, FAILED, FINE]

    rollout.carry_out(waits=True)

    held = [event.what for event in rollout.events(Alarm) if event.needs_person]
    assert held == 3 * ["held: hook before-step answered 500"]


def test_a_step_that_has_passed_stays_so_for_whoever_takes_the_rollout_over() -> None:
    gate = hook("after-step", steps=["introduce"], on_failure="hold")
    rollout = Rollout(gate)
    rollout.world.hooks.says["after-step"] = [FAILED]
    policies = {"when_orphaned": "resume", "when_inconclusive": "rollback"}
    rollout.process.plan = rollout.process.plan.model_copy(update=policies)
    run = rollout.process.run
    rollout.process.run = lambda *a: _with_hooks(run(*a), rollout.world)  # type: ignore[method-assign]
    rollout.process.waits_for_person = True
    rollout.process.dies_in("introduce", seconds=100)
    assert [event.step for event in rollout.events(StepEnded)] == ["introduce"]

    rollout.world.hooks.says["after-step"] = [FINE]
    rollout.world.metrics.fail("read", UnavailableError("restarts"), times=5)
    after = Rollout(gate, world=rollout.world, owner="bob")
    after.process.plan = rollout.process.plan
    ended = after.carry_out(waits=True)

    assert ended.state is EndState.PROMOTED
    assert [event.step for event in rollout.events(StepEnded)] == ["introduce", "increase", "full"]


def test_a_pause_during_the_last_hook_is_waited_for() -> None:
    rollout = Rollout(hook("before-promote"))
    rollout.world.hooks.seconds["before-promote"] = 20
    clock, signals = rollout.world.clock, rollout.world.signals("r1")

    def pause() -> None:
        if rollout.world.hooks.ran:
            signals.send(Signal(SignalKind.PAUSE, "", "bob", clock.time))
            clock.after(timedelta(minutes=1), lambda: signals.send(Signal(SignalKind.RESUME, "", "bob", clock.time)))
        else:
            clock.after(timedelta(seconds=1), pause)

    pause()

    ended = rollout.carry_out(waits=True)

    assert ended.state is EndState.PROMOTED
    assert ended.at - rollout.events(HookEnded)[-1].at > timedelta(seconds=30)
