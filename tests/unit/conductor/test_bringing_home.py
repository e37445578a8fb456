"""As long as a process lives it goes on trying to bring the traffic home; a guard that is told to end does not."""

from __future__ import annotations

import signal
from datetime import timedelta

import pytest

from conductor.commands.guard import Guard
from rollout.errors import ConflictError, Interrupted, SetupError, UnavailableError
from rollout.events import Alarm, Ended, EndState
from rollout.model import AT_REST, Weights
from tests.fakes import FakeRouter, FakeWorld
from tests.unit.conductor.processes import Process


@pytest.fixture
def world() -> FakeWorld:
    return FakeWorld()


def break_gateway(router: FakeRouter, world: FakeWorld, *, after: float, seconds: float, error: Exception) -> None:
    def fail() -> None:
        for call in ("set_weights", "read_weights", "drift"):
            router.fail(call, error, times=-1)

    world.clock.after(timedelta(seconds=after), fail)
    world.clock.after(timedelta(seconds=after + seconds), router.mend)


def test_a_rollback_is_tried_for_as_long_as_the_gateway_is_away_and_people_are_told(world: FakeWorld) -> None:
    ada = Process(world, "ada")
    gone = UnavailableError("ask 127.0.0.1:9901: connection refused")
    break_gateway(ada.world.router, world, after=11, seconds=600, error=gone)
    world.clock.after(timedelta(seconds=12), lambda: world.workloads.crash("canary-app-v2-0", times=9))

    ended = ada.carry_out()

    assert (ended.state, world.router.weights) == (EndState.ROLLED_BACK, AT_REST)
    assert world.router.history == [AT_REST, Weights(80, 20), AT_REST]
    assert "interrupted" not in ended.reason
    alarms = [event.what for event in world.ledger("r1").record.of(Alarm)]
    assert any("tried again and again" in what for what in alarms)
    assert world.holder.owner == ""


def test_where_there_is_no_gateway_any_more_the_end_is_on_record(world: FakeWorld) -> None:
    ada = Process(world, "ada")
    ended = SetupError("the local world in /tmp/s has ended")
    break_gateway(ada.world.router, world, after=11, seconds=10_000, error=ended)

    with pytest.raises(SetupError):
        ada.carry_out()

    last = world.ledger("r1").events[-1]
    assert isinstance(last, Ended)
    assert last.state is EndState.FAILED
    assert "has ended" in last.reason


def test_a_guard_tells_at_once_that_it_could_not_and_looks_at_others(world: FakeWorld) -> None:
    Process(world, "ada").dies_in("introduce")
    guard = Guard(Process(world, "guard").desk, lambda one: one.name)
    guard.desk.world.router.fail("set_weights", times=-1)
    before = world.clock.time

    said = list(guard.look())

    assert "cannot be looked after now" in said[0]
    assert world.clock.time - before < timedelta(seconds=10)


@pytest.mark.parametrize("at", [0.1, 1.0, 4.0, 9.0])
def test_a_guard_that_is_told_to_end_leaves_the_rest_to_the_next_one(world: FakeWorld, at: float) -> None:
    Process(world, "ada").dies_in("increase")
    world.metrics.fail("read", times=-1)  # so that it waits until it may take the traffic for gone
    guard = Guard(Process(world, "guard").desk, lambda one: one.name)
    told = world.clock.time + timedelta(seconds=at)

    def tell() -> None:
        raise Interrupted(signal.SIGTERM)

    world.clock.after(timedelta(seconds=at), tell)
    with pytest.raises(Interrupted):
        list(guard.look())

    assert world.clock.time - told < timedelta(seconds=2)
    assert (world.router.weights, world.holder.owner) == (AT_REST, "")
    assert world.ledger("r1").read().ended is None
    list(Guard(Process(world, "another guard").desk, lambda one: one.name).look())
    assert world.ledger("r1").read().ended is not None


def test_an_owner_whose_lock_is_lost_while_its_traffic_was_taken_home_ends_as_rolled_back(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = Process(world, "ada")
    run = ada.run()
    lost = ConflictError("the lock is gone, and somebody took the traffic out of our hands")

    def lose() -> None:
        world.router.seize(AT_REST)
        run.ports.lock.fail("renew", lost, times=-1)  # type: ignore[attr-defined]

    world.clock.after(timedelta(seconds=11), lose)
    monkeypatch.setattr(ada, "run", lambda rollout: run)

    with pytest.raises(ConflictError):
        ada.carry_out()

    ended = world.ledger("r1").read().ended
    assert ended is not None
    assert (ended.state, world.router.weights) == (EndState.ROLLED_BACK, AT_REST)
