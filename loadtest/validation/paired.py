"""Base and change in one run: what both were sent in turns, compared pairwise.

Two runs on two machines differ by a quarter, and two of one machine by what else it does then. Requests that are sent
in turns by one process meet the same machine at the same time: what slows both cancels within each stretch of the run.

There are two findings on the latency, each at half the chance of error. The mean is what users wait in all, and a few
slow answers move it: also those of a busy machine. The typical difference is that of most stretches: it sees a change
that is slower throughout where the mean cannot tell, and does not see one that rarely stalls.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from loadtest.validation.comparison import Batches, failures_finding, inconclusive_finding, ratio_finding
from loadtest.validation.intervals import BATCHES, BETA, batches
from loadtest.windows import Window
from rollout.formatting import format_change, format_ms
from rollout.load_test_result import Comparison
from rollout.model import Outcome
from rollout.verdict_entries import FindingEntry

FEWEST_BATCHES = 3
FEWEST_STRETCHES = 8
MOST_STRETCHES = 600
FINEST_SECONDS = 0.1
"""Shorter stretches hold too few answers of each."""
_BASE = "base"
_BETA = BETA / 2


def stretch_seconds(seconds: float) -> float:
    """Return the length of the stretches in which a run of so many seconds is compared in pairs."""
    return max(seconds / MOST_STRETCHES, FINEST_SECONDS)


def compare_interleaved(
    change: Sequence[Window], base: Sequence[Window], *, against: str, slower_below: float
) -> Comparison:
    """Return in what the change is worse than the base that was loaded in turns with it.

    Parameters
    ----------
    change, base
        The counts of both over time, of one run.
    against
        Where the base answers.
    slower_below
        Relative difference of the mean latency that is let pass, such as 0.02.
    """
    common = _answered(change) & _answered(base)
    windows = [[window for window in side if window.index in common] for side in (change, base)]
    now, before = (_batches(side) for side in windows)
    findings = (
        _typical(windows[0], windows[1], slower_below),
        _mean(now, before, slower_below),
        failures_finding(now, before, other=_BASE),
    )
    outcomes = [finding.outcome for finding in findings]
    outcome = next((worst for worst in (Outcome.FAIL, Outcome.INCONCLUSIVE) if worst in outcomes), Outcome.PASS)
    return Comparison(with_run="", against=against, outcome=outcome, findings=findings)


def _answered(windows: Sequence[Window]) -> set[int]:
    return {window.index for window in windows if window.answered and window.seconds > 0}


def _batches(windows: Sequence[Window]) -> Batches:
    return [(part.requests, part.failures, part.seconds) for part in batches(windows)]


def _typical(change: Sequence[Window], base: Sequence[Window], margin: float) -> FindingEntry:
    """The median of all means of two blocks' log ratios, bounded by Wilcoxon's signed ranks.

    Hodges and Lehmann (1963); Hollander, Wolfe, Chicken, Nonparametric Statistical Methods, section 3.3. Where both are
    equal each log ratio is as likely above 0 as below, whatever else the machine does: which is sent first is drawn.
    Neighbouring stretches fare alike, as when one process waits for its processor: a block's median stands for them.
    """
    name, m = "typical latency", len(change)
    if m < FEWEST_STRETCHES:
        return inconclusive_finding(name, "too few stretches with answers to compare the latencies")
    stretches = np.log([_mean_latency(now) / _mean_latency(before) for now, before in zip(change, base, strict=True)])
    ratios = np.array([np.median(block) for block in np.array_split(stretches, min(m, BATCHES))])
    m = len(ratios)
    first, second = np.triu_indices(m)
    means = np.sort((ratios[first] + ratios[second]) / 2)
    reach = float(stats.norm.ppf(1 - _BETA)) * math.sqrt(m * (m + 1) * (2 * m + 1) / 24)
    rank = max(math.floor(m * (m + 1) / 4 - reach), 0)
    middle, low, high = (math.exp(value) for value in (np.median(means), means[rank], means[-1 - rank]))
    chance = float(stats.wilcoxon(ratios - math.log1p(margin), alternative="greater").pvalue)
    measured = f"{format_change(middle)} from the {_BASE} in a typical stretch of the run"
    return ratio_finding(name, measured, middle, (low, high), 1 + margin, chance)


def _mean_latency(window: Window) -> float:
    return window.seconds / window.answered


def _mean(now: Batches, before: Batches, margin: float) -> FindingEntry:
    """The ratio of the means; its error from the difference of both within each batch (Cochran 1977, eq. 6.13)."""
    n, y = (np.array([part[column] for part in now], float) for column in (0, 2))
    n_before, y_before = (np.array([part[column] for part in before], float) for column in (0, 2))
    m = len(now)
    if m < FEWEST_BATCHES or min(y.sum(initial=0.0), y_before.sum(initial=0.0)) <= 0:
        return inconclusive_finding("mean latency", "too few answers to compare the latencies")
    mean, mean_before = float(y.sum() / n.sum()), float(y_before.sum() / n_before.sum())
    apart = (y - mean * n) / y.sum() - (y_before - mean_before * n_before) / y_before.sum()
    error = math.sqrt(m / (m - 1) * float((apart**2).sum()))
    log_ratio = math.log(mean / mean_before)
    reach = float(stats.t.ppf(1 - _BETA, m - 1)) * error
    chance = float(stats.t.sf((log_ratio - math.log1p(margin)) / error, m - 1)) if error else 0.0
    return ratio_finding(
        "mean latency",
        f"mean latency {format_ms(mean * 1000)}, {_BASE} {format_ms(mean_before * 1000)} "
        f"({format_change(mean / mean_before)})",
        mean / mean_before,
        (math.exp(log_ratio - reach), math.exp(log_ratio + reach)),
        1 + margin,
        chance,
    )
