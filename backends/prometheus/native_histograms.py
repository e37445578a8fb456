"""Native histograms as the classic ones that the judge reads: how many requests took no longer than each edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from analysis.scrapes.samples import BUCKET, COUNT, NO_EDGE, SUM, Floats
from backends.prometheus.query_results import SampledSeries

_LEAST_MS, _MOST_MS = 0.5, 120_000.0


def power_edges(to_ms: float) -> tuple[float, ...]:
    """Return the powers of two between half a millisecond and two minutes, in a unit of so many ms.

    They are edges at every resolution that a growing histogram has, so that nothing lies between them when it is
    halved: what is counted below one never falls.

    >>> [edge * 1000 for edge in power_edges(1000.0)][-9:]
    [250.0, 500.0, 1000.0, 2000.0, 4000.0, 8000.0, 16000.0, 32000.0, 64000.0]
    """
    first, last = np.ceil(np.log2(_LEAST_MS / to_ms)), np.floor(np.log2(_MOST_MS / to_ms))
    return tuple((2.0 ** np.arange(first, last + 1)).tolist())


def as_classic(
    sampled: SampledSeries, edges: tuple[float, ...], to_ms: float
) -> Iterator[tuple[str, float, Floats, Floats]]:
    """Yield metric, edge in ms, times and values of the classic series that a native histogram stands for.

    A bucket that reaches over an edge counts as above it: no request is called faster than it is known to have been.
    """
    times = np.array([time for time, _ in sampled.histograms])
    below = np.array([_below(histogram, edges) for _, histogram in sampled.histograms])
    count, total = (
        np.array([float(histogram[name]) for _, histogram in sampled.histograms]) for name in ("count", "sum")
    )
    for place, edge in enumerate(edges):
        yield BUCKET, round(edge * to_ms, 6), times, below[:, place]
    yield BUCKET, np.inf, times, count
    yield SUM, NO_EDGE, times, total * to_ms
    yield COUNT, NO_EDGE, times, count


def _below(histogram: dict[str, Any], edges: tuple[float, ...]) -> Floats:
    """Return how many were counted in buckets that end at or below each edge."""
    buckets = histogram.get("buckets") or []
    upper = np.array([float(bucket[2]) for bucket in buckets])
    counts = np.cumsum([0.0, *(float(bucket[3]) for bucket in buckets)])
    # The server writes 0.5 as it comes out of its own powers.
    return counts[np.searchsorted(upper, np.asarray(edges) * (1 + 1e-9), side="right")]
