"""Each step's findings in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

from report.charts.curves import points_of
from rollout.events import (
    DecisionMade,
    StepEnded,
    StepStarted,
    VerdictChanged,
)
from rollout.formatting import (
    CALM_MARK,
    NOTHING,
    OUTCOME_MARK,
    format_count,
    format_limit,
    format_measure,
    format_odds,
    format_plural,
    format_ratio,
    format_span,
    format_wait,
    to_sentence,
)
from rollout.model import Basis, Outcome, Question
from rollout.record import RolloutRecord
from rollout.verdict_entries import FindingEntry, VerdictEntry

_QUESTIONS = {
    Question.HARM: "Does it do harm?",
    Question.HEALTH: "Is it shown to be healthy?",
    Question.OTHER: "What else was seen",
}
_LIMITS = {Question.HARM: "harm", Question.HEALTH: "healthy", Question.OTHER: ""}
_NO_SIGN, _NOTED = "no sign", "noted"
_SUSPICIOUS = math.log(10)
"""Log evidence of harm below which there is no sign of it."""


@dataclass(frozen=True, slots=True)
class FindingRow:
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
class Answers:
    """What was found on one question."""

    question: str
    rows: tuple[FindingRow, ...]
    limits: str = ""
    """What the limits in these rows are of, in a word; empty where that cannot be said."""


@dataclass(frozen=True, slots=True)
class StepFindings:
    """What was found in one step, at its end or when the record stops."""

    name: str
    share: str
    outcome: str
    mark: str
    reason: str
    facts: str
    answers: tuple[Answers, ...]


def by_step(record: RolloutRecord) -> list[StepFindings]:
    """Return the findings of every step that the record speaks of, in order."""
    names = dict.fromkeys(
        event.step
        for event in record.events
        if isinstance(event, StepStarted | VerdictChanged | DecisionMade | StepEnded)
    )
    return [_step(record, name) for name in names]


def _step(record: RolloutRecord, name: str) -> StepFindings:
    start = next((e for e in record.of(StepStarted) if e.step == name), None)
    end = next((e for e in reversed(record.of(StepEnded)) if e.step == name), None)
    verdict = end.verdict if end else _last_verdict(record, name)
    requests = _canary_requests(record, start, end)
    return StepFindings(
        name=name,
        share=f"{start.canary} %" if start else "",
        outcome=verdict.outcome if verdict else "not judged",
        mark=OUTCOME_MARK[verdict.outcome] if verdict else NOTHING,
        reason=_reason(verdict),
        facts=_facts(start, end),
        answers=_answers(verdict, requests) if verdict else (),
    )


def _answers(verdict: VerdictEntry, requests: int) -> tuple[Answers, ...]:
    """Return the findings by the question they answer, that of the most telling one first."""
    questions = dict.fromkeys(finding.answers for finding in verdict.findings)
    return tuple(
        Answers(
            _QUESTIONS[question],
            tuple(_row(finding, requests) for finding in verdict.findings if finding.answers is question),
            limits=_LIMITS[question],
        )
        for question in questions
    )


def _reason(verdict: VerdictEntry | None) -> str:
    """The verdict's sentence, where no finding's row says the same."""
    if verdict is None:
        return "The record holds no verdict for this step."
    is_shown = any(finding.reason == verdict.reason for finding in verdict.findings)
    return "" if is_shown else to_sentence(verdict.reason)


def _last_verdict(record: RolloutRecord, name: str) -> VerdictEntry | None:
    changes = (event.verdict for event in reversed(record.of(VerdictChanged)) if event.step == name)
    return next(changes, None)


def _facts(start: StepStarted | None, end: StepEnded | None) -> str:
    if end is None:
        return "The record stops before the end of this step." if start else ""
    share = "" if end.observed is None else f"{format_ratio(end.observed)} of them to the canary"
    watched = f"watched for {format_span(max((end.at - start.at).total_seconds(), 0.0))}" if start else ""
    return to_sentence(", ".join(part for part in (format_plural(end.requests, "request"), share, watched) if part))


def _canary_requests(record: RolloutRecord, start: StepStarted | None, end: StepEnded | None) -> int:
    """Canary requests counted in a step; 0 when the record does not say."""
    if start is None:
        return 0
    points = points_of(record, "canary.requests")
    inside = [point for point in points if point.at >= start.at and (end is None or point.at <= end.at)]
    return round(min(sum(point.mean * point.count for point in inside), 1e15))


def _row(finding: FindingEntry, requests: int) -> FindingRow:
    unit = finding.unit
    outcome = _outcome(finding)
    return FindingRow(
        criterion=finding.criterion,
        basis=finding.basis,
        reason=to_sentence(finding.reason),
        missing=_missing(finding, requests),
        estimate=NOTHING if finding.estimate is None else format_measure(finding.estimate, unit),
        interval=_interval(finding.interval, unit),
        limit=NOTHING if finding.limit is None else format_limit(finding.limit, unit),
        evidence=NOTHING if finding.log_needed is None else format_odds(finding.log_evidence),
        needed="" if finding.log_needed is None else f"{format_odds(finding.log_needed)} needed",
        outcome=outcome,
        mark=CALM_MARK if outcome in (_NO_SIGN, _NOTED) else OUTCOME_MARK[finding.outcome],
    )


def _outcome(finding: FindingEntry) -> str:
    """Return the outcome in a word; no evidence of harm is good news and not a question left open."""
    if finding.basis is Basis.NOTE:
        return _NOTED
    if finding.answers is Question.HARM and finding.outcome is Outcome.INCONCLUSIVE:
        return _NO_SIGN if finding.log_evidence < _SUSPICIOUS else "not proved"
    is_open = finding.answers is Question.HEALTH and finding.outcome is Outcome.INCONCLUSIVE
    return "not yet" if is_open else finding.outcome


def _interval(interval: tuple[float, float] | None, unit: str) -> str:
    return f"{format_measure(interval[0], unit)} to {format_measure(interval[1], unit)}" if interval else ""


def _missing(finding: FindingEntry, requests: int) -> str:
    if finding.outcome is not Outcome.INCONCLUSIVE:
        return ""
    needed, seconds = finding.requests_needed, finding.seconds_needed
    parts = []
    if needed and requests > 0:
        parts.append(f"{format_count(requests)} of {format_count(requests + needed)} requests needed")
    elif needed:
        parts.append(f"{format_count(needed)} more requests needed")
    if seconds:
        parts.append(f"{format_wait(seconds)} more")
    return to_sentence("; ".join(parts))
