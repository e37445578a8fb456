"""Base and change in one run: what both were sent in turns, compared pairwise.

Two runs on two machines differ by a quarter, and two of one machine by what else it does then. Requests that are sent
in turns by one process meet the same machine at the same time: what slows both cancels within each stretch of the run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from loadtest.comparison import Batches, failures_finding, ratio_finding, unknown
from loadtest.intervals import BETA, batches
from loadtest.windows import Window
from rollout.model import Outcome
from rollout.record import FindingEntry
from rollout.validation import Comparison

FEWEST_BATCHES = 3
_BASE = "base"


def compared_in_turns(
    change: Sequence[Window], base: Sequence[Window], *, against: str, slower_below: float
) -> Comparison:
    """Return in what the change is worse than the base that was loaded beside it.

    Parameters
    ----------
    change, base
        The counts of both over time, of one run.
    against
        Where the base answers.
    slower_below
        Relative difference of the mean latency that is let pass, such as 0.02.
    """
    common = {window.index for window in change} & {window.index for window in base}
    now, before = (_batches([window for window in side if window.index in common]) for side in (change, base))
    findings = (_latency(now, before, slower_below), failures_finding(now, before, other=_BASE))
    outcomes = [finding.outcome for finding in findings]
    outcome = next((worst for worst in (Outcome.FAIL, Outcome.INCONCLUSIVE) if worst in outcomes), Outcome.PASS)
    return Comparison(with_run="", against=against, outcome=outcome, findings=findings)


def _batches(windows: Sequence[Window]) -> Batches:
    return [(part.requests, part.failures, part.seconds) for part in batches(windows)]


def _latency(now: Batches, before: Batches, margin: float) -> FindingEntry:
    """The ratio of the means; its error from the difference of both within each batch (Cochran 1977, eq. 6.13)."""
    n, y = (np.array([part[column] for part in now], float) for column in (0, 2))
    n_before, y_before = (np.array([part[column] for part in before], float) for column in (0, 2))
    m = len(now)
    if m < FEWEST_BATCHES or min(y.sum(initial=0.0), y_before.sum(initial=0.0)) <= 0:
        return unknown("latency", "too few answers to compare the latencies")
    mean, mean_before = float(y.sum() / n.sum()), float(y_before.sum() / n_before.sum())
    apart = (y - mean * n) / y.sum() - (y_before - mean_before * n_before) / y_before.sum()
    error = math.sqrt(m / (m - 1) * float((apart**2).sum()))
    log_ratio = math.log(mean / mean_before)
    reach = float(stats.t.ppf(1 - BETA, m - 1)) * error
    chance = float(stats.t.sf((log_ratio - math.log1p(margin)) / error, m - 1)) if error else 0.0
    return ratio_finding(
        "latency",
        f"mean latency {mean * 1000:.4g} ms, {_BASE} {mean_before * 1000:.4g} ms ({mean / mean_before - 1:+.2%})",
        mean / mean_before,
        (math.exp(log_ratio - reach), math.exp(log_ratio + reach)),
        1 + margin,
        chance,
    )
