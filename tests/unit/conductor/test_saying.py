"""Words from other processes to a rollout under way, on fakes: heard soon, recorded, or refused."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
import yaml

from conductor.commands.send_signal import say
from conductor.rollout import carry_out
from rollout.errors import PlanError, UnavailableError
from rollout.events import (
    ApprovalRequested,
    DecisionMade,
    Ended,
    EndState,
    SignalReceived,
    StepEnded,
    StepStarted,
    WeightsSet,
)
from rollout.model import AT_REST, Track, Weights
from rollout.plan import RolloutPlan, parse_plan
from rollout.signals import Signal, SignalKind
from tests.fakes import FakeClock, FakeWorld
from tests.unit.conductor.processes import DEMO, PLAN, Process

CALM = DEMO.model_copy(update={"scrape": timedelta(seconds=5)})
"""Looks at metrics every five seconds only."""


class Watched:
    """A rollout, and somebody who says something at a moment of it."""

    def __init__(self, plan: RolloutPlan = PLAN) -> None:
        self.world = FakeWorld(scrape=plan.scrape)
        self.plan = plan
        self.ann = Process(self.world, "ann", plan)
        self.lines: list[str] = []
        self.at: list[datetime] = []

    def says(self, kind: SignalKind, step: str, seconds: float) -> None:
        """Let ann say a word so many seconds after a step has started."""

        def speak() -> None:
            self.at.append(self.world.clock.time)
            self.lines.append(say(self.ann.desk, kind, "because"))

        def look() -> None:
            if any(event.step == step for event in self.events(StepStarted)):
                self.world.clock.after(timedelta(seconds=seconds), speak)
            else:
                self.world.clock.after(timedelta(milliseconds=100), look)

        look()

    def events(self, kind: type) -> list:  # type: ignore[type-arg]
        return list(self.world.ledger("r1").record.of(kind))

    def decisions(self, *words: str) -> list[DecisionMade]:
        return [event for event in self.events(DecisionMade) if event.decision in words]

    def carry_out(self, **ports: Any) -> Ended:
        owner = Process(self.world, "owner", self.plan)
        run = owner.run()
        run.ports = replace(run.ports, **ports)
        return carry_out(run, owner.started(), waits_for_person=True)

    def gets_bad(self, seconds: float) -> None:
        """Let one in five of the canary's answers be an error from a moment on."""
        canary = self.world.metrics.behaviour[Track.CANARY]
        self.world.clock.after(timedelta(seconds=seconds), lambda: setattr(canary, "errors", 0.2))


def with_approval(plan: RolloutPlan, **approval: Any) -> RolloutPlan:
    data = plan.model_dump(mode="json")
    data["steps"][0]["approval"] = approval or "required"
    return parse_plan(yaml.safe_dump(data))


def test_a_pause_holds_the_rollout_and_a_resume_lets_it_go_on() -> None:
    rollout = Watched()
    rollout.says(SignalKind.PAUSE, "introduce", 5)
    rollout.says(SignalKind.RESUME, "introduce", 80)

    end = rollout.carry_out()

    assert end.state is EndState.PROMOTED
    first = rollout.events(StepEnded)[0]
    assert first.at - rollout.events(StepStarted)[0].at >= timedelta(seconds=80)
    assert [event.word for event in rollout.events(SignalReceived)] == ["pause", "resume"]
    assert rollout.lines == ["r1: told pause at step introduce", "r1: told resume at step introduce"]


def test_a_pause_before_the_first_step_keeps_the_canary_without_traffic() -> None:
    rollout = Watched()
    clock = rollout.world.clock
    clock.after(timedelta(seconds=2), lambda: rollout.lines.append(say(rollout.ann.desk, SignalKind.PAUSE, "wait")))
    clock.after(timedelta(seconds=60), lambda: rollout.lines.append(say(rollout.ann.desk, SignalKind.RESUME, "")))
    began = clock.time

    rollout.carry_out()

    first = next(event for event in rollout.events(WeightsSet) if event.canary)
    assert first.at - began >= timedelta(seconds=60)


def test_a_canary_that_gets_bad_is_rolled_back_out_of_a_pause() -> None:
    rollout = Watched()
    rollout.says(SignalKind.PAUSE, "introduce", 5)
    rollout.gets_bad(40)

    end = rollout.carry_out()

    assert end.state is EndState.ROLLED_BACK
    assert rollout.world.router.weights == AT_REST


def test_a_skip_ends_the_step_at_once() -> None:
    rollout = Watched()
    rollout.says(SignalKind.SKIP, "introduce", 5)

    end = rollout.carry_out()

    assert end.state is EndState.PROMOTED
    first = rollout.events(StepEnded)[0]
    assert first.at - rollout.events(StepStarted)[0].at < timedelta(seconds=8)


def test_promote_now_goes_through_every_step_without_waiting() -> None:
    rollout = Watched()
    rollout.says(SignalKind.PROMOTE, "introduce", 2)

    end = rollout.carry_out()

    assert end.state is EndState.PROMOTED
    assert all("promoted at once by ann: because" in event.reason for event in rollout.decisions("advance", "promote"))
    assert end.reason.startswith("promoted at once by ann: because")
    assert rollout.world.router.history == [AT_REST, Weights(80, 20), Weights(50, 50), Weights(0, 100)]
    steps = zip(rollout.events(StepStarted), rollout.events(StepEnded), strict=True)
    assert all(ended.at - started.at < timedelta(seconds=5) for started, ended in steps)


def test_an_approval_is_asked_for_once_and_waited_for_while_the_judge_watches() -> None:
    rollout = Watched(with_approval(PLAN))
    rollout.says(SignalKind.APPROVE, "introduce", 300)

    end = rollout.carry_out()

    assert end.state is EndState.PROMOTED
    (asked,) = rollout.events(ApprovalRequested)
    assert asked.step == "introduce"
    assert rollout.events(StepEnded)[0].at - rollout.events(StepStarted)[0].at >= timedelta(seconds=300)


def test_a_rollback_does_not_wait_for_an_approval() -> None:
    rollout = Watched(with_approval(PLAN))
    rollout.gets_bad(120)

    end = rollout.carry_out()

    assert rollout.events(ApprovalRequested)
    assert end.state is EndState.ROLLED_BACK


def test_a_refusal_rolls_back() -> None:
    rollout = Watched(with_approval(PLAN))
    rollout.says(SignalKind.REFUSE, "introduce", 100)

    end = rollout.carry_out()

    assert (end.state, end.reason) == (EndState.ROLLED_BACK, "refused by ann: because")


@pytest.mark.parametrize("kind", [SignalKind.SKIP, SignalKind.PROMOTE])
def test_neither_skip_nor_promote_now_passes_an_approval(kind: SignalKind) -> None:
    rollout = Watched(with_approval(PLAN, within="2m", otherwise="rollback"))
    rollout.says(kind, "introduce", 2)

    end = rollout.carry_out()

    assert rollout.lines == [f"r1: told {kind} at step introduce, which still waits for its approval"]
    (asked,) = rollout.events(ApprovalRequested)
    assert asked.at - rollout.events(StepStarted)[0].at < timedelta(seconds=8)
    assert end.state is EndState.ROLLED_BACK
    assert end.reason.startswith("no approval within 2 min")
    assert max(weights.canary for weights in rollout.world.router.history) == 20


def test_a_step_that_was_skipped_goes_on_once_it_is_approved() -> None:
    rollout = Watched(with_approval(PLAN))
    rollout.says(SignalKind.SKIP, "introduce", 2)
    rollout.says(SignalKind.APPROVE, "introduce", 60)

    assert rollout.carry_out().state is EndState.PROMOTED


def test_a_plan_may_let_its_approval_be_skipped() -> None:
    rollout = Watched(with_approval(PLAN, may_be_skipped=True))
    rollout.says(SignalKind.PROMOTE, "introduce", 2)

    assert rollout.carry_out().state is EndState.PROMOTED
    assert rollout.events(ApprovalRequested) == []


def test_the_word_of_somebody_whom_the_plan_does_not_name_is_no_approval() -> None:
    rollout = Watched(with_approval(PLAN, within="2m", otherwise="rollback", by=["bob", "cleo@ops"]))
    clock, signals = rollout.world.clock, rollout.world.signals("r1")
    refusals = []

    def speak() -> None:
        with pytest.raises(PlanError) as refused:
            say(rollout.ann.desk, SignalKind.APPROVE, "because")
        refusals.append(str(refused.value))
        # Written past our own command, by somebody who may write signals.
        signals.send(Signal(SignalKind.APPROVE, "because", "ann", clock.time, step="introduce"))

    clock.after(timedelta(seconds=60), speak)
    end = rollout.carry_out()

    assert refusals == ["approve: got the word of ann, allowed: that of bob or cleo@ops"]
    assert end.state is EndState.ROLLED_BACK
    assert end.reason.startswith("no approval within 2 min")
    assert [(event.word, event.who) for event in rollout.events(SignalReceived)] == [("approve", "ann")]


def test_the_approval_of_somebody_whom_the_plan_names_lets_the_rollout_go_on() -> None:
    rollout = Watched(with_approval(PLAN, by=["bob", "ann"]))
    rollout.says(SignalKind.APPROVE, "introduce", 60)

    assert rollout.carry_out().state is EndState.PROMOTED


def test_nobody_answers_and_the_plan_says_what_happens() -> None:
    rollout = Watched(with_approval(PLAN, within="2m", otherwise="rollback"))

    end = rollout.carry_out()

    assert end.state is EndState.ROLLED_BACK
    assert end.reason.startswith("no approval within 2 min")


def test_a_pause_takes_no_time_from_an_approval() -> None:
    rollout = Watched(with_approval(PLAN, within="2m", otherwise="rollback"))
    rollout.says(SignalKind.PAUSE, "introduce", 60)
    rollout.says(SignalKind.RESUME, "introduce", 360)

    end = rollout.carry_out()

    assert end.reason.startswith("no approval within 2 min")
    asked = rollout.events(ApprovalRequested)[0].at
    assert end.at - asked >= timedelta(minutes=7)


@pytest.mark.parametrize("kind", [SignalKind.ABORT, SignalKind.REFUSE])
def test_a_word_reaches_the_gateway_within_two_seconds_however_rarely_metrics_are_read(kind: SignalKind) -> None:
    rollout = Watched(CALM)
    rollout.says(kind, "introduce", 11)

    rollout.carry_out()

    (back,) = [event for event in rollout.events(WeightsSet) if event.stable == 100 and event.reason != "baseline"]
    assert back.at - rollout.at[0] <= timedelta(seconds=2)


def test_a_word_is_heard_within_two_seconds_while_pods_are_still_starting() -> None:
    rollout = Watched(CALM)
    rollout.world.workloads.ready_after = timedelta(minutes=1)
    clock, said = rollout.world.clock, []

    def speak() -> None:
        said.append(clock.time)
        say(rollout.ann.desk, SignalKind.ABORT, "because")

    clock.after(timedelta(seconds=32), speak)

    end = rollout.carry_out()

    assert end.reason == "aborted by ann: because"
    (heard,) = rollout.events(SignalReceived)
    assert heard.at - said[0] <= timedelta(seconds=2)


def test_complaints_add_up_to_a_rollback() -> None:
    rollout = Watched()
    for seconds in (3, 6, 9):
        rollout.says(SignalKind.COMPLAINT, "introduce", seconds)

    end = rollout.carry_out()

    assert end.reason == "user complaints: 3 in 30 min, the last note: because"


@dataclass
class Hotline:
    """A counter of complaints: so many since a moment."""

    clock: FakeClock
    calls: list[datetime] = field(default_factory=list)

    def increase(self, counter: str, since: datetime) -> float:
        if self.clock.time.second % 7 == 3:
            raise UnavailableError("no answer")
        return float(sum(since < call <= self.clock.time for call in self.calls)) if counter == "calls_total" else 0.0


def test_what_the_plans_own_counter_counts_since_the_start_adds_to_what_was_said() -> None:
    data = PLAN.model_dump(mode="json")
    data["criteria"]["complaints"] = {"rollback_at": 3, "within": "30m", "counter": "calls_total"}
    rollout = Watched(parse_plan(yaml.safe_dump(data)))
    now = rollout.world.clock.time
    hotline = Hotline(rollout.world.clock, [now + timedelta(seconds=seconds) for seconds in (-60, -5, 9, 12)])
    rollout.says(SignalKind.COMPLAINT, "introduce", 2)

    end = rollout.carry_out(counters=hotline)

    assert end.reason == "user complaints: 3 in 30 min, the last note: because"
    assert end.at >= now + timedelta(seconds=12)


@pytest.mark.parametrize("kind", [SignalKind.SKIP, SignalKind.APPROVE, SignalKind.RESUME])
def test_a_word_that_would_mean_nothing_is_refused_and_not_said(kind: SignalKind) -> None:
    rollout = Watched()
    rollout.ann.dies_in("introduce")
    if kind is SignalKind.SKIP:
        kept = rollout.world.ledger("r1")
        kept.save_state("{}")

    with pytest.raises(PlanError, match=f"{kind}: "):
        say(rollout.ann.desk, kind, "because")

    assert rollout.world.signals("r1").said == []


def test_without_a_rollout_there_is_nobody_to_hear() -> None:
    rollout = Watched()

    with pytest.raises(PlanError, match="nothing to pause: no rollout is under way"):
        say(rollout.ann.desk, SignalKind.PAUSE, "because")
    rollout.ann.dies_in("introduce")
    with pytest.raises(PlanError, match="rollout: got 'r9', allowed: r1"):
        say(rollout.ann.desk, SignalKind.PAUSE, "because", rollout="r9")


def test_a_word_to_an_orphan_says_that_nobody_hears_it_yet() -> None:
    rollout = Watched()
    rollout.ann.dies_in("introduce")

    assert say(rollout.ann.desk, SignalKind.PAUSE, "because").endswith("it is heard when somebody takes it over")
