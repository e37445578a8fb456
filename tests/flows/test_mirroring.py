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
