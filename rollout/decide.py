"""Decisions, and the rule that turns evidence into one: a pure, total function."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import ClassVar, assert_never

from rollout.formatting import format_span
from rollout.model import Finding, Outcome, Verdict
from rollout.plan import RolloutPlan, Step, WhenInconclusive
from rollout.signals import NO_SIGNALS, StepSignals


class DecisionKind(StrEnum):
    """What is to be done, as the record and the metrics name it."""

    HOLD = "hold"
    ADVANCE = "advance"
    PROMOTE = "promote"
    ROLL_BACK = "roll back"


@dataclass(frozen=True, slots=True)
class Hold:
    """Leave the weights as they are and go on watching."""

    kind: ClassVar = DecisionKind.HOLD
    reason: str
    needs_person: bool = False
    """True when the step's deadline has passed and the plan says to pause."""
    asks_approval: bool = False
    """True when the step has passed, and the plan wants a person's word before it is left."""


@dataclass(frozen=True, slots=True)
class Advance:
    """Go to the next step."""

    kind: ClassVar = DecisionKind.ADVANCE
    reason: str


@dataclass(frozen=True, slots=True)
class Promote:
    """The last step has passed: the canary is the new stable."""

    kind: ClassVar = DecisionKind.PROMOTE
    reason: str


@dataclass(frozen=True, slots=True)
class RollBack:
    """All traffic to stable, at once."""

    kind: ClassVar = DecisionKind.ROLL_BACK
    reason: str


Decision = Hold | Advance | Promote | RollBack


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rollout stands."""

    plan: RolloutPlan
    step_index: int
    step_since: datetime
    """When the step's share was verified in the traffic."""
    asked_since: datetime | None = None
    """Since when a person's approval is waited for; None while it is not."""
    has_passed: bool = False
    """Whether it has been decided to leave the step: from then on only harm counts."""

    @property
    def step(self) -> Step:
        """The step being watched."""
        return self.plan.steps[self.step_index]

    @property
    def is_last(self) -> bool:
        """Whether no step comes after this one."""
        return self.step_index == len(self.plan.steps) - 1


def decide(
    progress: Progress,
    verdict: Verdict,
    triggers: Sequence[Finding],
    now: datetime,
    *,
    held: str = "",
    signals: StepSignals = NO_SIGNALS,
) -> Decision:
    """Return what is to be done now.

    Triggers come first, whatever the phase; then evidence against the canary; then what people have said;
    then the bake time; then evidence for it; then the plan's policy at the step's deadline. Where the plan asks for a
    person's approval, none of them goes on without it, unless the plan says so.

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
    signals
        What people have said of this step.
    """
    if triggers:
        return RollBack(triggers[0].reason)
    if verdict.outcome is Outcome.FAIL:
        return RollBack(verdict.reason)
    held = held or signals.paused
    if progress.has_passed:
        return Hold(held or f"step {progress.step.name} has passed")
    if signals.skipped and not held:
        skipped = f"{signals.skipped}; {verdict.reason}"
        return _forward(progress, skipped) if _may_skip(progress) else _at_gate(progress, skipped, now, signals=signals)
    watched = now - progress.step_since
    if watched < progress.step.bake:
        return Hold(held or verdict.reason)
    if progress.asked_since is not None or (verdict.outcome is Outcome.PASS and not held):
        return _at_gate(progress, verdict.reason, now, held=held, signals=signals)
    if watched < progress.step.deadline:
        return Hold(held or verdict.reason)
    return _at_deadline(progress, held or _with_missing(verdict), now, signals)


def _forward(progress: Progress, reason: str) -> Advance | Promote:
    return Promote(reason) if progress.is_last else Advance(reason)


def _may_skip(progress: Progress) -> bool:
    return progress.step.approval is None or progress.step.approval.may_be_skipped


def _at_gate(progress: Progress, passed: str, now: datetime, *, signals: StepSignals, held: str = "") -> Decision:
    """Decide on a step that has passed: a person may have to agree, and may take longer than the evidence stands."""
    approval = progress.step.approval
    if held:
        return Hold(held)
    if approval is None:
        return _forward(progress, passed)
    if signals.approved:
        return _forward(progress, f"{signals.approved}; {passed}")
    until = (progress.asked_since or now) + approval.within
    if now < until:
        by = f" by {', '.join(approval.by)}" if approval.by else ""
        return Hold(f"waits for approval{by} until {until:%Y-%m-%d %H:%M} UTC; {passed}", asks_approval=True)
    reason = f"no approval within {format_span(approval.within)}; {passed}"
    return _by_policy(progress, approval.otherwise, reason, f"promoted without approval, as the plan says; {reason}")


def _with_missing(verdict: Verdict) -> str:
    """Return the verdict's reason; where that cannot say how many requests are missing, with the finding that can."""
    lacking = [
        finding for finding in verdict.findings if finding.requests_needed and finding.outcome is Outcome.INCONCLUSIVE
    ]
    if not lacking or verdict.findings[0].requests_needed:
        return verdict.reason
    most = max(lacking, key=lambda finding: finding.requests_needed or 0)
    return f"{verdict.reason}; {most.reason}"


def _at_deadline(progress: Progress, reason: str, now: datetime, signals: StepSignals) -> Decision:
    after = f"inconclusive at the deadline of {format_span(progress.step.deadline)}: {reason}"
    policy, promoted = progress.plan.when_inconclusive, f"promoted without evidence, as the plan says; {after}"
    if signals.paused and policy is WhenInconclusive.PROMOTE:
        policy = WhenInconclusive.PAUSE  # what a person holds no policy sends on
    if policy is WhenInconclusive.PROMOTE:
        return _at_gate(progress, promoted, now, signals=signals)
    return _by_policy(progress, policy, after, promoted)


def _by_policy(progress: Progress, policy: WhenInconclusive, reason: str, promoted: str) -> Decision:
    match policy:
        case WhenInconclusive.PAUSE:
            return Hold(reason, needs_person=True)
        case WhenInconclusive.ROLLBACK:
            return RollBack(reason)
        case WhenInconclusive.PROMOTE:
            return _forward(progress, promoted)
        case _:
            assert_never(policy)


def time_left(progress: Progress, now: datetime) -> timedelta:
    """Return how long the step bakes on, zero once it has."""
    return max(progress.step.bake - (now - progress.step_since), timedelta(0))
