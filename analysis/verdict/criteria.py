"""The criteria, a row each: its name, what it rests on, and how it is judged against the canary and for it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial

import numpy as np

from analysis.evidence.blocks import CANARY, Limits
from analysis.evidence.judge_state import JudgeState
from analysis.evidence.non_inferiority import PROMOTION, alternatives_of
from analysis.evidence.sequential import log_sum
from analysis.verdict.measurements import (
    Comparison,
    Measurement,
    answers_vs_stable,
    errors_above_limit,
    errors_below_limit,
    errors_non_inferior,
    errors_vs_stable,
    latency_vs_stable,
    mean_above_limit,
    mean_below_limit,
    ratio_vs_stable,
    success_above_limit,
    tail_non_inferior,
)
from rollout.answers import COMPARED
from rollout.criteria import WhenDifferent
from rollout.formatting import format_count, format_evidence, format_wait
from rollout.model import Basis, Finding, Outcome

Measure = Callable[[Comparison], Measurement | None]


@dataclass(frozen=True, slots=True)
class Criterion:
    """A row of the table. `against` is the next part of the rollback mixture, `promotion` names the promotion test."""

    name: str
    basis: Basis
    unit: str
    against: Measure | None = None
    promoting: Measure | None = None
    promotion: str = ""


def criteria_of(comparison: Comparison) -> tuple[Criterion, ...]:
    """Return the table for a plan: errors, its own ratios, kinds of answers, latency, and the absolute limits."""
    ratios = (
        Criterion(ratio.name, Basis.RELATIVE, "ratio", partial(ratio_vs_stable, ratio.name, 1 + index))
        for index, ratio in enumerate(comparison.plan.criteria.ratios)
    )
    return (
        Criterion("errors", Basis.RELATIVE, "ratio", errors_vs_stable, errors_non_inferior, "errors"),
        *ratios,
        *_answers_of(comparison),
        Criterion("latency", Basis.RELATIVE, "x", latency_vs_stable, tail_non_inferior, "latency ratio"),
        Criterion("errors", Basis.ABSOLUTE, "ratio", errors_above_limit, errors_below_limit, "errors"),
        Criterion("latency", Basis.ABSOLUTE, "ms", mean_above_limit, mean_below_limit, "latency"),
        Criterion("success", Basis.ABSOLUTE, "ratio", None, success_above_limit, "success"),
    )


def _answers_of(comparison: Comparison) -> list[Criterion]:
    first = 1 + len(comparison.plan.criteria.ratios)
    return [
        Criterion(kind, Basis.RELATIVE, "ratio", partial(answers_vs_stable, kind, first + index))
        for index, kind in enumerate(COMPARED[: comparison.limits.answers])
    ]


def against(comparison: Comparison) -> list[Finding]:
    """Return the evidence against the canary by each criterion, the strongest first."""
    latest, needed = comparison.state.latest, comparison.limits.rollback_needed
    rows = [row for row in criteria_of(comparison) if row.against is not None]
    logs = [finite(part) for part in latest.parts] or [finite(-math.inf)] * len(rows)
    # The mixture rolls back as a whole: when it does, its strongest part is the one that is named.
    if latest.peak >= needed:
        logs[int(np.argmax(logs))] = decisive(comparison.limits, comparison.state)
    return sorted(_against(comparison, rows, logs), key=lambda finding: -finding.log_evidence)


def different_answers(comparison: Comparison) -> list[Finding]:
    """Return the kinds of answers that are shown to differ, where the plan holds for that and does not roll back."""
    if comparison.plan.criteria.answers.when_different is not WhenDifferent.HOLD:
        return []
    rows = _answers_of(comparison)
    logs = [finite(log) for log in log_sum(comparison.state.evidence.ratio_path[0, -len(rows) :])]
    needed = comparison.limits.rollback_needed + math.log(len(rows))
    different = [finding for finding in _against(comparison, rows, logs) if finding.log_evidence >= needed]
    return [replace(finding, outcome=Outcome.INCONCLUSIVE, log_needed=needed) for finding in different]


def _against(comparison: Comparison, rows: list[Criterion], logs: list[float]) -> list[Finding]:
    needed, findings = comparison.limits.rollback_needed, []
    for row, log in zip(rows, logs, strict=True):
        if row.against is None or (measured := row.against(comparison)) is None:
            continue
        is_exempt = log < needed and measured.exemption
        suffix = measured.exemption if is_exempt else f" {format_evidence(log, needed)}"
        findings.append(_finding(row, row.name, measured, log, needed, Outcome.FAIL, measured.statement + suffix))
    return findings


def promoting(comparison: Comparison) -> list[Finding]:
    """Return the evidence for the canary by each promotion test, in their order."""
    # Errors may be shown either way: the row is that of the test which carries the evidence.
    errors = Basis.ABSOLUTE if comparison.state.latest.by_limit else Basis.RELATIVE
    rows = {row.promotion: row for row in criteria_of(comparison) if row.promotion != "errors" or row.basis is errors}
    logs = zip(PROMOTION, comparison.state.latest.promotion, strict=True)
    return [_promoting(comparison, rows[name], finite(log)) for name, log in logs]


def _promoting(comparison: Comparison, row: Criterion, log: float) -> Finding:
    needed = comparison.limits.promotion_needed
    if row.promoting is None or (measured := row.promoting(comparison)) is None:
        reason = "no latency has been measured on the canary"
        return Finding(row.promotion, Basis.SERIES_ABSENT, Outcome.INCONCLUSIVE, reason, log_needed=needed)
    if log >= needed:
        reason = f"{measured.statement} {format_evidence(log, needed)}"
        return _finding(row, row.promotion, measured, log, needed, Outcome.PASS, reason)
    lacking, rate = _lacking(comparison, row.promotion)
    reason = f"{_describe_lacking(measured.requests, lacking, rate)} to show {measured.claim}"
    finding = _finding(row, row.promotion, measured, log, needed, Outcome.PASS, reason)
    if math.isinf(lacking):
        return finding
    is_known = rate > 0 and lacking / rate <= 1e8
    time = timedelta(seconds=lacking / rate) if is_known else None
    return replace(finding, requests_needed=math.ceil(lacking), time_needed=time)


def _finding(
    row: Criterion, name: str, measured: Measurement, log: float, needed: float, outcome: Outcome, reason: str
) -> Finding:
    """Return a row's finding; its outcome is the given one where the evidence suffices, else inconclusive."""
    return Finding(
        criterion=name,
        basis=row.basis,
        outcome=outcome if log >= needed else Outcome.INCONCLUSIVE,
        reason=reason,
        estimate=measured.estimate,
        interval=measured.interval,
        limit=measured.limit,
        unit=row.unit,
        log_evidence=log,
        log_needed=needed,
    )


def _lacking(comparison: Comparison, promotion: str) -> tuple[float, float]:
    """Return how many more canary requests a promotion test needs, if they are like those so far, and their rate.

    Infinite where more of the same would not do; the rate is in requests a second.
    """
    evidence, needed = comparison.state.evidence, comparison.limits.promotion_needed
    done = float(evidence.step_requests[0, CANARY])
    lacking = [
        (needed - prior - log) / (log / done)
        for prior, log in alternatives_of(evidence, promotion)
        if log > 0 and done > 0
    ]
    return max(min(lacking, default=math.inf), 0.0), done / max(float(evidence.step_age[0]), 1e-9)


def _describe_lacking(done: float, lacking: float, rate: float) -> str:
    if math.isinf(lacking):
        return f"{format_count(done)} canary requests are not enough"
    text = f"{format_count(done)} of about {format_count(done + lacking)} canary requests needed"
    return f"{text}, {format_wait(lacking / rate)} more," if rate > 0 else text


def decisive(limits: Limits, state: JudgeState) -> float:
    """Return the log evidence against the canary: the present one, unless only an earlier one was enough."""
    latest = state.latest
    return latest.peak if latest.rollback < limits.rollback_needed <= latest.peak else latest.rollback


def finite(log_evidence: float) -> float:
    """Return the log evidence with no evidence at all as a number that JSON and charts can hold."""
    return max(float(log_evidence), -100.0)
