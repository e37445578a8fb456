"""Latency histograms: what a slower canary's buckets would look like, and what buckets can show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

Floats = npt.NDArray[np.float64]
Edges = tuple[float, ...]

SHIFTS = (1.15, 1.7)
"""All requests slower by this factor: as few as leave no factor between without a close neighbour."""
SLOWER_PART, SLOWER_BY = 0.022, (4.0, 11.0)
"""A tail: this part of the requests is slower, half of them by each factor."""
LONGER_MEAN = 0.2
"""A mean longer by this part, whatever the buckets show of it."""
PRIOR = np.log([0.36, 0.11, 0.48, 0.05])
"""Log weights of the shifts, the tail and the mean: what is plain shows within a scrape or two whatever its weight."""
UNMOVED = 0.01
"""The part of the requests that stays as it was in every alternative, so that none excludes any bucket."""
_OPEN = 4.0
"""How far a bucket with an open end is taken to reach, as a factor of its one edge."""
_EMPTY = 1e-9
"""A bucket with less of the requests than this has no shape of its own."""


def alternatives(edges: Edges, histogram: Floats) -> Floats:
    """Return what each alternative, a kind of slowness, does to a histogram: stochastic matrices (N, B, G, B).

    Parameters
    ----------
    edges
        Upper bucket edges in ms, the last one infinite.
    histogram
        (N, B) whose shape says how latencies are spread inside a bucket.
    """
    still = np.eye(len(edges))
    shifts = [shifted(edges, histogram, factor) for factor in SHIFTS]
    slower = np.mean([shifted(edges, histogram, factor) for factor in SLOWER_BY], axis=0)
    shifts.append((1 - SLOWER_PART) * still + SLOWER_PART * slower)
    return np.asarray((1 - UNMOVED) * np.stack(shifts, axis=-2) + UNMOVED * still[:, None])


def shifted(edges: Edges, histogram: Floats, factor: float) -> Floats:
    """Return the matrices (..., B, B) that move a histogram to latencies `factor` times as long.

    Between two edges the distribution function is a straight line on the scale of normal quantiles against the log of
    the latency: exact for a lognormal distribution, and close for any that has one mode.

    >>> shifted((10.0, 20.0, 40.0, math.inf), np.ones(4), 2.0).round(2)
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 1. , 0. ],
           [0. , 0. , 0. , 1. ],
           [0. , 0. , 0. , 1. ]])
    """
    low, high = (np.log(bound) for bound in _bounds(edges))
    part = (high - math.log(factor) - low[:, None]) / (high - low)[:, None]
    part[:, -1] = 1.0
    below = _inside(histogram / histogram.sum(axis=-1, keepdims=True), np.clip(part, 0.0, 1.0))
    return np.diff(below, axis=-1, prepend=0.0)


def _inside(histogram: Floats, part: Floats) -> Floats:
    """Return how much of each bucket lies in its first `part` (B, K), as a share of the bucket (..., B, K)."""
    end = np.cumsum(histogram, axis=-1)
    start = end - histogram
    z_start, z_end = (ndtri(np.clip(bound, 1e-12, 1 - 1e-12))[..., None] for bound in (start, end))
    mass = (ndtr(z_end) - ndtr(z_start))[..., 0]
    curved = (ndtr(z_start + (z_end - z_start) * part) - ndtr(z_start)) / np.maximum(mass, _EMPTY)[..., None]
    has_shape = mass > _EMPTY
    has_shape[..., [0, -1]] = False  # an open end says nothing of how far it reaches
    return np.where(has_shape[..., None], np.clip(curved, 0.0, 1.0), part)


@lru_cache(maxsize=16)
def bucket_midpoints(edges: Edges) -> Floats:
    """Return a typical latency of each bucket (B,) in ms."""
    low, high = _bounds(edges)
    return np.sqrt(low * high)


@lru_cache(maxsize=16)
def bucket_ends(edges: Edges, timeout: float) -> Floats:
    """Return the shortest and the longest latency of each bucket (2, B) in ms, with a timeout above the last edge."""
    finite = np.array([0.0, *edges[:-1]])
    return np.stack([finite, np.append(finite[1:], max(timeout, finite[-1]))])


def _bounds(edges: Edges) -> tuple[Floats, Floats]:
    """Return each bucket's lower and upper edge, open ends closed."""
    if len(edges) == 1:
        return np.array([1.0]), np.array([_OPEN])
    finite = np.array(edges[:-1])
    return np.append(finite[0] / _OPEN, finite), np.append(finite, finite[-1] * _OPEN)


@dataclass(frozen=True, slots=True, eq=False)
class MeanBets:
    """Bets on the mean of a latency that is never longer than a known time."""

    edges: Floats
    """(B + 1,) in ms, from 0 to the longest time."""
    payoff: Floats
    """(G, B + 1) log of each bet's factor at each edge."""
    slope: Floats
    """(G, 2) each bet's factor as intercept and slope over the latency."""


@lru_cache(maxsize=64)
def mean_bets(edges: Edges, limit: float, longest: float, *, below: bool) -> MeanBets:
    """Return bets that win when the mean is below the limit in ms, or when it is above.

    Parameters
    ----------
    edges
        Upper bucket edges in ms, the last one infinite.
    limit
        The mean that is to be excluded, in ms.
    longest
        The route's timeout in ms: no answer takes longer.
    below
        Whether to bet on a mean below the limit.
    """
    points = np.minimum(np.array([0.0, *edges[:-1], longest]), longest)
    parts = np.array([0.95, 0.4, 0.1])
    stakes = -parts / (longest - limit) if below else parts / limit
    slope = np.stack([1 - stakes * limit, stakes], axis=1)
    return MeanBets(points, np.log(slope[:, :1] + slope[:, 1:] * points), slope)


def bucket_warning(edges: Edges, limit: float) -> str | None:
    """Return what the buckets cannot show of a limit in ms, or None when it is an edge.

    >>> bucket_warning((100.0, 250.0, math.inf), 200.0)
    '200 ms is no bucket edge: the buckets can tell apart 100 and 250 ms; the mean is exact'
    """
    if limit in edges or len(edges) < 2:
        return None
    below = [edge for edge in edges if edge < limit]
    above = [edge for edge in edges if limit < edge < math.inf]
    known = " and ".join(f"{edge:g}" for edge in (*below[-1:], *above[:1]))
    can = "tell apart" if below and above else "tell only what lies below or above"
    return f"{limit:g} ms is no bucket edge: the buckets can {can} {known} ms; the mean is exact"
