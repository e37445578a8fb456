"""Each step's findings in words."""

from __future__ import annotations

from dataclasses import dataclass

from report.curves import points_of
from report.wording import NOTHING, OUTCOME_MARK, about, count, odds, percent, plural, quantity, sentence, span
from rollout.model import Outcome
from rollout.record import (
    DecisionMade,
    FindingEntry,
    RolloutRecord,
    StepEnded,
    StepStarted,
    VerdictChanged,
    VerdictEntry,
)


@dataclass(frozen=True, slots=True)
class Row:
    """One finding as a line of the table."""

    criterion: str
    basis: str
    reason: str
    missing: str
    """What more would be needed, where that can be said."""
    estimate: str
    interval: str
    limit: str
    evidence: str
    needed: str
    outcome: str
    mark: str


@dataclass(frozen=True, slots=True)
class StepFindings:
    """What was found in one step, at its end or when the record stops."""

    name: str
    share: str
    outcome: str
    mark: str
    reason: str
    facts: str
    rows: tuple[Row, ...]


def by_step(record: RolloutRecord) -> list[StepFindings]:
    """Return the findings of every step that the record speaks of, in order."""
    names = dict.fromkeys(
        event.step
        for event in record.events
        if isinstance(event, StepStarted | VerdictChanged | DecisionMade | StepEnded)
    )
    return [_step(record, name) for name in names]


def _step(record: RolloutRecord, name: str) -> StepFindings:
    start = next((e for e in record.events if isinstance(e, StepStarted) and e.step == name), None)
    end = next((e for e in reversed(record.events) if isinstance(e, StepEnded) and e.step == name), None)
    verdict = end.verdict if end else _last_verdict(record, name)
    seen = _canary_requests(record, start, end)
    return StepFindings(
        name=name,
        share=f"{start.canary}%" if start else "",
        outcome=verdict.outcome if verdict else "not judged",
        mark=OUTCOME_MARK[verdict.outcome] if verdict else NOTHING,
        reason=_reason(verdict),
        facts=_facts(start, end),
        rows=tuple(_row(finding, seen) for finding in verdict.findings) if verdict else (),
    )


def _reason(verdict: VerdictEntry | None) -> str:
    """The verdict's sentence, where no finding's row says the same."""
    if verdict is None:
        return "The record holds no verdict for this step."
    told = any(finding.reason == verdict.reason for finding in verdict.findings)
    return "" if told else sentence(verdict.reason)


def _last_verdict(record: RolloutRecord, name: str) -> VerdictEntry | None:
    said = (e.verdict for e in reversed(record.events) if isinstance(e, VerdictChanged) and e.step == name)
    return next(said, None)


def _facts(start: StepStarted | None, end: StepEnded | None) -> str:
    if end is None:
        return "The record stops before the end of this step." if start else ""
    share = "" if end.observed is None else f"{percent(end.observed)} of them to the canary"
    watched = f"watched for {span(max((end.at - start.at).total_seconds(), 0.0))}" if start else ""
    return sentence(", ".join(part for part in (plural(end.requests, "request"), share, watched) if part))


def _canary_requests(record: RolloutRecord, start: StepStarted | None, end: StepEnded | None) -> int:
    """Canary requests counted in a step; 0 when the record does not say."""
    if start is None:
        return 0
    points = points_of(record, "canary.requests")
    inside = [point for point in points if point.at >= start.at and (end is None or point.at <= end.at)]
    return round(min(sum(point.mean * point.count for point in inside), 1e15))


def _row(finding: FindingEntry, seen: int) -> Row:
    unit = finding.unit
    return Row(
        criterion=finding.criterion,
        basis=finding.basis,
        reason=sentence(finding.reason),
        missing=_missing(finding, seen),
        estimate=NOTHING if finding.estimate is None else quantity(finding.estimate, unit),
        interval=_interval(finding.interval, unit),
        limit=NOTHING if finding.limit is None else quantity(finding.limit, unit),
        evidence=NOTHING if finding.log_needed is None else odds(finding.log_evidence),
        needed="" if finding.log_needed is None else f"{odds(finding.log_needed)} needed",
        outcome=finding.outcome,
        mark=OUTCOME_MARK[finding.outcome],
    )


def _interval(interval: tuple[float, float] | None, unit: str) -> str:
    return f"{quantity(interval[0], unit)} to {quantity(interval[1], unit)}" if interval else ""


def _missing(finding: FindingEntry, seen: int) -> str:
    if finding.outcome is not Outcome.INCONCLUSIVE:
        return ""
    needed, seconds = finding.requests_needed, finding.seconds_needed
    parts = []
    if needed and seen > 0:
        parts.append(f"{count(seen)} of {count(seen + needed)} requests needed")
    elif needed:
        parts.append(f"{count(needed)} more requests needed")
    if seconds:
        parts.append(f"about {about(seconds)} more")
    return sentence("; ".join(parts))
