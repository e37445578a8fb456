"""A load test compared with the last accepted one: is there a regression, and how sure is that?"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from loadtest.validation.intervals import BETA, Interval, dispersion, ratio_interval
from rollout.formatting import format_ms, format_number, format_ratio
from rollout.load_test_result import Comparison, ValidationResult
from rollout.model import Basis, Outcome
from rollout.verdict_entries import FindingEntry

ERROR_MARGIN = 1.5
"""Times the errors of the run before that are let pass."""
UNKNOWN_MACHINE = "one that is not on record"
Batches = Sequence[tuple[int, int, float]]
"""Requests, failures and summed latency of each stretch of a run."""


def compare_runs(now: ValidationResult, before: ValidationResult, *, slower_below: float) -> Comparison:
    """Return what has become worse since the run before.

    Parameters
    ----------
    now, before
        Two runs of the same settings.
    slower_below
        Relative difference of the mean latency that is let pass, such as 0.1.
    """
    findings = (_latency(now.batches, before.batches, slower_below), failures_finding(now.batches, before.batches))
    outcomes = [finding.outcome for finding in findings]
    outcome = next((outcome for outcome in (Outcome.FAIL, Outcome.INCONCLUSIVE) if outcome in outcomes), Outcome.PASS)
    return Comparison(
        with_run=f"{before.began:%Y-%m-%d %H:%M:%S} UTC",
        other_machine="" if before.machine == now.machine else before.machine or UNKNOWN_MACHINE,
        outcome=outcome,
        findings=findings,
    )


def _latency(now: Batches, before: Batches, margin: float) -> FindingEntry:
    """The ratio of the means, by the delta method on batch means; Welch's degrees of freedom."""
    (mean, error, free), (mean_before, error_before, free_before) = _mean(now), _mean(before)
    if min(mean, mean_before) <= 0 or min(free, free_before) < 1:
        return inconclusive_finding("latency", "too few batches to compare the latencies")
    log_ratio, variances = math.log(mean / mean_before), (error**2, error_before**2)
    spread = math.sqrt(sum(variances))
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / free + variances[1] ** 2 / free_before) if spread else free
    reach = float(stats.t.ppf(1 - BETA, freedom)) * spread
    interval = (math.exp(log_ratio - reach), math.exp(log_ratio + reach))
    chance = float(stats.t.sf((log_ratio - math.log1p(margin)) / spread, freedom)) if spread else 0.0
    return ratio_finding(
        "latency",
        f"mean latency {format_ms(mean * 1000)}, before {format_ms(mean_before * 1000)}",
        mean / mean_before,
        interval,
        1 + margin,
        chance,
    )


def _mean(batches: Batches) -> tuple[float, float, int]:
    """Return mean latency in seconds, its relative standard error, and its degrees of freedom."""
    n, y = (np.array([part[column] for part in batches], float) for column in (0, 2))
    m, mean = len(batches), float(y.sum() / max(n.sum(), 1.0))
    if m < 3 or mean <= 0:
        return mean, 0.0, 0
    error = math.sqrt(m / (m - 1) * float(((y - mean * n) ** 2).sum())) / n.sum()
    return mean, float(error / mean), m - 1


def failures_finding(now: Batches, before: Batches, *, other: str = "before") -> FindingEntry:
    """Return whether more of this run's requests failed.

    The share of the failures that is this run's, given all of both: a binomial, divided by the dispersion.
    """
    (k, n, phi), (k_before, n_before, phi_before) = _count(now), _count(before)
    phi = max(phi, phi_before)
    measured = f"{k:,} failures in {n:,} requests, {other} {k_before:,} in {n_before:,}"
    if not n or not n_before:
        return inconclusive_finding("failures", f"{measured}: nothing to compare")
    low, high = ratio_interval(k, k + k_before, phi)
    odds = n_before / n
    interval = (low / (1 - low) * odds if low < 1 else math.inf, high / (1 - high) * odds if high < 1 else math.inf)
    if k == 0:
        # No failure at all is no regression, however few there were before.
        return FindingEntry(criterion="failures", basis=Basis.RELATIVE, outcome=Outcome.PASS, reason=measured)
    ratio = k / n / (k_before / n_before) if k_before else math.inf
    at_margin = ERROR_MARGIN * n / (ERROR_MARGIN * n + n_before)
    chance = float(stats.beta.cdf(at_margin, k / phi, k_before / phi + 1))
    return ratio_finding("failures", measured, ratio, interval, ERROR_MARGIN, chance)


def _count(batches: Batches) -> tuple[int, int, float]:
    requests, failures = [part[0] for part in batches], [part[1] for part in batches]
    return sum(failures), sum(requests), dispersion(failures, requests)


def inconclusive_finding(criterion: str, reason: str) -> FindingEntry:
    """Return the finding that there is nothing to tell it from."""
    return FindingEntry(criterion=criterion, basis=Basis.RELATIVE, outcome=Outcome.INCONCLUSIVE, reason=reason)


def ratio_finding(
    name: str, measured: str, ratio: float, interval: Interval, limit: float, chance: float
) -> FindingEntry:
    """Return the finding on a ratio of this run's to the other's.

    Parameters
    ----------
    name, measured
        The criterion, and what was measured in words.
    ratio, interval
        This run's value over the other's, and its bounds.
    limit
        The ratio that is let pass.
    chance
        Of a ratio like this one at the limit.
    """
    outcome = Outcome.PASS if interval[1] <= limit else Outcome.FAIL if interval[0] > limit else Outcome.INCONCLUSIVE
    description = {
        Outcome.PASS: f"no more than {format_ratio(limit - 1)} worse",
        Outcome.FAIL: f"more than {format_ratio(limit - 1)} worse, which chance alone would show {_chance(chance)}",
        Outcome.INCONCLUSIVE: f"cannot tell from these runs whether it is {format_ratio(limit - 1)} worse",
    }[outcome]
    is_finite = math.isfinite(ratio) and math.isfinite(interval[1])
    return FindingEntry(
        criterion=name,
        basis=Basis.RELATIVE,
        outcome=outcome,
        reason=f"{measured}: {description}",
        estimate=ratio if is_finite else None,
        interval=interval if is_finite else None,
        limit=limit,
        unit="x",
    )


def _chance(chance: float) -> str:
    return f"with p = {format_number(float(f'{chance:.2g}'))}" if chance >= 1e-6 else "with p < 0.000001"
