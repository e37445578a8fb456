"""What any router and any workloads promise."""

from __future__ import annotations

import pytest

from rollout.errors import ConflictError
from rollout.model import AT_REST, Track, Weights
from tests.contract.contracted import Contracted


def test_a_gateway_at_rest_sends_everything_to_stable(world: Contracted) -> None:
    assert world.router.read_weights() == AT_REST


@pytest.mark.parametrize("percent", [1, 20, 50, 99, 100, 0])
def test_weights_that_were_set_are_in_force_at_once(world: Contracted, percent: int) -> None:
    world.router.set_weights(Weights.with_canary(percent))

    assert world.router.read_weights() == Weights.with_canary(percent)


def test_setting_the_same_weights_again_is_harmless(world: Contracted) -> None:
    for _ in range(3):
        world.router.set_weights(Weights.with_canary(20))

    assert world.router.read_weights() == Weights.with_canary(20)


def test_the_last_of_many_quick_changes_is_in_force(world: Contracted) -> None:
    for percent in (20, 50, 100, 0, 50, 20):
        world.router.set_weights(Weights.with_canary(percent))

    assert world.router.read_weights() == Weights.with_canary(20)


def test_at_rest_stable_has_its_pods_ready_and_the_canary_has_none(world: Contracted) -> None:
    assert world.wait_for(Track.STABLE, 3)

    pods = world.workloads.pods()

    assert [pod.ready for pod in pods] == [True] * 3
    assert {pod.track for pod in pods} == {Track.STABLE}
    assert len({pod.name for pod in pods}) == 3


def test_a_track_that_is_scaled_up_gets_ready_pods_of_its_own(world: Contracted) -> None:
    world.workloads.scale(Track.CANARY, 2)

    assert world.wait_for(Track.CANARY, 2)
    assert world.wait_for(Track.STABLE, 3)


def test_a_track_that_is_scaled_down_loses_pods_and_keeps_the_others(world: Contracted) -> None:
    world.workloads.scale(Track.CANARY, 2)
    assert world.wait_for(Track.CANARY, 2)
    before = world.pods(Track.CANARY)

    world.workloads.scale(Track.CANARY, 1)

    assert world.wait_for(Track.CANARY, 1)
    (left,) = world.pods(Track.CANARY)
    assert left in before


def test_scaling_to_the_same_number_again_changes_nothing(world: Contracted) -> None:
    assert world.wait_for(Track.STABLE, 3)
    before = world.workloads.pods()

    world.workloads.scale(Track.STABLE, 3)

    assert world.wait_for(Track.STABLE, 3)
    assert world.workloads.pods() == before


def test_fresh_pods_have_no_restarts_and_wait_for_nothing(world: Contracted) -> None:
    world.workloads.scale(Track.CANARY, 1)
    assert world.wait_for(Track.CANARY, 1)

    (pod,) = world.pods(Track.CANARY)

    assert (pod.restarts, pod.waiting) == (0, "")


def test_an_owner_whose_traffic_was_seized_can_give_the_canary_no_more(world: Contracted) -> None:
    lock = world.lock("ada")
    lock.acquire()
    world.router.set_weights(Weights.with_canary(20))

    world.router.seize(AT_REST)

    with pytest.raises(ConflictError, match="took the traffic out of our hands"):
        world.router.set_weights(Weights.with_canary(50))
    world.router.set_weights(AT_REST)
    assert world.router.read_weights() == AT_REST
    lock.release()


def test_the_holder_of_a_lock_is_told_and_nobody_once_it_is_given_back(world: Contracted) -> None:
    lock = world.lock("ada")
    assert lock.holder() is None

    lock.acquire()

    holder = world.lock("bob").holder()
    assert holder is not None
    assert holder.owner.startswith("ada")
    assert holder.lives
    lock.release()
    assert lock.holder() is None
