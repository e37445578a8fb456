"""What each criterion measures of a canary, held against stable or a limit, and the sentence about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from analysis.evidence.blocks import Limits
from analysis.evidence.judge_state import JudgeState
from analysis.evidence.non_inferiority import absolute_counts
from analysis.verdict.counts import Counts, counts_of, interval, ratio_counts
from rollout.formatting import format_count, format_limit, format_ms, format_ratio
from rollout.plan import RolloutPlan


@dataclass(frozen=True, slots=True)
class Comparison:
    """The canary beside what it is compared with, as far as it was counted."""

    plan: RolloutPlan
    limits: Limits
    state: JudgeState
    total: Counts
    """Since the canary had traffic."""
    step: Counts
    """In this step."""
    undisturbed: Counts
    """In the scrapes of this step that count for absolute criteria: stable kept its own limits in them."""

    @classmethod
    def of(cls, plan: RolloutPlan, limits: Limits, state: JudgeState) -> Comparison:
        """Return the comparison that a judge's state holds."""
        total, step = (counts_of(state, plan.compare_with, whole=whole) for whole in (True, False))
        errors, requests = absolute_counts(state.evidence)
        return cls(plan, limits, state, total, step, replace(step, canary_errors=errors, canary_requests=requests))


@dataclass(frozen=True, slots=True)
class Measurement:
    """A criterion's numbers on one side of the table, and what to say of them."""

    statement: str
    """What the evidence shows where it suffices; against the canary, what is suspected."""
    estimate: float | None
    limit: float | None = None
    interval: tuple[float, float] | None = None
    claim: str = ""
    """What is still to be shown for the canary."""
    requests: float = 0.0
    """Canary requests that speak for it."""
    exemption: str = ""
    """What is said in place of the odds where only the plan's minimum effect keeps the evidence from sufficing."""


def _failed(counts_of: Counts) -> str:
    return (
        f"{format_count(counts_of.canary_errors)} of {format_count(counts_of.canary_requests)} canary requests failed"
    )


def errors_vs_stable(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio, held against stable's."""
    counts = comparison.total
    usual = f"{counts.comparator}'s {format_ratio(counts.stable_ratio)}"
    statement = (
        f"errors {format_ratio(counts.canary_ratio)} against {usual}: {_failed(counts)}, "
        f"{format_count(counts.stable_errors)} of {format_count(counts.stable_requests)} {counts.comparator} ones"
    )
    return Measurement(statement, counts.canary_ratio, counts.stable_ratio, counts.canary_interval)


def errors_above_limit(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio, held against the rollback limit."""
    counts, limit = comparison.total, comparison.limits.error_rollback
    statement = f"errors {format_ratio(counts.canary_ratio)}, limit {format_ratio(limit)}: {_failed(counts)}"
    return Measurement(statement, counts.canary_ratio, limit, counts.canary_interval)


def _errors_below(counts: Counts, limit: float, what: str) -> Measurement:
    statement = f"errors {format_ratio(counts.canary_ratio)} shown {what}: {_failed(counts)}"
    so_far = f" ({format_count(counts.canary_errors)} failed so far)" if counts.canary_errors else ""
    claim, requests = f"errors {what}{so_far}", counts.canary_requests
    return Measurement(statement, counts.canary_ratio, limit, counts.canary_interval, claim, requests)


def errors_non_inferior(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio in this step, held against 1.5 times stable's."""
    counts = comparison.step
    return _errors_below(counts, comparison.limits.error_healthy, f"less than 1.5 times {counts.comparator}'s")


def errors_below_limit(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio in this step, held against the healthy limit."""
    limit = comparison.limits.error_healthy
    return _errors_below(comparison.undisturbed, limit, f"below {format_ratio(limit)}")


def success_above_limit(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio in this step, held against what the success limit leaves."""
    limit = 1 - comparison.limits.success_healthy
    return _errors_below(comparison.undisturbed, limit, f"below {format_ratio(limit)}")


def ratio_vs_stable(name: str, index: int, comparison: Comparison) -> Measurement:
    """Return a ratio of the canary's by its place among the ratios, held against stable's."""
    canary, canary_total, stable, stable_total = ratio_counts(comparison.state, index)
    comparator = comparison.plan.compare_with
    ratio, usual = canary / max(canary_total, 1.0), stable / max(stable_total, 1.0)
    statement = (
        f"{name} {format_ratio(ratio)} against {comparator}'s {format_ratio(usual)}: "
        f"{format_count(canary)} of {format_count(canary_total)} on the canary, "
        f"{format_count(stable)} of {format_count(stable_total)} on {comparator}"
    )
    return Measurement(statement, ratio, usual, interval(canary, canary_total))


def answers_vs_stable(kind: str, index: int, comparison: Comparison) -> Measurement | None:
    """Return how often the canary gives a kind of answer, held against stable; None where neither gave any."""
    canary, _, stable, _ = ratio_counts(comparison.state, index)
    return ratio_vs_stable(kind, index, comparison) if canary or stable else None


def latency_vs_stable(comparison: Comparison) -> Measurement | None:
    """Return the canary's mean latency, held against stable's; None where either was not measured."""
    counts, effect = comparison.total, comparison.limits.minimum_effect
    if math.isnan(counts.canary_latency) or math.isnan(counts.stable_latency) or counts.stable_latency <= 0:
        return None
    times = counts.canary_latency / counts.stable_latency
    canary, stable = format_ms(counts.canary_latency), format_ms(counts.stable_latency)
    statement = (
        f"latency {canary} against {counts.comparator}'s {stable}, "
        f"{times:.2f} times as long over {format_count(counts.canary_requests)} canary requests"
    )
    exemption = f": real, but below the minimum effect of {format_ratio(effect)}, so it is let pass"
    is_real = comparison.state.latest.raw_latency >= comparison.limits.rollback_needed
    return Measurement(statement, times, 1 + effect, exemption=exemption if is_real else "")


def tail_non_inferior(comparison: Comparison) -> Measurement | None:
    """Return how often the canary answers slowly, held against stable; None where no latency was measured."""
    counts, state = comparison.step, comparison.state
    if math.isnan(counts.canary_latency):
        return None
    slow, rare = (
        f"answers above {format_limit(state.edges[int(state.evidence.tail[0, 0])], 'ms')}",
        f"as rare as {counts.comparator}'s",
    )
    return Measurement(
        statement=f"latency no worse than {counts.comparator}'s: {slow} are about {rare}",
        estimate=None if math.isnan(counts.stable_latency) else counts.canary_latency / counts.stable_latency,
        claim=f"{slow} to be about {rare}",
        requests=counts.canary_requests,
    )


def mean_above_limit(comparison: Comparison) -> Measurement | None:
    """Return the canary's mean latency, held against the rollback limit; None where it was not measured."""
    counts, limit = comparison.total, comparison.limits.latency_rollback
    if math.isnan(counts.canary_latency):
        return None
    statement = (
        f"mean latency {format_ms(counts.canary_latency)}, limit {format_limit(limit, 'ms')}, over "
        f"{format_count(counts.canary_requests)} canary requests"
    )
    return Measurement(statement, counts.canary_latency, limit)


def mean_below_limit(comparison: Comparison) -> Measurement | None:
    """Return the canary's mean latency in this step, held against the healthy limit; None where it was not measured."""
    counts, limit = comparison.step, f"below {format_limit(comparison.limits.latency_healthy, 'ms')}"
    if math.isnan(counts.canary_latency):
        return None
    mean = format_ms(counts.canary_latency)
    return Measurement(
        statement=f"mean latency {mean} shown {limit}",
        estimate=counts.canary_latency,
        limit=comparison.limits.latency_healthy,
        claim=f"mean latency {limit} (it is {mean})",
        requests=counts.canary_requests,
    )
