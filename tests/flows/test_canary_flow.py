"""The flow's phases on fakes, called plainly: what it does to the world, whatever goes wrong."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from conductor.commands.commands import unfinished
from conductor.state.rollout_run import Ports, Run
from flows import canary
from rollout.errors import Interrupted, LockedError, PlanError, SetupError, UnavailableError
from rollout.events import (
    Alarm,
    BaselineChecked,
    DecisionMade,
    Ended,
    EndState,
    Scaled,
    StepEnded,
    StepStarted,
    TakenOver,
    WeightsObserved,
    WeightsSet,
)
from rollout.model import AT_REST, Track, Weights
from rollout.plan import RolloutPlan, parse_plan
from rollout.record import Event
from tests.fakes import FakeLedger, FakeWorld
from tests.unit.conductor import processes
from tests.unit.conductor.processes import Process
from wiring.composition import Target

PLAN = parse_plan((Path(__file__).parents[2] / "demo.yaml").read_text())
SPLITS = [AT_REST, Weights(80, 20), Weights(50, 50), Weights(0, 100)]


class Rollout:
    """A rollout on fakes, and what is to be seen of it afterwards."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, plan: RolloutPlan = PLAN) -> None:
        self.plan = plan
        self.world = FakeWorld()
        self.ledger: FakeLedger = self.world.ledger("r1")
        self.lock = self.world.lock("r1")
        monkeypatch.setattr(canary, "open_run", self._open)
        monkeypatch.setattr(canary, "check_fitness", lambda *_: None)  # of no live target

    def _open(self, plan: RolloutPlan, target: Target, rollout_id: str) -> Run:
        world = self.world
        ports = Ports(
            router=world.router,
            workloads=world.workloads,
            metrics=world.metrics,
            ledger=self.ledger,
            lock=self.lock,
            signals=world.signals("r1"),
            notices=world.notices,
            clock=world.clock,
        )
        return Run.begin(plan, ports)

    def carry_out(self, **options: Any) -> Any:
        return canary.canary_rollout.fn(self.plan, rollout_id="r1", **{"waits_for_person": False} | options)

    def when(self, step: str, seconds: float, action: Any) -> None:
        """Do something so many seconds after a step has started."""
        clock = self.world.clock

        def look() -> None:
            if any(event.step == step for event in self.events(StepStarted)):
                clock.after(timedelta(seconds=seconds), action)
            else:
                clock.after(timedelta(milliseconds=100), look)

        look()

    def events(self, kind: type[Any]) -> list[Any]:
        return list(self.ledger.record.of(kind))

    @property
    def ended(self) -> Ended:
        (ended,) = self.events(Ended)
        return ended


@pytest.fixture
def rollout(monkeypatch: pytest.MonkeyPatch) -> Rollout:
    return Rollout(monkeypatch)


def test_a_healthy_canary_goes_through_every_step_and_is_promoted(rollout: Rollout) -> None:
    state = rollout.carry_out()

    assert rollout.world.router.history == SPLITS
    assert rollout.ended.state is EndState.PROMOTED
    assert "v1 stays ready for 10 min" in rollout.ended.reason
    assert rollout.world.workloads.ready(Track.STABLE) == 3
    assert rollout.world.workloads.ready(Track.CANARY) == 3
    assert (state.name, state.is_completed()) == ("Promoted", True)


def test_the_record_tells_each_phase_in_order(rollout: Rollout) -> None:
    rollout.carry_out()

    kinds = [type(event) for event in rollout.ledger.events if not isinstance(event, DecisionMade)]
    telling = [
        kind for kind in kinds if kind in (BaselineChecked, Scaled, WeightsSet, WeightsObserved, StepStarted, StepEnded)
    ]
    one_step: list[type[Event]] = [Scaled, WeightsSet, WeightsObserved, StepStarted, StepEnded]
    assert telling == [WeightsSet, BaselineChecked, *one_step, *one_step, *one_step]


def test_the_judge_learns_from_hours_before_the_rollout_and_the_record_says_how_much(rollout: Rollout) -> None:
    rollout.world.metrics.rps = 20.0
    rollout.world.clock.advance(timedelta(hours=1))
    rollout.world.metrics.rps = 500.0

    rollout.carry_out()

    (checked,) = rollout.events(BaselineChecked)
    assert 3500 <= checked.history_seconds <= 3700
    assert checked.requests < 20_000  # what is checked is the present alone
    assert rollout.ended.state is EndState.PROMOTED


def test_without_a_past_the_baseline_phase_is_the_history(rollout: Rollout) -> None:
    rollout.world.clock.advance(timedelta(minutes=10))
    rollout.world.metrics.fail("read_range", times=-1)

    rollout.carry_out()

    (checked,) = rollout.events(BaselineChecked)
    assert checked.history_seconds == 0
    assert rollout.ended.state is EndState.PROMOTED


def test_every_step_is_watched_for_its_bake_time(rollout: Rollout) -> None:
    rollout.carry_out()

    starts, ends = rollout.events(StepStarted), rollout.events(StepEnded)
    for step, start, end in zip(PLAN.steps, starts, ends, strict=True):
        assert end.at - start.at >= step.bake
        assert end.observed == pytest.approx(step.canary / 100, abs=0.02)


@pytest.mark.parametrize(
    ("errors", "latency_ms", "said"),
    [(0.05, 35.0, "error"), (0.005, 35.0, "error"), (0.0, 52.5, "latency"), (0.0, 800.0, "latency")],
)
def test_a_worse_canary_is_rolled_back(rollout: Rollout, errors: float, latency_ms: float, said: str) -> None:
    canary_behaviour = rollout.world.metrics.behaviour[Track.CANARY]
    canary_behaviour.errors, canary_behaviour.latency_ms = errors, latency_ms

    state = rollout.carry_out()

    assert rollout.world.router.history == [AT_REST, Weights(80, 20), AT_REST]
    assert rollout.ended.state is EndState.ROLLED_BACK
    assert said in rollout.ended.reason
    assert rollout.world.workloads.wanted[Track.CANARY] == 0
    assert (state.name, state.is_failed()) == ("Rolled back", True)


def test_a_common_outage_is_held_and_then_promoted(rollout: Rollout) -> None:
    behaviour = rollout.world.metrics.behaviour

    def outage(errors: float) -> None:
        for track in (Track.STABLE, Track.CANARY):
            behaviour[track].errors = errors

    rollout.when("introduce", 5, lambda: outage(0.2))
    rollout.when("introduce", 15, lambda: outage(0.0))

    rollout.carry_out()

    assert rollout.ended.state is EndState.PROMOTED
    assert any("common mode" in str(event) for event in rollout.ledger.events)


def test_a_crash_loop_is_rolled_back_without_any_metrics(rollout: Rollout) -> None:
    rollout.when("introduce", 3, lambda: rollout.world.metrics.fail("read", times=-1))
    rollout.when("introduce", 4, lambda: rollout.world.workloads.crash("canary-app-v2-0", times=2))

    rollout.carry_out()

    assert rollout.ended.state is EndState.ROLLED_BACK
    assert "crash loop" in rollout.ended.reason
    assert rollout.world.router.weights == AT_REST


@pytest.mark.parametrize("step", ["introduce", "increase", "full"])
def test_an_abort_reaches_the_gateway_within_one_scrape_from_any_step(rollout: Rollout, step: str) -> None:
    said = []

    def abort() -> None:
        said.append(rollout.world.clock.time)
        rollout.world.signals("r1").abort(rollout.world.clock.time)

    rollout.when(step, 2, abort)

    rollout.carry_out()

    back = [event.at for event in rollout.events(WeightsSet) if event.canary == 0][-1]
    assert back - said[0] <= PLAN.scrape
    assert "aborted by ada" in rollout.ended.reason


def test_an_abort_wins_while_the_canary_is_still_starting(rollout: Rollout) -> None:
    rollout.world.workloads.broken.add(Track.CANARY)
    rollout.world.clock.after(
        timedelta(seconds=20), lambda: rollout.world.signals("r1").abort(rollout.world.clock.time)
    )

    rollout.carry_out()

    assert rollout.world.router.history == [AT_REST]
    assert "aborted by ada" in rollout.ended.reason


def test_a_canary_that_never_gets_ready_is_rolled_back_with_no_traffic_on_it(rollout: Rollout) -> None:
    rollout.world.workloads.broken.add(Track.CANARY)

    rollout.carry_out()

    assert rollout.world.router.history == [AT_REST]
    assert "not ready" in rollout.ended.reason


def test_without_metrics_the_weights_stay_and_the_plans_policy_decides_at_the_deadline(rollout: Rollout) -> None:
    rollout.when("introduce", 5, lambda: rollout.world.metrics.fail("read", times=-1))

    rollout.carry_out()

    assert rollout.ended.state is EndState.HELD
    assert any("metrics source down" in event.what for event in rollout.events(Alarm))
    assert rollout.world.router.history == [AT_REST, Weights(80, 20), AT_REST]


def test_a_short_loss_of_metrics_changes_nothing(rollout: Rollout) -> None:
    rollout.when("introduce", 5, lambda: rollout.world.metrics.fail("read", times=8))

    rollout.carry_out()

    assert rollout.ended.state is EndState.PROMOTED


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Interrupted(signal.SIGTERM), "interrupted by SIGTERM"),
        (KeyboardInterrupt(), "interrupted by KeyboardInterrupt"),
        (SystemExit(143), "interrupted by SystemExit: 143"),
        (RuntimeError("a fault of our own"), "interrupted by RuntimeError: a fault of our own"),
    ],
)
@pytest.mark.parametrize("step", ["introduce", "full"])
def test_every_way_out_but_success_leaves_all_traffic_on_stable(
    rollout: Rollout, step: str, error: BaseException, told: str
) -> None:
    rollout.when(step, 2, lambda: rollout.world.metrics.fail("read", error))

    with pytest.raises(type(error)):
        rollout.carry_out()

    assert rollout.world.router.weights == AT_REST
    assert rollout.world.workloads.wanted[Track.CANARY] == 0
    assert rollout.ended.state is EndState.FAILED
    assert rollout.ended.reason == told


def test_a_router_that_does_not_answer_once_on_the_way_up_is_asked_again(rollout: Rollout) -> None:
    rollout.world.router.fail("set_weights", on=2)

    rollout.carry_out()

    assert rollout.ended.state is EndState.PROMOTED
    assert rollout.world.router.history == SPLITS


@pytest.mark.parametrize("call", ["append", "save_state", "add_points"])
def test_a_record_that_cannot_be_written_for_a_while_is_an_alarm_and_no_end(rollout: Rollout, call: str) -> None:
    rollout.when("introduce", 2, lambda: rollout.ledger.fail(call, times=4))

    rollout.carry_out()

    assert rollout.ended.state is EndState.PROMOTED
    assert rollout.world.router.history == SPLITS
    assert [event.step for event in rollout.events(StepStarted)] == ["introduce", "increase", "full"]


@pytest.mark.parametrize("call", ["append", "save_state"])
def test_a_record_that_cannot_be_written_ends_the_rollout_on_stable(rollout: Rollout, call: str) -> None:
    rollout.when("increase", 2, lambda: rollout.ledger.fail(call, times=-1))

    with pytest.raises(UnavailableError):
        rollout.carry_out()

    assert rollout.world.router.weights == AT_REST
    assert rollout.world.workloads.wanted[Track.CANARY] == 0


def test_a_rollback_goes_on_when_the_gateway_does_not_answer_at_first(rollout: Rollout) -> None:
    rollout.world.metrics.behaviour[Track.CANARY].errors = 0.5
    rollout.when("introduce", 1, lambda: rollout.world.router.fail("set_weights", times=3))

    rollout.carry_out()

    assert rollout.world.router.weights == AT_REST
    assert rollout.ended.state is EndState.ROLLED_BACK


def test_the_canary_is_scaled_down_only_after_its_traffic_is_gone(rollout: Rollout) -> None:
    rollout.world.metrics.behaviour[Track.CANARY].errors = 0.5

    rollout.carry_out()

    last = [event for event in rollout.ledger.events if isinstance(event, (WeightsSet, WeightsObserved, Scaled))][-3:]
    assert [type(event) for event in last] == [WeightsSet, WeightsObserved, Scaled]
    assert [event.canary for event in last[:2]] == [0, 0]
    assert (last[1].observed, last[2].replicas) == (0.0, 0)


def test_a_second_rollout_of_the_service_is_refused_and_touches_nothing(rollout: Rollout) -> None:
    rollout.world.holder.take("somebody else", rollout.world.clock.time)

    with pytest.raises(LockedError, match="somebody else"):
        rollout.carry_out()

    assert rollout.world.router.history == [AT_REST]
    assert rollout.ledger.events == []


def test_an_owner_that_lost_its_lock_stops_before_its_next_write(rollout: Rollout) -> None:
    rollout.when("introduce", 5, lambda: rollout.lock.take_over())

    with pytest.raises(LockedError):
        rollout.carry_out()

    assert rollout.world.router.history == [AT_REST, Weights(80, 20)]


def test_a_lock_that_cannot_be_renewed_for_a_while_is_an_alarm_and_no_end(rollout: Rollout) -> None:
    rollout.when("introduce", 5, lambda: rollout.lock.fail("renew", times=10))

    rollout.carry_out()

    assert rollout.ended.state is EndState.PROMOTED
    assert any("cannot renew the lock" in event.what for event in rollout.events(Alarm))


def test_an_unhealthy_stable_is_never_compared_with(rollout: Rollout) -> None:
    rollout.world.metrics.behaviour[Track.STABLE].errors = 0.05

    rollout.carry_out()

    assert rollout.world.router.history == [AT_REST]
    assert "stable itself is not healthy" in rollout.ended.reason


def test_a_day_long_watch_ends_with_its_bake_time(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = [{"name": "full", "canary": "20%", "replicas": 1, "bake": "2h"}]
    plan = PLAN.model_validate(
        PLAN.model_dump(mode="json") | {"steps": steps, "scrape": "30s", "baseline": {"observe": "5m"}}
    )
    rollout = Rollout(monkeypatch, plan)
    rollout.world.metrics.rps = 5.0

    rollout.carry_out()

    (start,), (end,) = rollout.events(StepStarted), rollout.events(StepEnded)
    assert timedelta(hours=2) <= end.at - start.at <= timedelta(hours=4)


ONES_OWN, RESUMED = "11111111", processes.PLAN.model_copy(update={"when_orphaned": "resume"})


class Retried:
    """A flow run without a name, in whose world a rollout has lost its owner; it is this run of the scheduler's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = FakeWorld()
        Process(self.world, "ada", RESUMED).dies_in("introduce")
        self.process = Process(self.world, "bob", RESUMED)
        monkeypatch.setattr(canary, "open_run", lambda plan, target, name: self.process.run(name, plan))
        monkeypatch.setattr(canary, "open_command_context", lambda target, plan: self.process.desk)
        monkeypatch.setattr(canary, "check_fitness", self._refuse)
        monkeypatch.setattr(canary, "this_flow_run", lambda: ONES_OWN)

    def _refuse(self, plan: RolloutPlan, target: Target) -> None:
        raise PlanError("not started: the split is not at rest")

    def starts(self, plan: RolloutPlan = RESUMED) -> Any:
        return canary.canary_rollout.fn(plan, waits_for_person=False)

    def carried_by(self, flow_run: str) -> None:
        """Let a run of the scheduler's have been the rollout's last owner, heard of a moment ago."""
        events = self.world.ledger("r1").events
        events[:] = [
            event.model_copy(update={"flow_run": flow_run}) if event.kind == "started" else event for event in events
        ]
        self.world.holder.gone, self.world.holder.renewed = False, self.world.clock.time


@pytest.fixture
def retried(monkeypatch: pytest.MonkeyPatch) -> Retried:
    return Retried(monkeypatch)


def test_a_flow_run_without_a_name_goes_on_with_the_orphan_of_its_plan(retried: Retried) -> None:
    state = retried.starts()

    assert state.name == "Promoted"
    assert retried.world.rollouts() == ("r1",)
    (taken,) = retried.world.ledger("r1").record.of(TakenOver)
    assert (taken.flow_run, taken.policy) == (ONES_OWN, "resume")


def test_a_retry_finds_its_own_rollout_before_the_lock_of_its_dead_process_has_lapsed(retried: Retried) -> None:
    retried.carried_by(ONES_OWN)

    with pytest.raises(LockedError, match="ada"):  # and not what preflight says of the split
        retried.starts()

    retried.world.clock.advance(timedelta(minutes=1))
    assert retried.starts().name == "Promoted"


def test_a_flow_run_without_a_name_leaves_alone_what_another_one_carries(retried: Retried) -> None:
    retried.carried_by("22222222")

    with pytest.raises(PlanError, match="the split is not at rest"):
        retried.starts()

    assert len(unfinished(retried.world)) == 1


def test_a_flow_run_without_a_name_does_not_begin_beside_the_orphan_of_another_plan(retried: Retried) -> None:
    with pytest.raises(PlanError, match="r1 lost its owner and has not ended; `canary resume` or `canary abort` first"):
        retried.starts(PLAN)


def test_where_nothing_can_be_asked_yet_preflight_names_what_is_missing(
    retried: Retried, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nowhere(*_: object) -> None:
        raise SetupError("no embedded backend runs here")

    monkeypatch.setattr(canary, "open_command_context", nowhere)

    with pytest.raises(PlanError, match="not started"):
        retried.starts()
