"""What the peers' rules would have said of a rollout that was scraped."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from analysis.offline.peer_rules import (
    Ending,
    Measurement,
    Replay,
    argo,
    classify,
    flagger,
    histogram_quantile,
    kayenta,
    kayenta_score,
)
from analysis.scrapes.increments import CANARY, STABLE, Scrapes

Floats = npt.NDArray[np.float64]

RULES = ("flagger", "argo", "kayenta")
ARGO_RETRY_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class PeerSettings:
    """How the peers are set up; times in seconds, ratios 0-1, latencies in ms."""

    interval: float = 60.0
    """Between checks, and the window that each one looks at."""
    flagger_success: float = 0.99
    flagger_p99: float = 500.0
    flagger_threshold: int = 5
    flagger_advances: int | None = 5
    """Checks passed that promote: maxWeight 50 in steps of 10, as in Flagger's tutorial."""
    argo_error_ratio: float = 0.01
    argo_mean: float = 500.0
    argo_failure_limit: int = 3
    kayenta_interval: float = 3600.0
    kayenta_lifetime: float = 10800.0


@dataclass(frozen=True, slots=True)
class PeerVerdict:
    """When a peer's rule would have acted, in seconds after the canary's first traffic."""

    rule: str
    rollback_at: float | None = None
    promote_at: float | None = None


def replay(scrapes: Scrapes, rules: Iterable[str] = RULES, settings: PeerSettings | None = None) -> list[PeerVerdict]:
    """Return what each rule would have done.

    Parameters
    ----------
    scrapes
        What was counted; time 0 is the canary's first traffic, and what is before it is not looked at.
    rules
        Some of `RULES`.
    settings
        The peers' own recommendations unless said.
    """
    settings, windows = settings or PeerSettings(), _Windows(scrapes)
    how = {"flagger": _flagger, "argo": _argo, "kayenta": _kayenta}
    return [how[rule](windows, settings) for rule in rules]


@dataclass(frozen=True, slots=True)
class _Window:
    """What was counted in a span of time, (2,) each and (2, B)."""

    requests: Floats
    errors: Floats
    sums: Floats
    latency: Floats

    def error_ratio(self, track: int = CANARY) -> float:
        return _ratio(self.errors[track], self.requests[track])

    def mean(self, track: int = CANARY) -> float:
        return _ratio(self.sums[track], self.requests[track])


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else math.nan


class _Windows:
    """Looks at any span of the scrapes in constant time."""

    def __init__(self, scrapes: Scrapes) -> None:
        self.edges = np.array(scrapes.edges)
        self.end = float(scrapes.time[-1]) if len(scrapes) else 0.0
        self.has_latency = bool(scrapes.sums.any())
        self._time = scrapes.time
        self._totals = [_running(each) for each in (scrapes.requests, scrapes.errors, scrapes.sums, scrapes.latency)]

    def ending_at(self, time: float, length: float) -> _Window | None:
        """Return what was counted in the span, or None when there was no scrape in it."""
        first, last = np.searchsorted(self._time, [time - length, time], side="right")
        return _Window(*(total[last] - total[first] for total in self._totals)) if last > first else None

    def ticks(self, interval: float) -> Floats:
        """Return the ends of the whole intervals since the canary's first traffic."""
        return np.asarray(np.arange(1, int(self.end / interval) + 1) * interval, dtype=np.float64)


def _running(increments: Floats) -> Floats:
    return np.concatenate([np.zeros((1, *increments.shape[1:])), np.cumsum(increments, axis=0)])


def _verdict(rule: str, result: Replay, ticks: list[float] | Floats) -> PeerVerdict:
    at = float(ticks[result.tick]) if result.tick < len(ticks) else None
    match result.ending:
        case Ending.ROLLED_BACK:
            return PeerVerdict(rule, rollback_at=at)
        case Ending.PROMOTED:
            return PeerVerdict(rule, promote_at=at)
        case _:
            return PeerVerdict(rule)


def _flagger(windows: _Windows, settings: PeerSettings) -> PeerVerdict:
    ticks = windows.ticks(settings.interval)
    passed = (_flagger_passes(windows, windows.ending_at(tick, settings.interval), settings) for tick in ticks)
    result = flagger(passed, threshold=settings.flagger_threshold, advances=settings.flagger_advances)
    return _verdict("flagger", result, ticks)


def _flagger_passes(windows: _Windows, window: _Window | None, settings: PeerSettings) -> bool:
    if window is None or not 1 - window.error_ratio() >= settings.flagger_success:
        return False
    p99 = histogram_quantile(0.99, windows.edges, window.latency[CANARY])
    return not windows.has_latency or p99 < settings.flagger_p99 + 1  # Flagger cuts latencies to whole ms


def _argo(windows: _Windows, settings: PeerSettings) -> PeerVerdict:
    taken, ticks = itertools.tee(_argo_run(windows, settings))
    result = argo((measurement for _, measurement in taken), failure_limit=settings.argo_failure_limit)
    return _verdict("argo", result, [tick for tick, _ in ticks])


def _argo_run(windows: _Windows, settings: PeerSettings) -> Iterator[tuple[float, Measurement]]:
    time = settings.interval
    while time <= windows.end:
        measurement = _argo_measures(windows, windows.ending_at(time, settings.interval), settings)
        yield time, measurement
        time += ARGO_RETRY_SECONDS if measurement is Measurement.ERROR else settings.interval


def _argo_measures(windows: _Windows, window: _Window | None, settings: PeerSettings) -> Measurement:
    if window is None:
        return Measurement.ERROR
    fine = window.error_ratio() <= settings.argo_error_ratio
    quick = not windows.has_latency or window.mean() <= settings.argo_mean
    return Measurement.SUCCESSFUL if fine and quick else Measurement.FAILED


def _kayenta(windows: _Windows, settings: PeerSettings) -> PeerVerdict:
    points = [windows.ending_at(tick, settings.interval) for tick in windows.ticks(settings.interval)]
    metrics = [_metric(points, _Window.error_ratio)]
    if windows.has_latency:
        metrics.append(_metric(points, _Window.mean))
    judgements = int(settings.kayenta_lifetime // settings.kayenta_interval)
    each = int(settings.kayenta_interval // settings.interval)
    ends = [each * (number + 1) for number in range(judgements) if each * (number + 1) <= len(points)]
    scores = (kayenta_score({"all": [classify(c[:end], e[:end]) for c, e in metrics]}) for end in ends)
    result = kayenta(scores)
    if result.ending is Ending.PROMOTED and len(ends) < judgements:
        result = Replay(Ending.RUNNING, len(ends))
    return _verdict("kayenta", result, [end * settings.interval for end in ends])


def _metric(points: list[_Window | None], value: Callable[[_Window, int], float]) -> tuple[Floats, Floats]:
    """Return a metric's points of control and experiment, NaN where there were none."""

    def side(track: int) -> Floats:
        return np.array([value(point, track) if point else math.nan for point in points])

    return side(STABLE), side(CANARY)
