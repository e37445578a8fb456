"""Series of the record, made ready for drawing: on the rollout's clock, finite, few enough points."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from statistics import median

from rollout.record import RolloutRecord, SeriesPoint

WindowOf = Callable[[float], int]
"""The number of the window that a time belongs to, in seconds on the rollout's clock."""
_GAP = 2.5
"""A pause this many times the usual distance between points breaks the line."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A value with its extremes, at a time on the rollout's clock."""

    seconds: float
    low: float
    mean: float
    high: float


@dataclass(frozen=True, slots=True)
class Total:
    """What one track answered in all."""

    requests: float
    errors: float | None
    exact: bool
    """False once scrapes have been merged, which leaves only the mean ratio of each group."""


def points_of(record: RolloutRecord, series: str) -> list[SeriesPoint]:
    """Return a series' finite points in order of time; empty when the record lacks it."""
    finite = [point for point in record.series.get(series, ()) if _is_finite(point)]
    return sorted(finite, key=lambda point: point.at)


def curve(record: RolloutRecord, series: str, origin: datetime, window_of: WindowOf) -> tuple[Sample, ...]:
    """Return a series as it is drawn, from the rollout's start on: one sample a window."""
    points = [point for point in points_of(record, series) if point.at >= origin]
    return _windowed(points, [float(point.count) for point in points], origin, window_of)


def error_curve(record: RolloutRecord, track: str, origin: datetime, window_of: WindowOf) -> tuple[Sample, ...]:
    """Return a track's error ratio, pooled by requests over windows: a single scrape's ratio is mostly noise."""
    ratios = [point for point in points_of(record, f"{track}.error_ratio") if point.at >= origin]
    return _windowed(ratios, _requests_beside(ratios, points_of(record, f"{track}.requests")), origin, window_of)


def total(record: RolloutRecord, track: str, since: datetime, until: datetime) -> Total | None:
    """Return a track's requests and errors between two moments, or None when they were not recorded."""
    requests = [point for point in points_of(record, f"{track}.requests") if since <= point.at <= until]
    if not requests:
        return None
    ratios = [point for point in points_of(record, f"{track}.error_ratio") if since <= point.at <= until]
    errors = sum(ratio.mean * n for ratio, n in zip(ratios, _requests_beside(ratios, requests), strict=True))
    exact = all(point.count == 1 for point in (*requests, *ratios))
    return Total(_sum(requests), errors if ratios and math.isfinite(errors) else None, exact)


def segments(samples: Sequence[Sample]) -> list[list[Sample]]:
    """Return the samples in unbroken runs: no line is drawn over a gap in the data."""
    if len(samples) < 3:
        return [list(samples)] if samples else []
    steps = [after.seconds - before.seconds for before, after in pairwise(samples)]
    longest = _GAP * median(steps)
    runs = [[samples[0]]]
    for step, sample in zip(steps, samples[1:], strict=True):
        if step > longest:
            runs.append([])
        runs[-1].append(sample)
    return runs


def _windowed(
    points: Sequence[SeriesPoint], weights: Sequence[float], origin: datetime, window_of: WindowOf
) -> tuple[Sample, ...]:
    windows: dict[int, list[tuple[SeriesPoint, float]]] = {}
    for point, weight in zip(points, weights, strict=True):
        windows.setdefault(window_of((point.at - origin).total_seconds()), []).append((point, weight))
    pooled = (_pooled(members, origin) for members in windows.values())
    return tuple(sample for sample in pooled if math.isfinite(sample.mean))


def _is_finite(point: SeriesPoint) -> bool:
    return math.isfinite(point.low) and math.isfinite(point.mean) and math.isfinite(point.high)


def _sum(points: Sequence[SeriesPoint]) -> float:
    return sum(point.mean * point.count for point in points)


def _requests_beside(ratios: Sequence[SeriesPoint], requests: Sequence[SeriesPoint]) -> list[float]:
    """Requests behind each ratio: those of the scrape at its time, or 1 each where none are known."""
    if not requests:
        return [float(point.count) for point in ratios]
    times = [point.at for point in requests]
    near = [requests[max(bisect_right(times, point.at) - 1, 0)] for point in ratios]
    return [point.count * beside.mean for point, beside in zip(ratios, near, strict=True)]


def _pooled(members: Sequence[tuple[SeriesPoint, float]], origin: datetime) -> Sample:
    weight = sum(n for _, n in members)
    pairs = members if weight > 0 else [(point, 1.0) for point, _ in members]
    mean = sum(point.mean * n for point, n in pairs) / (weight if weight > 0 else len(pairs))
    seconds = sum((point.at - origin).total_seconds() for point, _ in members) / len(members)
    return Sample(seconds, min(p.low for p, _ in members), mean, max(p.high for p, _ in members))
