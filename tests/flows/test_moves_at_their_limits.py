"""The moves of a rollout where a limit is just reached, or something comes in between."""

from __future__ import annotations

from datetime import timedelta

import pytest

from conductor.moves import agrees
from rollout.events import EndState, StepStarted, WeightsObserved, WeightsSet
from rollout.model import AT_REST, Track, Weights
from tests.flows.test_canary_flow import Rollout
from tests.flows.test_canary_flow import rollout as rollout


@pytest.mark.parametrize(
    ("canary", "total", "percent", "fits"),
    [
        (241, 1000, 20, True),
        (242, 1000, 20, False),
        (159, 1000, 20, True),
        (158, 1000, 20, False),
        (552, 1000, 50, True),
        (553, 1000, 50, False),
        (200, 200, 100, True),
        (199, 200, 100, False),
        (0, 500, 0, True),
        (1, 500, 0, False),
    ],
)
def test_a_split_fits_within_the_99_9_percent_of_the_binomial(
    canary: int, total: int, percent: int, fits: bool
) -> None:
    """3.29 standard deviations: sqrt(1000 x 0.2 x 0.8) = 12.65, and 41.6 on each side of 200."""
    assert agrees(canary, total, percent / 100) is fits


def test_the_record_tells_the_observed_share_of_each_step_and_what_each_split_was_for(rollout: Rollout) -> None:
    rollout.carry_out()

    observed = {event.canary: event.observed for event in rollout.events(WeightsObserved)}
    assert list(observed) == [20, 50, 100]
    for percent, share in observed.items():
        assert share == pytest.approx(percent / 100, abs=0.15)
    assert all(event.requests >= 200 for event in rollout.events(WeightsObserved))
    assert [event.reason for event in rollout.events(WeightsSet)] == [
        "baseline",
        "step introduce",
        "step increase",
        "step full",
    ]


def test_an_abort_while_a_split_is_waited_for_ends_the_rollout_before_the_step_begins(rollout: Rollout) -> None:
    clock, router = rollout.world.clock, rollout.world.router

    def abort_once_routed() -> None:
        if router.weights.canary:
            rollout.world.signals("r1").abort(clock.time)
        else:
            clock.after(timedelta(milliseconds=100), abort_once_routed)

    abort_once_routed()
    rollout.carry_out()

    assert rollout.events(StepStarted) == []
    assert rollout.world.router.history == [AT_REST, Weights(80, 20), AT_REST]
    assert rollout.ended.state is EndState.ROLLED_BACK
    assert rollout.world.workloads.wanted[Track.CANARY] == 0


def test_a_rollout_whose_plan_has_no_mirror_touches_none(rollout: Rollout) -> None:
    """A gateway that cannot mirror must not fail a rollback for it."""
    rollout.when("introduce", 1, lambda: rollout.world.signals("r1").abort(rollout.world.clock.time))

    rollout.carry_out()

    assert rollout.world.router.mirrored == []
