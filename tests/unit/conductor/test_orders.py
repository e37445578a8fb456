"""Orders from outside a rollout's process, on fakes: abort, restore, resume and what is said of a service."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

import pytest

from conductor.commands import commands
from conductor.commands.status import standing
from rollout.errors import DamagedError, LockedError, PlanError, SetupError, UnavailableError
from rollout.events import (
    Ended,
    EndState,
    Scaled,
    StepStarted,
    TakenOver,
)
from rollout.model import AT_REST, Track, Weights
from rollout.plan import Approval
from rollout.ports import Signal, SignalKind
from tests.fakes import FakeLedger, FakeWorld
from tests.unit.conductor.processes import PLAN, Process


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

    said = list(commands.abort(guard.desk, "looks wrong"))

    assert world.router.weights == AT_REST
    assert world.workloads.wanted[Track.CANARY] == 0
    assert said == ["r1: told to end on stable", "r1: rolled back: aborted by guard: looks wrong"]
    assert ended(world).state is EndState.ROLLED_BACK


@pytest.mark.parametrize("order", [commands.abort, commands.restore])
@pytest.mark.parametrize("lives", [False, True])
def test_a_record_that_cannot_be_read_keeps_no_traffic_from_stable(
    world: FakeWorld, ada: Process, guard: Process, order: object, *, lives: bool
) -> None:
    ada.dies_in("increase")
    world.holder.gone, world.holder.renewed = not lives, world.clock.time
    for call in ("read", "read_events", "load_state"):
        ledger(world).fail(call, DamagedError("events.jsonl: Is a directory"), times=-1)

    said = list(order(guard.desk, "looks wrong"))  # type: ignore[operator]

    assert world.router.weights == AT_REST
    assert said[0] == "r1: left alone: events.jsonl: Is a directory"
    assert said[-1] == "all traffic is on stable"


def test_status_names_the_damage_and_what_nobody_steers(world: FakeWorld, ada: Process) -> None:
    ada.dies_in("increase")
    for call in ("read", "read_events", "load_state"):
        ledger(world).fail(call, DamagedError("events.jsonl: Is a directory"), times=-1)

    lines = standing(world, world.clock.time).lines()

    assert "damage    r1: left alone: events.jsonl: Is a directory" in lines
    assert any(line.startswith("to do     no record explains this split") for line in lines)


def test_an_abort_of_an_orphan_moves_the_traffic_before_all_else(
    world: FakeWorld, ada: Process, guard: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.dies_in("increase")
    seen = list[Weights]()
    monkeypatch.setattr(commands, "end_on_stable", lambda *_: seen.append(world.router.weights) or ended(world))

    with suppress(AssertionError):
        list(commands.abort(guard.desk, "looks wrong"))

    assert seen == [AT_REST]


@pytest.mark.parametrize("unseen", [1, 20])
def test_a_restore_waits_for_pods_that_cannot_be_seen_where_they_were_scaled_to_zero(
    world: FakeWorld, ada: Process, guard: Process, unseen: int
) -> None:
    ada.carry_out()
    world.workloads.scale(Track.STABLE, 0)
    at = world.clock.time
    ledger(world).append(Scaled(at=at, track=Track.STABLE, replicas=0, seconds=0.0))
    world.workloads.ready_after = timedelta(seconds=20)
    guard.world.workloads.fail("pods", times=unseen)
    split = list[tuple[Weights, int]]()
    world.clock.every(timedelta(seconds=1), lambda: split.append((world.router.weights, _ready(world))))

    list(commands.restore(guard.desk, "second thoughts"))

    assert world.router.weights == AT_REST
    assert _ready(world) == PLAN.stable.replicas
    assert not [pods for weights, pods in split if weights == AT_REST and not pods]


def _ready(world: FakeWorld) -> int:
    return world.workloads.ready(Track.STABLE)


@pytest.mark.parametrize("call", ["read_weights", "seize"])
def test_a_restore_goes_on_trying_while_the_gateway_does_not_answer(
    world: FakeWorld, ada: Process, guard: Process, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.carry_out()
    monkeypatch.setattr(guard.world, "serves", lambda track: guard.world.router.read_weights().canary > 0)
    guard.world.router.fail(call, times=100)

    said = list(commands.restore(guard.desk, "second thoughts"))

    assert world.router.weights == AT_REST
    assert any("trying on until" in line for line in said)


def test_a_restore_gives_up_only_after_its_own_deadline(world: FakeWorld, ada: Process, guard: Process) -> None:
    ada.carry_out()
    guard.world.router.fail("seize", times=-1)
    before = world.clock.time

    with pytest.raises(UnavailableError):
        list(commands.restore(guard.desk, "second thoughts"))

    assert world.clock.time - before >= timedelta(minutes=2)


@pytest.mark.parametrize("order", [commands.abort, commands.restore])
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
    world.clock.after(timedelta(seconds=9), lambda: said.append(next(iter(commands.abort(guard.desk, "looks wrong")))))

    ada.carry_out()

    assert said == ["r1: told to end on stable"]
    assert ended(world).reason == "aborted by guard: looks wrong"
    assert not ledger(world).record.of(TakenOver)


@pytest.mark.parametrize("order", [commands.abort, commands.restore])
@pytest.mark.parametrize("hangs", [False, True])
def test_a_word_that_cannot_be_written_down_keeps_no_traffic_from_stable(
    world: FakeWorld, ada: Process, guard: Process, order: object, *, hangs: bool
) -> None:
    ada.dies_in("increase")
    if hangs:
        world.holder.gone, world.holder.renewed = False, world.clock.time
    world.signals("r1").fail("say", SetupError("configmaps: forbidden: exceeded quota"), times=-1)
    before = world.clock.time

    said = list(order(guard.desk, "looks wrong"))  # type: ignore[operator]

    assert said[0] == "r1: cannot be told to end: configmaps: forbidden: exceeded quota"
    assert world.router.weights == AT_REST
    assert not hangs or world.clock.time - before < timedelta(seconds=2)  # nobody who was asked is waited for


@pytest.mark.parametrize("order", [commands.abort, commands.restore])
def test_where_nothing_at_all_can_be_written_the_traffic_goes_to_stable(
    world: FakeWorld, ada: Process, guard: Process, order: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada.dies_in("increase")
    full = UnavailableError("write: No space left on device")
    world.signals("r1").fail("say", full, times=-1)
    monkeypatch.setattr(type(guard.world.lock("guard")), "acquire", _raising(full))

    said = list(order(guard.desk, "looks wrong"))  # type: ignore[operator]

    assert said[-1] == "r1: its owner was not asked; all traffic was put on stable"
    assert world.router.weights == AT_REST


def _raising(error: Exception) -> Callable[[object], None]:
    def raises(_: object) -> None:
        raise error

    return raises


def test_a_restore_takes_the_traffic_from_an_owner_that_hangs(world: FakeWorld, ada: Process, guard: Process) -> None:
    ada.dies_in("increase")
    world.holder.gone = False  # its heartbeat has not lapsed yet
    world.holder.renewed = world.clock.time

    said = list(commands.restore(guard.desk, "cannot wait"))

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

    said = list(commands.restore(guard.desk, "second thoughts"))

    assert world.router.weights == AT_REST
    assert world.workloads.ready(Track.STABLE) == 3
    assert said[0] == "v1 has no ready pod: asked for 3"
    assert ended(world).state is EndState.ROLLED_BACK
    assert ended(world).reason == "restored by guard: second thoughts, after it had ended as promoted"


@pytest.mark.parametrize("step", ["introduce", "increase", "full"])
def test_a_rollout_that_is_resumed_goes_on_at_its_step_with_the_bake_so_far(
    world: FakeWorld, ada: Process, guard: Process, step: str
) -> None:
    ada.dies_in(step, 5)
    world.clock.advance(timedelta(minutes=3))
    resumed_at = world.clock.time

    end = commands.resume(guard.desk, commands.unfinished(world)[0])

    assert end.state is EndState.PROMOTED
    started = ledger(world).record.of(StepStarted)
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

    end = commands.resume(guard.desk, commands.unfinished(world)[0])

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
            commands.resume(guard.desk, commands.unfinished(world)[0])
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
    assert "step      introduce: 3 s of bake left" in found.lines()


def test_of_a_service_that_nothing_answers_for_it_is_said_so(world: FakeWorld) -> None:
    world.router.fail("read_weights", times=-1)
    world.workloads.fail("pods", times=-1)

    assert standing(world, world.clock.time).lines() == [
        "traffic   unknown: the gateway does not answer",
        "pods      unknown: nobody reports them",
        "drill     never; `canary drill` proves that the rollback works here",
        "lock      free",
    ]


def test_a_right_that_is_missing_hides_nothing_of_what_is_on_record(world: FakeWorld, ada: Process) -> None:
    ada.dies_in("introduce", 5)
    world.router.fail("read_weights", SetupError("get virtualservices: not allowed"), times=-1)
    world.workloads.fail("pods", SetupError("list pods: not allowed"), times=-1)

    found = standing(world, world.clock.time)

    traffic, pods, *_ = found.lines()
    assert traffic.startswith("traffic   unknown: get virtualservices: not allowed; last put in force: canary 20 %")
    assert pods == "pods      unknown: nobody reports them"
    assert (found.state, found.as_json()["canary_percent"]) == ("orphaned", None)


def test_where_the_gateway_is_gone_the_last_known_split_is_told(world: FakeWorld, ada: Process) -> None:
    ada.dies_in("introduce", 5)
    world.router.fail("read_weights", times=-1)

    (traffic, *_) = standing(world, world.clock.time).lines()

    assert traffic.startswith("traffic   unknown: the gateway does not answer; last put in force: canary 20 % at 2026-")


def test_an_abort_with_nothing_under_way_is_no_error_where_the_gateway_is_gone(ada: Process) -> None:
    ada.world.router.fail("read_weights", times=-1)

    assert list(commands.abort(ada.desk, "twice")) == [
        "nothing to abort: no rollout is under way",
        "traffic: unknown, the gateway does not answer",
    ]


def test_of_a_rollout_that_waits_for_a_person_it_is_said_what_for(world: FakeWorld, ada: Process) -> None:
    asks = PLAN.steps[0].model_copy(update={"approval": Approval(within=timedelta(hours=4))})
    waiting = Process(world, "ada", PLAN.model_copy(update={"steps": (asks, *PLAN.steps[1:])}))
    waiting.dies_in("introduce", seconds=35)

    found = standing(world, world.clock.time)

    assert found.waits.startswith("for approval until 2026-01-05 13:0")
    assert any("`canary approve` or `canary refuse`" in line for line in found.lines())
    world.signals("r1").send(Signal(SignalKind.PAUSE, "lunch", "ann", world.clock.time))
    assert standing(world, world.clock.time).as_json()["waits"] == "paused by ann: lunch; `canary resume` lets it go on"
