"""What a load run's counts can be trusted to: intervals that allow for bursts.

Each end of an interval is right with 95 % confidence. Requests of one moment fare alike, so counts are taken in
batches of time, and their spread between batches, where it is more than independent requests would show, widens the
interval (batch means: Law, Kelton, Simulation Modeling and Analysis, section 9.5.3).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from loadtest.stats import Histogram, bucket_of
from loadtest.windows import Window

BETA = 0.05
"""Chance of each end of an interval to be wrong."""
BATCHES = 30
_SIGNIFICANT = 2.33
"""Standard errors above 1 that a dispersion has to lie before it is believed."""
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Batch:
    """What was counted in a stretch of the run."""

    sent: int
    requests: int
    failures: int
    seconds: float
    latency: Histogram


def batches(windows: Sequence[Window], most: int = BATCHES) -> list[Batch]:
    """Return the windows in at most so many batches of equal length."""
    size = max(math.ceil(len(windows) / most), 1)
    return [_batch(windows[start : start + size]) for start in range(0, len(windows), size)]


def _batch(windows: Sequence[Window]) -> Batch:
    whole = Window(0)
    for window in windows:
        whole.merge(window)
    return Batch(whole.sent, whole.answered, whole.failures, whole.seconds, whole.latency)


def dispersion(events: Sequence[float], totals: Sequence[float]) -> float:
    """Return how much more counts vary between batches than those of independent requests: 1 or more.

    Pearson's statistic over its degrees of freedom, taken for 1 within 2.33 standard errors of it.
    """
    counted, n = np.asarray(events, float), np.asarray(totals, float)
    counted, n = counted[n > 0], n[n > 0]
    if len(n) < 3 or not 0 < (ratio := counted.sum() / n.sum()) < 1:
        return 1.0
    free = len(n) - 1
    phi = float((((counted - n * ratio) ** 2) / (n * ratio * (1 - ratio))).sum() / free)
    return phi if phi > 1 + _SIGNIFICANT * math.sqrt(2 / free) else 1.0


def ratio_interval(events: float, total: float, phi: float = 1.0) -> Interval:
    """Return the interval of a share (0-1): Clopper and Pearson (1934), on counts divided by the dispersion.

    >>> low, high = ratio_interval(0, 3000)
    >>> low, round(high, 6)  # the rule of three
    (0.0, 0.000998)
    """
    k, n = events / phi, total / phi
    if n <= 0:
        return 0.0, 1.0
    low = float(stats.beta.ppf(BETA, k, n - k + 1)) if k > 0 else 0.0
    high = float(stats.beta.ppf(1 - BETA, k + 1, n - k)) if k < n else 1.0
    return low, high


def requests_for(limit: float, events: float, total: float, phi: float = 1.0) -> int | None:
    """Return how many requests would show this share to be below the limit, or None when it is not below."""
    ratio = events / total if total else 0.0
    if ratio >= limit:
        return None
    if events == 0:
        return math.ceil(phi * math.log(BETA) / math.log1p(-limit))
    z = float(stats.norm.ppf(1 - BETA))
    return math.ceil(phi * z**2 * limit * (1 - limit) / (limit - ratio) ** 2)


def mean_interval(parts: Sequence[Batch]) -> Interval | None:
    """Return the interval of the mean latency in seconds, or None when there are too few batches."""
    return _quotient([part.seconds for part in parts], [part.requests for part in parts])


def _quotient(above: Sequence[float], below: Sequence[float]) -> Interval | None:
    """Return the interval of a quotient of sums, from its residuals in each batch (Cochran 1977, eq. 6.13)."""
    y, x = np.asarray(above, float), np.asarray(below, float)
    m = len(x)
    if m < 3 or x.sum() <= 0:
        return None
    quotient = y.sum() / x.sum()
    error = math.sqrt(m / (m - 1) * ((y - quotient * x) ** 2).sum()) / x.sum()
    reach = float(stats.t.ppf(1 - BETA, m - 1)) * error
    return float(quotient - reach), float(quotient + reach)


def quantile_interval(latency: Histogram, q: float, parts: Sequence[Batch]) -> Interval | None:
    """Return the interval of a quantile in seconds, or None when there are too few requests to bound it.

    Free of any law of the latencies: the number of requests above the quantile is binomial, so the quantile lies
    between two ranks (Conover, Practical Nonparametric Statistics, section 3.2).
    """
    n, value = latency.total, latency.quantile(q)
    if value is None:
        return None
    above = [_above(part.latency, value) for part in parts]
    phi = dispersion(above, [part.requests for part in parts])
    reach = float(stats.norm.ppf(1 - BETA)) * math.sqrt(n * q * (1 - q) * phi)
    low, high = latency.ranked(max(math.floor(n * q - reach), 1)), latency.ranked(math.ceil(n * q + reach) + 1)
    return (low, high) if low is not None and high is not None else None


def _above(latency: Histogram, value: float) -> int:
    edge = bucket_of(value)
    return sum(count for index, count in latency.counts.items() if index > edge)
