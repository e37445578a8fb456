"""Orders from outside a rollout's process, on fakes: abort, restore, resume and what is said of a service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from conductor import orders
from conductor.orders import Desk
from conductor.rollout import carry_out
from conductor.run import Ports, Run
from conductor.standing import standing
from rollout.errors import LockedError, PlanError
from rollout.model import AT_REST, Track, Weights
from rollout.plan import RolloutPlan, parse_plan
from rollout.ports import SignalKind
from rollout.record import Ended, EndState, Started, StepStarted, TakenOver
from tests.fakes import FakeLedger, FakeWorld

DEMO = parse_plan((Path(__file__).parents[3] / "demo.yaml").read_text())
PLAN = DEMO.model_validate(
    DEMO.model_dump(mode="json")
    | {
        "baseline": {"observe": "3s"},
        "steps": [
            {"name": name, "canary": share, "replicas": replicas, "bake": "8s", "deadline": "40s"}
            for name, share, replicas in (("introduce", "20%", 1), ("increase", "50%", 2), ("full", "100%", 3))
        ],
        "criteria": DEMO.criteria.model_dump(mode="json")
        | {
            "errors": {"healthy_below": "2%", "rollback_above": "5%"},
            "success": {"healthy_above": "96%"},
        },
    }
)
"""Short, and content with little traffic."""


class Killed(BaseException):
    """The process is gone: nothing of it runs any more."""


class Process:
    """One process on a world: it dies when a call is made after its time, and does nothing more then."""

    def __init__(self, world: FakeWorld, owner: str, plan: RolloutPlan = PLAN) -> None:
        self.world, self.owner, self.plan = world.seen_by_another(), owner, plan

    def run(self, rollout: str = "r1") -> Run:
        world = self.world
        ports = Ports.of(world, rollout, owner=self.owner, notices=world.notices, clock=world.clock)
        return Run.begin(self.plan, ports)

    def started(self, rollout: str = "r1") -> Started:
        return Started(at=self.world.clock.time, rollout=rollout, plan=self.plan, who=self.owner, backend="fake")

    def carry_out(self, rollout: str = "r1") -> Ended:
        return carry_out(self.run(rollout), self.started(rollout), waits_for_person=False)

    def dies_in(self, step: str, seconds: float = 3) -> None:
        """Carry the rollout out until it is killed, so many seconds after a step has started."""
        clock, ledger = self.world.clock, self.world.ledger("r1")
        holder = self.world.holder

        def look() -> None:
            if any(isinstance(event, StepStarted) and event.step == step for event in ledger.events):
                clock.after(timedelta(seconds=seconds), die)
            else:
                clock.after(timedelta(milliseconds=100), look)

        def die() -> None:
            for fake in (self.world.router, self.world.workloads, ledger, self.world.metrics, self.world.signals("r1")):
                for call in ("set_weights", "scale", "append", "save_state", "add_points", "read", "pods"):
                    fake.fail(call, Killed(), times=-1)
            raise Killed

        look()
        with pytest.raises(Killed):
            self.carry_out()
        for fake in (self.world.router, self.world.workloads, ledger, self.world.metrics, self.world.signals("r1")):
            fake.mend()
        # A dead process gives nothing back.
        holder.owner, holder.gone = self.owner, True

    @property
    def desk(self) -> Desk:
        def open_run(plan: RolloutPlan, rollout: str) -> Run:
            return Process(self.world, self.owner, plan).run(rollout)

        return Desk(self.world, open_run, self.world.clock, self.world.notices, self.owner)


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


@pytest.fixture
def ada(world: FakeWorld) -> Process:
    return Process(world, "ada")


@pytest.fixture
def guard(world: FakeWorld) -> Process:
    return Process(world, "guard")


def ledger(world: FakeWorld) -> FakeLedger:
    return world.ledger("r1")


def ended(world: FakeWorld) -> Ended:
    found = ledger(world).read().ended
    assert found is not None
    return found


def test_an_abort_ends_a_rollout_whose_owner_is_gone(world: FakeWorld, ada: Process, guard: Process) -> None:
    ada.dies_in("introduce")
    assert world.router.weights == Weights(80, 20)

    said = list(orders.abort(guard.desk, "looks wrong"))

    assert world.router.weights == AT_REST
    assert world.workloads.wanted[Track.CANARY] == 0
    assert said == ["r1: told to end on stable", "r1: rolled back: aborted by guard: looks wrong"]
    assert ended(world).state is EndState.ROLLED_BACK


@pytest.mark.parametrize("order", [orders.abort, orders.restore])
def test_an_order_given_twice_does_nothing_more(world: FakeWorld, ada: Process, guard: Process, order: object) -> None:
    ada.dies_in("increase")
    list(order(guard.desk, "looks wrong"))  # type: ignore[operator]
    events = list(ledger(world).events)

    list(order(guard.desk, "again"))  # type: ignore[operator]

    assert ledger(world).events == events
    assert world.router.weights == AT_REST


def test_an_abort_asks_a_living_owner_and_touches_nothing_itself(world: FakeWorld, ada: Process) -> None:
    said: list[str] = []
    guard = Process(world, "guard")
    world.clock.after(timedelta(seconds=9), lambda: said.append(next(iter(orders.abort(guard.desk, "looks wrong")))))

    ada.carry_out()

    assert said == ["r1: told to end on stable"]
    assert ended(world).reason == "aborted by guard: looks wrong"
    assert not [event for event in ledger(world).events if isinstance(event, TakenOver)]


def test_a_restore_takes_the_traffic_from_an_owner_that_hangs(world: FakeWorld, ada: Process, guard: Process) -> None:
    ada.dies_in("increase")
    world.holder.gone = False  # its heartbeat has not lapsed yet
    world.holder.renewed = world.clock.time

    said = list(orders.restore(guard.desk, "cannot wait"))

    assert world.router.weights == AT_REST
    assert said[0] == "all traffic is on stable"
    assert world.signals("r1").said[-1].kind is SignalKind.ABORT


def test_what_an_owner_writes_after_a_restore_takes_no_effect(world: FakeWorld, ada: Process, guard: Process) -> None:
    world.clock.after(timedelta(seconds=9), lambda: guard.world.router.seize(AT_REST))

    end = ada.carry_out()

    assert end.state is EndState.ROLLED_BACK
    assert "somebody took the traffic out of our hands" in end.reason
    assert world.router.history == [AT_REST, Weights(80, 20), AT_REST]


def test_a_restore_after_a_promotion_goes_back_to_the_old_version_and_wakes_its_pods(
    world: FakeWorld, ada: Process, guard: Process
) -> None:
    ada.carry_out()
    world.workloads.scale(Track.STABLE, 0)

    said = list(orders.restore(guard.desk, "second thoughts"))

    assert world.router.weights == AT_REST
    assert world.workloads.ready(Track.STABLE) == 3
    assert said[0] == "v1 has no ready pod: asked for 3"
    assert ended(world).state is EndState.ROLLED_BACK
    assert ended(world).reason == "restored by guard after the rollout had ended as promoted: second thoughts"


@pytest.mark.parametrize("step", ["introduce", "increase", "full"])
def test_a_rollout_that_is_resumed_goes_on_at_its_step_with_the_bake_so_far(
    world: FakeWorld, ada: Process, guard: Process, step: str
) -> None:
    ada.dies_in(step, 5)
    world.clock.advance(timedelta(minutes=3))
    resumed_at = world.clock.time

    end = orders.resume(guard.desk, orders.unfinished(world)[0])

    assert end.state is EndState.PROMOTED
    started = [event for event in ledger(world).events if isinstance(event, StepStarted)]
    assert [event.step for event in started] == ["introduce", "increase", "full"]
    assert world.router.history == [AT_REST, Weights(80, 20), Weights(50, 50), Weights(0, 100)]
    left = PLAN.steps[[one.name for one in PLAN.steps].index(step)].bake - timedelta(seconds=5)
    after = [event.at for event in ledger(world).events if event.kind == "step ended" and event.at > resumed_at]
    assert timedelta(0) <= after[0] - resumed_at - left < timedelta(seconds=4)


def test_a_rollout_is_not_resumed_to_give_traffic_back_that_somebody_took_home(
    world: FakeWorld, ada: Process, guard: Process
) -> None:
    ada.dies_in("increase")
    guard.world.router.seize(AT_REST)

    end = orders.resume(guard.desk, orders.unfinished(world)[0])

    assert end.state is EndState.ROLLED_BACK
    assert "all traffic was found on stable where 50 % had been asked" in end.reason
    assert world.router.weights == AT_REST


def test_the_same_rollout_started_again_is_restored_as_its_plan_says(world: FakeWorld, ada: Process) -> None:
    ada.dies_in("full")

    end = Process(world, "bob").carry_out()

    assert end.state is EndState.ROLLED_BACK
    assert "its owner was gone (ada, last heard of at" in end.reason
    assert world.router.weights == AT_REST


def test_a_rollout_that_has_ended_is_not_begun_again(world: FakeWorld, ada: Process) -> None:
    ada.carry_out()
    events = list(ledger(world).events)

    with pytest.raises(PlanError, match=r"r1: promoted at .* allowed: a name that no rollout has had"):
        Process(world, "bob").carry_out()

    assert ledger(world).events == events
    assert world.router.weights == Weights(0, 100)


def test_a_rollout_with_a_living_owner_is_not_taken_over(world: FakeWorld, ada: Process, guard: Process) -> None:
    refused: list[str] = []

    def resume() -> None:
        try:
            orders.resume(guard.desk, orders.unfinished(world)[0])
        except LockedError as error:
            refused.append(str(error))

    world.clock.after(timedelta(seconds=9), resume)

    assert ada.carry_out().state is EndState.PROMOTED
    assert len(refused) == 1
    assert refused[0].startswith("steered by ada since 2026-01-05 09:00:00 UTC")
    assert "`canary abort` ends that rollout" in refused[0]


def test_an_orphan_is_told_with_its_step_and_the_bake_that_is_left(world: FakeWorld, ada: Process) -> None:
    ada.dies_in("introduce", 5)
    world.clock.advance(timedelta(minutes=1))

    found = standing(world, world.clock.time)

    assert found.state == "orphaned"
    assert found.as_json()["canary_percent"] == 20
    assert "step      introduce: 3s of bake left" in found.lines()


def test_of_a_service_that_nothing_answers_for_it_is_said_so(world: FakeWorld) -> None:
    world.router.fail("read_weights", times=-1)
    world.workloads.fail("pods", times=-1)

    assert standing(world, world.clock.time).lines() == [
        "traffic   unknown: the gateway does not answer",
        "pods      unknown: nobody reports them",
        "lock      free",
    ]
