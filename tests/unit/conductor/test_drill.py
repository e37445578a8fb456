"""A drill of the rollback on fakes: what it proves, what it touches, and what is left of one that died."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conductor.commands import commands, drill
from conductor.commands.commands import begun
from conductor.commands.exporter import metrics
from conductor.commands.guard import Guard
from conductor.commands.status import standing
from conductor.state.rollout_run import Run
from rollout.errors import LockedError, PlanError
from rollout.events import (
    ClientTrack,
    DrillEnded,
    EndState,
    LoadSummary,
    Started,
)
from rollout.model import AT_REST, Track, Weights
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import PLAN, Killed, Process

DRILL = drill.drill_plan(PLAN, timedelta(seconds=30))
NAME = "drill-1"


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


def _started(world: FakeWorld) -> Started:
    return Started(at=world.clock.time, rollout=NAME, plan=DRILL, who="ada", backend="fake", drill="errors=30%")


def _run(world: FakeWorld, owner: str = "ada") -> Run:
    return Process(world, owner, DRILL).run(NAME)


def _load(world: FakeWorld, answered: int) -> LoadSummary:
    tracks = {"canary": ClientTrack(requests=answered, failures=0)}
    return LoadSummary(at=world.clock.time, requests=answered, failures=0, rate=50, tracks=tracks)


def _drilled(world: FakeWorld, *, beside: int = 0, astray: int = 0) -> DrillEnded:
    """Drill to the end; `beside` requests at the canary are not in the load generator's books."""
    run = _run(world)
    witness = drill.witnessed(run)
    drill.carry_out(run, _started(world), "marker")
    counted = world.metrics._counters.get(Track.CANARY)
    answered = (counted.requests if counted else 0) - beside
    return drill.conclude(run, _load(world, answered), astray, witness.last)


def _dies(world: FakeWorld) -> None:
    """Drill until the process is gone, with the marked requests at the failing canary."""
    run = _run(world)
    fakes = (run.ports.router, run.ports.ledger, run.ports.workloads, run.ports.metrics)

    def die() -> None:
        for fake in fakes:
            for call in ("set_weights", "scale", "append", "save_state", "add_points", "read", "pods"):
                fake.fail(call, Killed(), times=-1)  # type: ignore[attr-defined]
        raise Killed

    def look() -> None:
        world.clock.after(timedelta(milliseconds=100), die if world.router.drill else look)

    look()
    with pytest.raises(Killed):
        drill.carry_out(run, _started(world), "marker")
    for fake in fakes:
        fake.mend()  # type: ignore[attr-defined]
    world.holder.owner, world.holder.gone = "ada", True
    assert world.router.drill == "marker"


def test_a_canary_that_fails_on_purpose_is_taken_back_and_each_part_of_the_chain_is_timed(world: FakeWorld) -> None:
    drilled = _drilled(world)

    assert drilled.proven
    assert tuple(drilled.seconds) == drill.PARTS
    assert list(drilled.seconds.values()) == sorted(drilled.seconds.values())
    assert (drilled.marked > 0, drilled.strays) == (True, 0)
    assert world.ledger(NAME).read().ended.state is EndState.ROLLED_BACK  # type: ignore[union-attr]


def test_live_traffic_stays_on_stable_throughout(world: FakeWorld) -> None:
    _drilled(world)

    assert world.router.history == [AT_REST]


def test_nothing_of_a_drill_is_left(world: FakeWorld) -> None:
    _drilled(world)

    assert (world.router.drill, world.workloads.wanted[Track.CANARY], world.holder.owner) == ("", 0, "")
    assert world.metrics.behaviour[Track.CANARY].errors == 0


def test_a_chain_that_does_not_fire_says_where_it_stopped(world: FakeWorld) -> None:
    world.drill_errors = 0.0

    drilled = _drilled(world)

    assert drilled.stopped.startswith("not judged: ")
    assert drilled.seconds == {}
    assert (world.router.drill, world.workloads.wanted[Track.CANARY]) == ("", 0)
    assert world.ledger(NAME).read().ended.state is EndState.FAILED  # type: ignore[union-attr]


def test_a_persons_abort_ends_a_drill_and_proves_nothing(world: FakeWorld) -> None:
    world.drill_errors = 0.0
    world.clock.after(timedelta(seconds=12), lambda: world.signals(NAME).abort(world.clock.time))

    drilled = _drilled(world)

    assert drilled.stopped.startswith("not judged: aborted by ada")
    assert world.router.drill == ""


def test_a_request_that_only_the_gateway_knows_of_is_no_proof(world: FakeWorld) -> None:
    drilled = _drilled(world, beside=3)

    assert (drilled.strays, drilled.stopped) == (3, "3 requests without the mark reached the failing canary")


def test_an_unmarked_request_that_the_canary_answered_is_no_proof(world: FakeWorld) -> None:
    assert _drilled(world, astray=1).strays == 1


def test_without_prometheus_the_chain_stops_at_the_judge(world: FakeWorld) -> None:
    world.clock.after(timedelta(seconds=4), lambda: world.metrics.fail("read", times=-1))

    drilled = _drilled(world)

    assert drilled.stopped.startswith("not judged")
    assert world.router.drill == ""


def test_a_service_with_a_rollout_under_way_is_not_drilled(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("introduce")

    with pytest.raises(PlanError, match="r1 has begun and not ended"):
        drill.check_quiet(world)


def test_a_service_whose_canary_has_live_traffic_is_not_drilled(world: FakeWorld) -> None:
    world.router.set_weights(Weights(0, 100))

    with pytest.raises(PlanError, match="the canary has 100 % of the live traffic, allowed: 0 %"):
        drill.check_quiet(world)


def test_a_drill_and_a_rollout_never_steer_one_service(world: FakeWorld) -> None:
    Process(world, "bob").run("r1").ports.lock.acquire()

    with pytest.raises(LockedError):
        drill.carry_out(_run(world), _started(world), "marker")

    assert world.router.drill == ""


def test_the_guard_cleans_up_after_a_drill_that_died(world: FakeWorld) -> None:
    _dies(world)

    said = list(Guard(Process(world, "guard").desk, lambda one: "resumed").look())

    assert said[0].startswith(f"{NAME}: rolled back: its owner was gone")
    assert (world.router.drill, world.workloads.wanted[Track.CANARY]) == ("", 0)
    assert world.metrics.behaviour[Track.CANARY].errors == 0
    assert world.router.history == [AT_REST]


def test_a_drill_that_died_is_never_gone_on_with_as_a_rollout(world: FakeWorld) -> None:
    _dies(world)
    desk = Process(world, "bob").desk

    ended = commands.resume(desk, commands.unfinished(desk.world)[-1])

    assert ended.state is EndState.ROLLED_BACK
    assert (world.router.drill, world.router.history) == ("", [AT_REST])


def test_status_tells_the_last_drill_beside_the_latest_rollout(world: FakeWorld) -> None:
    Process(world, "bob").carry_out()
    world.router.set_weights(AT_REST)
    _drilled(world)
    world.metrics.rps, world.metrics.down = 0.0, True  # two days without anybody
    world.clock.advance(timedelta(hours=50))

    found = standing(world, world.clock.time)

    assert found.latest is not None
    assert found.latest.name == "r1"
    (line,) = [line for line in found.lines() if line.startswith("drill")]
    assert line.startswith("drill     2 d ago, errors=30%: proven, route taken back ")
    assert found.as_json()["drill"]["proven"] is True


def test_metrics_tell_the_last_drill_and_do_not_count_it_among_the_rollouts(world: FakeWorld) -> None:
    Process(world, "bob").carry_out()
    world.router.set_weights(AT_REST)
    drilled = _drilled(world)

    found = list(metrics(standing(world, world.clock.time), begun(world)))

    told = {gauge.name: {tuple(one.labels.values())[1:]: one.value for one in gauge.samples} for gauge in found}
    assert told["canary_drill_proven"] == {(): 1}
    assert told["canary_drill_timestamp_seconds"] == {(): drilled.at.timestamp()}
    assert told["canary_drill_seconds"] == {(part,): took for part, took in drilled.seconds.items()}
    assert (told["canary_rollouts"]["promoted",], told["canary_rollouts"]["rolled back",]) == (1, 0)


def test_status_of_a_service_that_was_never_drilled_says_so(world: FakeWorld) -> None:
    assert any("never; `canary drill`" in line for line in standing(world, world.clock.time).lines())
