"""Evidence against the canary: one function a criterion, each with the sentence that a person reads."""

from __future__ import annotations

import math
from datetime import timedelta

from analysis.evidence.blocks import Limits
from analysis.evidence.gauges import Level
from analysis.verdict.counts import Counts
from analysis.verdict.wording import count, interval, milliseconds, odds, percent
from rollout.criteria import GaugeCriterion
from rollout.model import Basis, Finding, Outcome
from rollout.quantities import format_duration
from rollout.selectors import metric_name


def relative_errors(counts: Counts, log_evidence: float, needed: float) -> Finding:
    """Return the evidence that the canary fails more often than stable."""
    return Finding(
        criterion="errors",
        basis=Basis.RELATIVE,
        outcome=_against(log_evidence, needed),
        reason=(
            f"errors {percent(counts.canary_ratio)} against {counts.other}'s {percent(counts.stable_ratio)}: "
            f"{count(counts.canary_errors)} of {count(counts.canary_requests)} canary requests failed, "
            f"{count(counts.stable_errors)} of {count(counts.stable_requests)} {counts.other} ones "
            f"{odds(log_evidence, needed)}"
        ),
        estimate=counts.canary_ratio,
        interval=interval(counts.canary_errors, counts.canary_requests),
        limit=counts.stable_ratio,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def relative_ratio(
    name: str, counted: tuple[float, float, float, float], log_evidence: float, needed: float, other: str
) -> Finding:
    """Return the evidence that a further ratio is worse on the canary.

    Parameters
    ----------
    name
        What the ratio is called.
    counted
        Events and total of the canary, then of what it is compared with.
    log_evidence, needed
        Log of the e-value, and of the one that condemns.
    other
        What the canary is compared with.
    """
    canary, canary_total, stable, stable_total = counted
    ratio, usual = canary / max(canary_total, 1.0), stable / max(stable_total, 1.0)
    return Finding(
        criterion=name,
        basis=Basis.RELATIVE,
        outcome=_against(log_evidence, needed),
        reason=(
            f"{name} {percent(ratio)} against {other}'s {percent(usual)}: {count(canary)} of {count(canary_total)} on "
            f"the canary, {count(stable)} of {count(stable_total)} on {other} {odds(log_evidence, needed)}"
        ),
        estimate=ratio,
        interval=interval(canary, canary_total),
        limit=usual,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def relative_latency(
    counts: Counts, log_evidence: float, ungated: float, needed: float, minimum_effect: float
) -> Finding | None:
    """Return the evidence that the canary is slower than stable; None where nothing was measured."""
    if math.isnan(counts.canary_latency) or math.isnan(counts.stable_latency) or counts.stable_latency <= 0:
        return None
    times = counts.canary_latency / counts.stable_latency
    canary, stable = milliseconds(counts.canary_latency), milliseconds(counts.stable_latency)
    reason = (
        f"latency {canary} against {counts.other}'s {stable}, "
        f"{times:.2f} times as long over {count(counts.canary_requests)} canary requests"
    )
    let_pass = ungated >= needed and log_evidence < needed
    if let_pass:
        reason += f": real, but below the minimum effect of {percent(minimum_effect)}, so it is let pass"
    return Finding(
        criterion="latency",
        basis=Basis.RELATIVE,
        outcome=_against(log_evidence, needed),
        reason=reason if let_pass else f"{reason} {odds(log_evidence, needed)}",
        estimate=times,
        limit=1 + minimum_effect,
        unit="x",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def error_limit(counts: Counts, log_evidence: float, needed: float, limits: Limits) -> Finding:
    """Return the evidence that the canary's error ratio is above the rollback limit."""
    return Finding(
        criterion="errors",
        basis=Basis.ABSOLUTE,
        outcome=_against(log_evidence, needed),
        reason=(
            f"errors {percent(counts.canary_ratio)}, limit {percent(limits.error_rollback)}: "
            f"{count(counts.canary_errors)} of {count(counts.canary_requests)} canary requests failed "
            f"{odds(log_evidence, needed)}"
        ),
        estimate=counts.canary_ratio,
        interval=interval(counts.canary_errors, counts.canary_requests),
        limit=limits.error_rollback,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def latency_limit(counts: Counts, log_evidence: float, needed: float, limits: Limits) -> Finding | None:
    """Return the evidence that the canary's mean latency is above the rollback limit."""
    if math.isnan(counts.canary_latency):
        return None
    return Finding(
        criterion="latency",
        basis=Basis.ABSOLUTE,
        outcome=_against(log_evidence, needed),
        reason=(
            f"mean latency {milliseconds(counts.canary_latency)}, limit {limits.latency_rollback:,g} ms, over "
            f"{count(counts.canary_requests)} canary requests {odds(log_evidence, needed)}"
        ),
        estimate=counts.canary_latency,
        limit=limits.latency_rollback,
        unit="ms",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def gauge_limit(gauge: GaugeCriterion, level: Level, *, outcome: Outcome, common: bool = False) -> Finding:
    """Return how a pod's gauge stands against its limit."""
    unit, size = _gauge_unit(metric_name(gauge.metric))
    above = level.time - level.since
    reason = f"{gauge.name} {level.value / size:.3g}{unit} on {level.pod or level.track}, limit "
    reason += f"{gauge.rollback_above / size:.3g}{unit}"
    if above >= 0:
        reason += f": above it at every sample for {format_duration(timedelta(seconds=round(above)))}"
        reason += "" if outcome is Outcome.FAIL else f", allowed: less than {format_duration(gauge.window)}"
    if common:
        reason += "; pods of another track do the same, so it is not the canary's fault"
    return Finding(
        criterion=gauge.name,
        basis=Basis.COMMON_MODE if common else Basis.ABSOLUTE,
        outcome=outcome,
        reason=reason,
        estimate=level.value / size,
        limit=gauge.rollback_above / size,
        unit=unit.strip(),
    )


def _gauge_unit(metric: str) -> tuple[str, float]:
    """Return the unit that a metric's name tells, and how much of the metric one is."""
    if metric.endswith("_bytes"):
        return " MiB", 2.0**20
    return (" cores", 1.0) if metric.endswith("cpu_usage_seconds_total") else ("", 1.0)


def _against(log_evidence: float, needed: float) -> Outcome:
    return Outcome.FAIL if log_evidence >= needed else Outcome.INCONCLUSIVE
