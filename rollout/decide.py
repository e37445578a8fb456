"""The rule that turns evidence into a decision. One pure, total function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from rollout.model import Advance, Decision, Finding, Hold, Outcome, Promote, RollBack, Verdict
from rollout.plan import RolloutPlan, Step, WhenInconclusive
from rollout.quantities import format_duration


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rollout stands."""

    plan: RolloutPlan
    step_index: int
    step_since: datetime
    """When the step's share was verified in the traffic."""

    @property
    def step(self) -> Step:
        """The step being watched."""
        return self.plan.steps[self.step_index]

    @property
    def is_last(self) -> bool:
        """Whether no step comes after this one."""
        return self.step_index == len(self.plan.steps) - 1


def decide(
    progress: Progress, verdict: Verdict, triggers: Sequence[Finding], now: datetime, *, held: str = ""
) -> Decision:
    """Return what is to be done now.

    Triggers come first, whatever the phase; then evidence against the canary; then the bake time;
    then evidence for it; then the plan's policy at the step's deadline.

    Parameters
    ----------
    progress
        Where the rollout stands.
    verdict
        What the evidence says.
    triggers
        Deterministic reasons to roll back, the first one to be quoted.
    now
        The present moment.
    held
        Why no evidence lets the rollout go on, such as a split that somebody else changed; empty where nothing does.
    """
    if triggers:
        return RollBack(triggers[0].reason)
    if verdict.outcome is Outcome.FAIL:
        return RollBack(verdict.reason)
    watched = now - progress.step_since
    if watched < progress.step.bake:
        return Hold(held or verdict.reason)
    if verdict.outcome is Outcome.PASS and not held:
        return _forward(progress, verdict.reason)
    if watched < progress.step.deadline:
        return Hold(held or verdict.reason)
    return _at_deadline(progress, held or verdict.reason)


def _forward(progress: Progress, reason: str) -> Advance | Promote:
    return Promote(reason) if progress.is_last else Advance(reason)


def _at_deadline(progress: Progress, reason: str) -> Decision:
    after = f"inconclusive at the deadline of {format_duration(progress.step.deadline)}: {reason}"
    match progress.plan.when_inconclusive:
        case WhenInconclusive.PAUSE:
            return Hold(after, needs_person=True)
        case WhenInconclusive.ROLLBACK:
            return RollBack(after)
        case WhenInconclusive.PROMOTE:
            return _forward(progress, f"promoted without evidence, as the plan says; {after}")
        case _:
            assert_never(progress.plan.when_inconclusive)


def time_left(progress: Progress, now: datetime) -> timedelta:
    """Return how long the step bakes on, zero once it has."""
    return max(progress.step.bake - (now - progress.step_since), timedelta(0))
