"""Latency histograms: what a slower canary's buckets would look like, and what buckets can show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Edges = tuple[float, ...]

SHIFTS = (1.1, 1.2, 1.4, 2.0, 4.0)
"""All requests slower by this factor."""
TAILS = ((0.01, 5.0), (0.02, 20.0), (0.1, 5.0))
"""This part of the requests slower by this factor."""
UNMOVED = 0.01
"""The part of the requests that stays as it was in every alternative, so that none excludes any bucket."""
_OPEN = 4.0
"""How far a bucket with an open end is taken to reach, as a factor of its one edge."""


@dataclass(frozen=True, slots=True, eq=False)
class Shape:
    """What follows from the bucket edges alone."""

    edges: Edges
    shifts: Floats
    """(B, G, B) the canary's law for each alternative, as stochastic matrices on stable's."""
    middles: Floats
    """(B,) a typical latency of each bucket in ms."""


@lru_cache(maxsize=16)
def shape_of(edges: Edges) -> Shape:
    """Return the shape of a histogram with these upper edges in ms, the last one infinite."""
    alternatives = [shifted(edges, factor) for factor in SHIFTS]
    still = np.eye(len(edges))
    alternatives += [(1 - part) * still + part * shifted(edges, factor) for part, factor in TAILS]
    shifts = (1 - UNMOVED) * np.stack(alternatives, axis=1) + UNMOVED * still[:, None]
    low, high = _bounds(edges)
    return Shape(edges, shifts, np.sqrt(low * high))


def shifted(edges: Edges, factor: float) -> Floats:
    """Return the matrix (B, B) that moves a histogram to latencies `factor` times as long.

    Inside a bucket latencies are taken to be spread evenly on a log scale.

    >>> shifted((10.0, 20.0, 40.0, math.inf), 2.0).round(2)
    array([[0.5, 0.5, 0. , 0. ],
           [0. , 0. , 1. , 0. ],
           [0. , 0. , 0. , 1. ],
           [0. , 0. , 0. , 1. ]])
    """
    low, high = (np.log(bound) for bound in _bounds(edges))
    start, end = low + math.log(factor), high + math.log(factor)
    left, right = low.copy(), high.copy()
    left[0], right[-1] = -np.inf, np.inf
    overlap = np.minimum(end[:, None], right) - np.maximum(start[:, None], left)
    return np.asarray(np.clip(overlap, 0.0, None) / (end - start)[:, None])


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
    '200 ms is no bucket edge: the buckets can only tell answers above 100 ms from those above 250 ms'
    """
    if limit in edges or len(edges) < 2:
        return None
    below = [edge for edge in edges if edge < limit]
    above = [edge for edge in edges if limit < edge < math.inf]
    known = " from those ".join(f"above {edge:g} ms" for edge in (*below[-1:], *above[:1]))
    return f"{limit:g} ms is no bucket edge: the buckets can only tell answers {known}"
