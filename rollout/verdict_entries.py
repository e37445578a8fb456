"""A verdict and its findings as the record keeps them."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from rollout.model import Basis, Outcome, Question, SplitCause, Verdict


class Entry(BaseModel):
    """A part of the record: frozen, and without any key that it does not know."""

    # An infinite log evidence is written as text: JSON has no word for it, and `null` could not be read back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class FindingEntry(Entry):
    """A finding, as the record keeps it; see `rollout.model.Finding`."""

    criterion: str
    basis: Basis
    outcome: Outcome
    reason: str
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    limit: float | None = None
    unit: str = ""
    log_evidence: float = 0.0
    log_needed: float | None = None
    requests_needed: int | None = None
    seconds_needed: float | None = None
    answers: Question = Question.OTHER
    cause: SplitCause | None = None
    """The likely cause of a split that is not the one asked for; None in all other findings."""


class VerdictEntry(Entry):
    """A verdict, as the record keeps it; see `rollout.model.Verdict`."""

    outcome: Outcome
    reason: str
    findings: tuple[FindingEntry, ...]
    rollback_evidence: float
    rollback_needed: float
    promotion_evidence: float
    promotion_needed: float


def verdict_entry(verdict: Verdict) -> VerdictEntry:
    """Return the verdict as the record keeps it."""
    return VerdictEntry(
        outcome=verdict.outcome,
        reason=verdict.reason,
        findings=tuple(
            FindingEntry(
                criterion=finding.criterion,
                basis=finding.basis,
                outcome=finding.outcome,
                reason=finding.reason,
                estimate=finding.estimate,
                interval=finding.interval,
                limit=finding.limit,
                unit=finding.unit,
                log_evidence=finding.log_evidence,
                log_needed=finding.log_needed,
                requests_needed=finding.requests_needed,
                seconds_needed=finding.time_needed.total_seconds() if finding.time_needed else None,
                answers=finding.answers,
                cause=finding.mismatch.cause if finding.mismatch else None,
            )
            for finding in verdict.findings
        ),
        rollback_evidence=verdict.rollback_evidence,
        rollback_needed=verdict.rollback_needed,
        promotion_evidence=verdict.promotion_evidence,
        promotion_needed=verdict.promotion_needed,
    )
