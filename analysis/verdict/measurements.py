"""What each criterion measures of a canary, held against stable or a limit, and the sentence about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from analysis.evidence.blocks import Limits
from analysis.evidence.judge_state import JudgeState
from analysis.evidence.non_inferiority import absolute_counts
from analysis.verdict.counts import Counts, counts, interval, ratio_counts
from analysis.verdict.wording import count, milliseconds, percent
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
        total, step = (counts(state, plan.compare_with, whole=whole) for whole in (True, False))
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


def _failed(counts: Counts) -> str:
    return f"{count(counts.canary_errors)} of {count(counts.canary_requests)} canary requests failed"


def errors_vs_stable(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio, held against stable's."""
    counted = comparison.total
    usual = f"{counted.other}'s {percent(counted.stable_ratio)}"
    statement = (
        f"errors {percent(counted.canary_ratio)} against {usual}: {_failed(counted)}, "
        f"{count(counted.stable_errors)} of {count(counted.stable_requests)} {counted.other} ones"
    )
    return Measurement(statement, counted.canary_ratio, counted.stable_ratio, counted.canary_interval)


def errors_above_limit(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio, held against the rollback limit."""
    counted, limit = comparison.total, comparison.limits.error_rollback
    statement = f"errors {percent(counted.canary_ratio)}, limit {percent(limit)}: {_failed(counted)}"
    return Measurement(statement, counted.canary_ratio, limit, counted.canary_interval)


def _errors_below(counted: Counts, limit: float, what: str) -> Measurement:
    statement = f"errors {percent(counted.canary_ratio)} shown {what}: {_failed(counted)}"
    so_far = f" ({count(counted.canary_errors)} failed so far)" if counted.canary_errors else ""
    claim, requests = f"errors {what}{so_far}", counted.canary_requests
    return Measurement(statement, counted.canary_ratio, limit, counted.canary_interval, claim, requests)


def errors_non_inferior(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio in this step, held against 1.5 times stable's."""
    counted = comparison.step
    return _errors_below(counted, comparison.limits.error_healthy, f"less than 1.5 times {counted.other}'s")


def errors_below_limit(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio in this step, held against the healthy limit."""
    limit = comparison.limits.error_healthy
    return _errors_below(comparison.undisturbed, limit, f"below {percent(limit)}")


def success_above_limit(comparison: Comparison) -> Measurement:
    """Return the canary's error ratio in this step, held against what the success limit leaves."""
    limit = 1 - comparison.limits.success_healthy
    return _errors_below(comparison.undisturbed, limit, f"below {percent(limit)}")


def ratio_vs_stable(name: str, index: int, comparison: Comparison) -> Measurement:
    """Return a ratio of the canary's by its place among the ratios, held against stable's."""
    canary, canary_total, stable, stable_total = ratio_counts(comparison.state, index)
    other = comparison.plan.compare_with
    ratio, usual = canary / max(canary_total, 1.0), stable / max(stable_total, 1.0)
    statement = (
        f"{name} {percent(ratio)} against {other}'s {percent(usual)}: {count(canary)} of {count(canary_total)} on "
        f"the canary, {count(stable)} of {count(stable_total)} on {other}"
    )
    return Measurement(statement, ratio, usual, interval(canary, canary_total))


def answers_vs_stable(kind: str, index: int, comparison: Comparison) -> Measurement | None:
    """Return how often the canary gives a kind of answer, held against stable; None where neither gave any."""
    canary, _, stable, _ = ratio_counts(comparison.state, index)
    return ratio_vs_stable(kind, index, comparison) if canary or stable else None


def latency_vs_stable(comparison: Comparison) -> Measurement | None:
    """Return the canary's mean latency, held against stable's; None where either was not measured."""
    counted, effect = comparison.total, comparison.limits.minimum_effect
    if math.isnan(counted.canary_latency) or math.isnan(counted.stable_latency) or counted.stable_latency <= 0:
        return None
    times = counted.canary_latency / counted.stable_latency
    canary, stable = milliseconds(counted.canary_latency), milliseconds(counted.stable_latency)
    statement = (
        f"latency {canary} against {counted.other}'s {stable}, "
        f"{times:.2f} times as long over {count(counted.canary_requests)} canary requests"
    )
    exemption = f": real, but below the minimum effect of {percent(effect)}, so it is let pass"
    is_real = comparison.state.shown.raw_latency >= comparison.limits.rollback_needed
    return Measurement(statement, times, 1 + effect, exemption=exemption if is_real else "")


def tail_non_inferior(comparison: Comparison) -> Measurement | None:
    """Return how often the canary answers slowly, held against stable; None where no latency was measured."""
    counted, state = comparison.step, comparison.state
    if math.isnan(counted.canary_latency):
        return None
    slow, rare = f"answers above {state.edges[int(state.evidence.tail[0, 0])]:,g} ms", f"as rare as {counted.other}'s"
    return Measurement(
        statement=f"latency no worse than {counted.other}'s: {slow} are about {rare}",
        estimate=None if math.isnan(counted.stable_latency) else counted.canary_latency / counted.stable_latency,
        claim=f"{slow} to be about {rare}",
        requests=counted.canary_requests,
    )


def mean_above_limit(comparison: Comparison) -> Measurement | None:
    """Return the canary's mean latency, held against the rollback limit; None where it was not measured."""
    counted, limit = comparison.total, comparison.limits.latency_rollback
    if math.isnan(counted.canary_latency):
        return None
    statement = (
        f"mean latency {milliseconds(counted.canary_latency)}, limit {limit:,g} ms, over "
        f"{count(counted.canary_requests)} canary requests"
    )
    return Measurement(statement, counted.canary_latency, limit)


def mean_below_limit(comparison: Comparison) -> Measurement | None:
    """Return the canary's mean latency in this step, held against the healthy limit; None where it was not measured."""
    counted, limit = comparison.step, f"below {comparison.limits.latency_healthy:,g} ms"
    if math.isnan(counted.canary_latency):
        return None
    mean = milliseconds(counted.canary_latency)
    return Measurement(
        statement=f"mean latency {mean} shown {limit}",
        estimate=counted.canary_latency,
        limit=comparison.limits.latency_healthy,
        claim=f"mean latency {limit} (it is {mean})",
        requests=counted.canary_requests,
    )
