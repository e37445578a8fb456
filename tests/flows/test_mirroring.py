"""A rollout whose plan lets the canary have copies of live requests first."""

from __future__ import annotations

from datetime import timedelta

import pytest

from rollout.events import EndState, StepStarted, TrafficMirrored
from rollout.model import AT_REST, Track
from rollout.plan import Mirror
from tests.flows.test_canary_flow import PLAN, SPLITS, Rollout

MIRROR = Mirror(share="20%", bake=timedelta(seconds=30))


@pytest.fixture
def rollout(monkeypatch: pytest.MonkeyPatch) -> Rollout:
    return Rollout(monkeypatch, PLAN.model_copy(update={"mirror": MIRROR}))


def test_copies_come_before_the_first_step_and_end_with_it(rollout: Rollout) -> None:
    rollout.carry_out()

    (mirrored,) = rollout.events(TrafficMirrored)
    (began, *_) = rollout.events(StepStarted)
    assert (mirrored.share, mirrored.requests) == (20, 0)
    assert mirrored.seconds >= 30
    assert mirrored.at < began.at
    assert rollout.world.router.mirrored == [20, 0]
    assert rollout.world.router.history == SPLITS
    assert rollout.ended.state is EndState.PROMOTED


def test_an_abort_ends_the_copies(rollout: Rollout) -> None:
    rollout.world.clock.after(
        timedelta(seconds=25), lambda: rollout.world.signals("r1").abort(rollout.world.clock.time)
    )

    rollout.carry_out()

    assert rollout.world.router.mirrored[0] == 20
    assert rollout.world.router.mirror == 0
    assert rollout.world.router.history == [AT_REST]
    assert rollout.world.workloads.wanted[Track.CANARY] == 0


@pytest.mark.parametrize(("errors", "state"), [(0.0, EndState.PROMOTED), (0.05, EndState.ROLLED_BACK)])
def test_copies_that_fail_on_the_canarys_own_pods_end_the_rollout_before_any_user_sees_it(
    rollout: Rollout, monkeypatch: pytest.MonkeyPatch, errors: float, state: EndState
) -> None:
    monkeypatch.setattr("conductor.mirroring.counted_by_pods", lambda frame, track: (4000, round(4000 * errors)))

    rollout.carry_out()

    assert rollout.ended.state is state
    assert errors == 0 or rollout.world.router.history == [AT_REST]
    assert errors == 0 or rollout.ended.reason == "mirror: 5 % of 4,000 copied requests failed, allowed 1 %"


def ready_when_mirrored(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return, for each change of the mirror, its share and how many pods the canary had then."""
    world, seen = rollout.world, list[tuple[int, int]]()
    set_mirror = world.router.set_mirror

    def noted(share: int) -> None:
        set_mirror(share)
        seen.append((share, world.workloads.ready(Track.CANARY)))

    monkeypatch.setattr(world.router, "set_mirror", noted)
    return seen


def test_no_copy_is_sent_before_the_canary_has_its_pods(rollout: Rollout, monkeypatch: pytest.MonkeyPatch) -> None:
    rollout.world.workloads.ready_after = timedelta(seconds=20)
    seen = ready_when_mirrored(rollout, monkeypatch)

    rollout.carry_out()

    assert seen[0] == (20, MIRROR.replicas)
    assert rollout.ended.state is EndState.PROMOTED


def test_a_canary_that_gets_no_pods_gets_no_copies(rollout: Rollout) -> None:
    rollout.world.workloads.broken.add(Track.CANARY)

    rollout.carry_out()

    assert [share for share in rollout.world.router.mirrored if share] == []
    assert rollout.ended.state is EndState.ROLLED_BACK
    assert "canary is not ready" in rollout.ended.reason


def test_a_rollback_ends_the_copies_before_the_pods_that_get_them_go(
    rollout: Rollout, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = rollout.world.clock
    clock.after(timedelta(seconds=25), lambda: rollout.world.signals("r1").abort(clock.time))
    seen = ready_when_mirrored(rollout, monkeypatch)

    rollout.carry_out()

    assert seen[-1] == (0, MIRROR.replicas)
    assert rollout.world.workloads.wanted[Track.CANARY] == 0
