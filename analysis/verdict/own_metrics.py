"""Findings on a plan's own metrics: those without samples, scrapes left out of a ratio, and the gauges."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from analysis.evidence.blocks import CANARY
from analysis.evidence.gauges import Level, canary_levels, is_broken
from analysis.evidence.judge_state import JudgeState
from analysis.verdict.blockers import missing, note
from rollout.criteria import Criteria, GaugeCriterion
from rollout.formatting import format_number, format_span
from rollout.model import Basis, Finding, Outcome, Track
from rollout.plan import RolloutPlan
from rollout.selectors import metric_name


def missing_metrics(plan: RolloutPlan, state: JudgeState) -> Iterator[Finding]:
    """Yield a finding for each of the plan's own metrics that there is nothing to judge by."""
    seen = {(metric, track == Track.CANARY) for track, _, metric, *_ in state.cursor.counters.last}
    evidence, criteria = state.evidence, plan.criteria
    for index, ratio in enumerate(criteria.ratios):
        counted = {True: evidence.total_ratios[0, 1 + index, 1, CANARY], False: evidence.stable_ratios[0, 1 + index, 1]}
        for is_canary, total in counted.items():
            where = "the canary" if is_canary else plan.compare_with
            if total > 0:
                continue
            if (ratio.total, is_canary) not in seen:
                yield missing(Basis.SERIES_ABSENT, f"{ratio.name}: no series {ratio.total} of {where}", ratio.name)
            else:
                nothing = f"{ratio.name}: {ratio.total} of {where} has counted nothing"
                yield missing(Basis.NO_TRAFFIC, nothing, ratio.name)
    for gauge in criteria.gauges:
        if not canary_levels(state.gauges, gauge):
            yield missing(Basis.SERIES_ABSENT, f"{gauge.name}: no series {gauge.metric} of the canary", gauge.name)


def skipped_notes(criteria: Criteria, state: JudgeState) -> Iterator[Finding]:
    """Yield a note for each ratio of which scrapes were left out."""
    for ratio, scrapes in zip(criteria.ratios, state.skipped_scrapes, strict=False):
        if scrapes:
            skipped = f"{scrapes} scrapes left out, {ratio.events} grew by more than {ratio.total} in them"
            yield note(ratio.name, f"{ratio.name}: {skipped}")


def gauge_findings(plan: RolloutPlan, state: JudgeState) -> Iterator[Finding]:
    """Yield how each gauge stands: a failure once the canary broke its limit, common mode while others do too."""
    for gauge in plan.criteria.gauges:
        levels, breach = canary_levels(state.gauges, gauge), state.gauges.breach
        if breach is not None and breach.gauge == gauge.name:
            yield gauge_limit(gauge, breach, outcome=Outcome.FAIL)
        elif levels:
            worst = max(levels, key=lambda level: (level.time - level.since >= 0, level.value))
            outcome = Outcome.PASS if worst.value <= gauge.rollback_above else Outcome.INCONCLUSIVE
            yield gauge_limit(gauge, worst, outcome=outcome, common=is_broken(gauge, worst))


def gauge_limit(gauge: GaugeCriterion, level: Level, *, outcome: Outcome, common: bool = False) -> Finding:
    """Return how a pod's gauge stands against its limit."""
    unit, size = _gauge_unit(metric_name(gauge.metric))
    above = level.time - level.since
    reason = f"{gauge.name} {format_number(level.value / size)}{unit} on {level.pod or level.track}, limit "
    reason += f"{format_number(gauge.rollback_above / size)}{unit}"
    if above >= 0:
        reason += f": above it at every sample for {format_span(timedelta(seconds=round(above)))}"
        reason += "" if outcome is Outcome.FAIL else f", allowed: less than {format_span(gauge.window)}"
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
