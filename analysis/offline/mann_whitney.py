"""The shift between two samples after Mann and Whitney, with its interval, as the R language computes it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import rankdata

Values = npt.NDArray[np.float64]

_TOLERANCE = 1e-4
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True, slots=True)
class Shift:
    """How far one sample lies above another: the Hodges-Lehmann estimate and its interval."""

    low: float
    estimate: float
    high: float


def shift_between(experiment: Values, control: Values, *, confidence: float) -> Shift:
    """Return the shift of `experiment` over `control`, in the unit of the values.

    Found by inverting the rank-sum statistic in its normal approximation, corrected for ties and continuity.

    Parameters
    ----------
    experiment, control
        Two samples of any length above 0, not all values equal, without NaN.
    confidence
        Coverage of the two-sided interval, in (0, 1).

    References
    ----------
    Hodges, Lehmann (1963), Ann. Math. Statist. 34, 598; R's `wilcox.test(conf.int = TRUE, exact = FALSE)`.
    """
    z = float(ndtri((1 - confidence) / 2))
    lowest, highest = float(experiment.min() - control.max()), float(experiment.max() - control.min())

    def root(quantile: float) -> float:
        return _root(lambda shift: rank_sum_z(experiment - shift, control) - quantile, lowest, highest)

    return Shift(low=root(-z), estimate=root(0.0), high=root(z))


def rank_sum_z(x: Values, y: Values) -> float:
    """Return the standardised rank sum of x among x and y, with corrections for ties and continuity."""
    ranks = rankdata(np.concatenate([x, y]))
    n, m = len(x), len(y)
    centred = float(ranks[:n].sum()) - n * (n + 1) / 2 - n * m / 2
    ties = np.unique(ranks, return_counts=True)[1].astype(float)
    variance = n * m / 12 * ((n + m + 1) - float((ties**3 - ties).sum()) / ((n + m) * (n + m - 1)))
    return float((centred - 0.5 * np.sign(centred)) / math.sqrt(variance)) if variance > 0 else 0.0


def _root(f: Callable[[float], float], low: float, high: float) -> float:
    if f(low) <= 0:
        return low
    return high if f(high) >= 0 else zero(f, low, high, tolerance=_TOLERANCE)


def zero(f: Callable[[float], float], a: float, b: float, *, tolerance: float) -> float:
    """Return a root of f between a and b, where f changes its sign.

    The statistic is a staircase, so that the answer depends on the path taken: this is the path that R takes.

    References
    ----------
    Brent (1973), Algorithms for Minimization without Derivatives, chapter 4, procedure `zero`.
    """
    fa, fb = f(a), f(b)
    c, fc = a, fa
    while True:
        before = b - a
        if abs(fc) < abs(fb):
            a, b, c = b, c, b
            fa, fb, fc = fb, fc, fb
        least = 2 * _EPSILON * abs(b) + tolerance / 2
        half = (c - b) / 2
        if abs(half) <= least or fb == 0:
            return b
        step = half
        if abs(before) >= least and abs(fa) > abs(fb):
            step = _interpolated(a, b, c, fa, fb, fc, before=before, least=least, half=half)
        a, fa = b, fb
        b += step if abs(step) >= least else math.copysign(least, step)
        fb = f(b)
        if (fb > 0) == (fc > 0):
            c, fc = a, fa


def _interpolated(
    a: float, b: float, c: float, fa: float, fb: float, fc: float, *, before: float, least: float, half: float
) -> float:
    s = fb / fa
    if a == c:
        p, q = 2 * half * s, 1 - s
    else:
        t, r = fa / fc, fb / fc
        p, q = s * (2 * half * t * (t - r) - (b - a) * (r - 1)), (t - 1) * (r - 1) * (s - 1)
    q = -q if p > 0 else q
    p = abs(p)
    fits = p < 1.5 * half * q - abs(least * q) / 2 and p < abs(before * q / 2)
    return p / q if fits else half
