"""A load test's criteria and failures as rows of tables."""

from __future__ import annotations

from dataclasses import dataclass

from rollout.answers import is_client_error
from rollout.formatting import (
    NOTHING,
    OUTCOME_MARK,
    format_change,
    format_count,
    format_limit,
    format_measure,
    format_plural,
    format_ratio,
    format_wait,
    to_sentence,
)
from rollout.load import NOBODY, parse_failure_key
from rollout.load_test_result import ValidationResult
from rollout.model import Outcome
from rollout.verdict_entries import FindingEntry


@dataclass(frozen=True, slots=True)
class CriterionRow:
    """One criterion as a line of a table."""

    criterion: str
    reason: str
    missing: str
    estimate: str
    interval: str
    limit: str
    outcome: Outcome
    mark: str


def row_of(finding: FindingEntry) -> CriterionRow:
    """Return a finding in words."""
    unit = finding.unit
    return CriterionRow(
        criterion=finding.criterion,
        reason=to_sentence(finding.reason),
        missing=_missing(finding),
        estimate=NOTHING if finding.estimate is None else _measure(finding.estimate, unit),
        interval=" to ".join(_measure(end, unit) for end in finding.interval or ()),
        limit=NOTHING if finding.limit is None else _limit(finding.limit, unit),
        outcome=finding.outcome,
        mark=OUTCOME_MARK[finding.outcome],
    )


def _measure(value: float, unit: str) -> str:
    """Return a number with its unit; a ratio to the other run as the difference that it is: 1.005 is +0.5 %."""
    return format_change(value) if unit == "x" else format_measure(value, unit)


def _limit(value: float, unit: str) -> str:
    return format_change(value) if unit == "x" else format_limit(value, unit)


def _missing(finding: FindingEntry) -> str:
    if finding.requests_needed is None or finding.outcome is not Outcome.INCONCLUSIVE:
        return ""
    time = f", {format_wait(finding.seconds_needed)} at this rate" if finding.seconds_needed else ""
    return f"{format_plural(finding.requests_needed, 'more request')} needed{time}."


def track_name(track: str) -> str:
    """Return who answered; where no answer names a track that is no fault."""
    return "not named" if track == NOBODY else track


def error_row(kind: str, number_of: int, result: ValidationResult) -> dict[str, str]:
    """Return a kind of failures in words: what, whose fault, who answered, how many."""
    track, what = parse_failure_key(kind)
    share = format_ratio(number_of / result.total.requests) if result.total.requests else NOTHING
    counts_as = "4xx answer" if is_client_error(what) else "error"
    return {
        "track": track_name(track or what),
        "what": what,
        "counts_as": counts_as,
        "count": format_count(number_of),
        "share": share,
    }
