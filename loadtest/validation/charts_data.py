"""A load run as it is drawn: over time, and as a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtest.load_spec import LoadSpec
from loadtest.schedule import requests_due
from loadtest.stats import Histogram, StatsEntry, bucket_middle
from loadtest.windows import Window
from rollout.load_test_result import Bar, Latencies, TimelinePoint

_BARS = 48
_TAIL = 0.9995
"""Share of the requests that the histogram reaches up to; the last bar holds the rest."""


def latencies_of(entry: StatsEntry) -> Latencies | None:
    """Return an entry's latencies in milliseconds, or None when nothing was counted."""
    if not entry.requests:
        return None
    p50, p90, p95, p99, p999 = (_ms(entry.latency, q) or 0.0 for q in (0.5, 0.9, 0.95, 0.99, 0.999))
    return Latencies(mean=entry.seconds / entry.requests * 1000, p50=p50, p90=p90, p95=p95, p99=p99, p999=p999)


def _ms(latency: Histogram, q: float) -> float | None:
    seconds = latency.quantile(q)
    return None if seconds is None else seconds * 1000


def timeline_of(windows: Sequence[Window], spec: LoadSpec, seconds: float) -> tuple[TimelinePoint, ...]:
    """Return the run over time, up to its last request's due time."""
    width = spec.window_seconds
    return tuple(_point(window, spec, width, seconds) for window in windows if (window.index + 0.5) * width < seconds)


def _point(window: Window, spec: LoadSpec, width: float, seconds: float) -> TimelinePoint:
    start = window.index * width
    length = min(width, seconds - start)
    due = 0.0 if spec.users else requests_due(spec.stages, start + length) - requests_due(spec.stages, start)
    return TimelinePoint(
        seconds=start + length / 2,
        asked=due / length,
        sent=window.sent / length,
        answered=window.answered / length,
        failures=window.failures,
        p50=_ms(window.latency, 0.5),
        p95=_ms(window.latency, 0.95),
        p99=_ms(window.latency, 0.99),
    )


def histogram_of(latency: Histogram) -> tuple[Bar, ...]:
    """Return the latencies as at most 48 columns, of equal width on a logarithmic scale."""
    if not latency.counts:
        return ()
    first, last = min(latency.counts), _last_bucket(latency)
    width = max(math.ceil((last - first + 1) / _BARS), 1)
    bars = [0] * ((last - first) // width + 1)
    for index, count in latency.counts.items():
        bars[min((index - first) // width, len(bars) - 1)] += count
    return tuple(
        Bar(up_to_ms=bucket_middle(first + (number + 1) * width) * 1000, requests=count)
        for number, count in enumerate(bars)
    )


def _last_bucket(latency: Histogram) -> int:
    left = math.ceil(_TAIL * latency.total)
    for index in sorted(latency.counts):
        left -= latency.counts[index]
        if left <= 0:
            return index
    return max(latency.counts)
