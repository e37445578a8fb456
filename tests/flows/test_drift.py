"""Somebody else changes the split during a rollout: what each policy of the plan makes of it."""

from __future__ import annotations

import pytest

from conductor.checks.drift import MOST_REASSERTED
from rollout.events import DriftDetected, EndState, StepStarted
from rollout.model import AT_REST, Weights
from rollout.plan import WhenDrifted
from tests.flows.test_canary_flow import PLAN, SPLITS, Rollout

TWENTY = Weights.with_canary(20)


def _rollout(monkeypatch: pytest.MonkeyPatch, policy: WhenDrifted) -> Rollout:
    return Rollout(monkeypatch, PLAN.model_copy(update={"drift": policy}))


def _reset(rollout: Rollout) -> None:
    """Let somebody put everything on stable, as a GitOps controller that knows of no rollout does."""
    rollout.world.router._put(AT_REST)


def test_reassert_writes_the_split_again_within_a_tick_and_the_rollout_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = _rollout(monkeypatch, WhenDrifted.REASSERT)
    rollout.when("introduce", 5, lambda: _reset(rollout))

    rollout.carry_out()

    (drifted,) = rollout.events(DriftDetected)
    (began, *_) = rollout.events(StepStarted)
    assert (drifted.found, drifted.asked, drifted.who, drifted.handled) == (0, 20, "ada", "reasserted")
    assert (drifted.at - began.at).total_seconds() <= 5 + PLAN.scrape.total_seconds()
    assert rollout.world.router.history == [AT_REST, TWENTY, AT_REST, *SPLITS[1:]]
    assert rollout.ended.state is EndState.PROMOTED


def test_whoever_resets_the_split_again_and_again_is_not_fought_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = _rollout(monkeypatch, WhenDrifted.REASSERT)
    rollout.when("introduce", 5, lambda: rollout.world.clock.every(PLAN.scrape, lambda: _reset(rollout)))

    rollout.carry_out()

    told = [event.handled for event in rollout.events(DriftDetected)]
    assert told == ["reasserted"] * MOST_REASSERTED + ["held"]
    assert rollout.ended.state is EndState.HELD


def test_hold_leaves_the_split_alone_goes_on_when_it_is_back_and_tells_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = _rollout(monkeypatch, WhenDrifted.HOLD)
    rollout.when("introduce", 5, lambda: _reset(rollout))
    rollout.when("introduce", 45, lambda: rollout.world.router._put(TWENTY))

    rollout.carry_out()

    (drifted,) = rollout.events(DriftDetected)
    (began, then, *_) = rollout.events(StepStarted)
    assert drifted.handled == "held"
    assert (then.at - began.at).total_seconds() >= 45
    assert rollout.ended.state is EndState.PROMOTED


def test_hold_ends_by_the_plans_policy_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = _rollout(monkeypatch, WhenDrifted.HOLD)
    rollout.when("introduce", 5, lambda: _reset(rollout))

    rollout.carry_out()

    assert rollout.ended.state is EndState.HELD
    assert "ada set canary 0 % where 20 % was asked for" in rollout.ended.reason


def test_abort_rolls_back(monkeypatch: pytest.MonkeyPatch) -> None:
    rollout = _rollout(monkeypatch, WhenDrifted.ABORT)
    rollout.when("introduce", 5, lambda: rollout.world.router._put(Weights.with_canary(70)))

    rollout.carry_out()

    assert rollout.ended.reason == "ada set canary 70 % where 20 % was asked for"
    assert rollout.ended.state is EndState.ROLLED_BACK
    assert rollout.world.router.weights == AT_REST


@pytest.mark.parametrize("policy", WhenDrifted)
def test_traffic_that_was_taken_out_of_our_hands_is_never_taken_back(
    monkeypatch: pytest.MonkeyPatch, policy: WhenDrifted
) -> None:
    rollout = _rollout(monkeypatch, policy)
    rollout.when("increase", 5, lambda: rollout.world.router.seize(AT_REST))

    rollout.carry_out()

    assert rollout.world.router.history == [AT_REST, TWENTY, Weights(50, 50), AT_REST]
    assert rollout.ended.state is EndState.ROLLED_BACK
    assert "somebody took the traffic out of our hands" in rollout.ended.reason
