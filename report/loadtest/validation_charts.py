"""The load test's charts: rate and latency over time, and the histogram."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

from report.charts.axes import Axis, Tick, count_axis, latency_axis, rate_axis
from report.charts.curves import Sample
from report.charts.geometry import Chart, Limit, Line
from report.charts.time_axis import time_axis, time_unit
from report.charts.timeline import Mark
from rollout.formatting import format_limit, format_ms, format_number, format_plural
from rollout.load_test_result import TimelinePoint, ValidationResult
from rollout.verdict_entries import FindingEntry

_HEADROOM = 1.15
_FAR = 3.0
"""A limit farther than this many times all else is left to the table: it would flatten the lines."""
_ROUND_MS = tuple(digit * 10.0**power for power in range(-1, 5) for digit in (1, 2, 3, 4, 5, 7))
_APART = 0.09


def charts(result: ValidationResult) -> list[Chart]:
    """Return the charts that the result has data for, in the page's order."""
    charts_shown = []
    if result.course:
        across = time_axis(result.seconds)
        charts_shown += [_rates(result, across), _latencies(result, across)]
    if len(result.histogram) > 1:
        charts_shown.append(_histogram(result))
    return charts_shown


def _rates(result: ValidationResult, across: Axis) -> Chart:
    lines = (
        Line("asked for", "asked", _samples(result.course, lambda point: point.asked), band=False),
        Line("sent", "part part-0", _samples(result.course, lambda point: point.sent), band=False),
        Line("answered", "stable", _samples(result.course, lambda point: point.answered), filled=True),
        Line("failed", "canary", _failed(result.course), dotted=True, band=False),
    )
    shown = tuple(line for line in lines if any(sample.mean for sample in line.samples))
    top = max((sample.mean for line in shown for sample in line.samples), default=1.0)
    failing = sum(point.failures for point in result.course)
    sentence = (
        f"{format_number(result.reached)} successful answers a second; "
        f"{format_plural(failing, 'failed answer')} in the time shown."
    )
    return Chart("rates", "Rate", sentence, across, rate_axis(top * _HEADROOM), shown, footnote=_time_note(across))


def _failed(course: Sequence[TimelinePoint]) -> tuple[Sample, ...]:
    """Failed answers a second; stretches without any request are left out of a course."""
    width = min((after.seconds - before.seconds for before, after in pairwise(course)), default=0.0)
    if width <= 0:
        return ()
    return _samples(course, lambda point: point.failures / width)


def _latencies(result: ValidationResult, across: Axis) -> Chart:
    lines = (
        Line("median", "stable", _samples(result.course, lambda point: point.p50), band=False),
        Line("p95", "part part-0", _samples(result.course, lambda point: point.p95), band=False),
        Line("p99", "canary", _samples(result.course, lambda point: point.p99), dotted=True, band=False),
    )
    top = max((sample.mean for line in lines for sample in line.samples), default=1.0)
    limits = tuple(limit for limit in _limits(result.findings) if limit.value <= _FAR * top)
    up = latency_axis(max([top, *(limit.value for limit in limits)]) * _HEADROOM)
    sentence = "From the moment each request was due, so that waiting in line counts."
    return Chart("latencies", "Latency", sentence, across, up, lines, limits, footnote=_time_note(across))


def _limits(findings: Sequence[FindingEntry]) -> Iterator[Limit]:
    for finding in findings:
        if finding.unit == "ms" and finding.limit is not None:
            yield Limit(finding.limit, f"{finding.criterion} below {format_limit(finding.limit, 'ms')}", "healthy")


def _samples(course: Sequence[TimelinePoint], value: Callable[[TimelinePoint], float | None]) -> tuple[Sample, ...]:
    pairs = ((point.seconds, value(point)) for point in course)
    return tuple(Sample(seconds, v, v, v) for seconds, v in pairs if v is not None)


def _time_note(across: Axis) -> str:
    return f"Time: {time_unit(across)}."


def _histogram(result: ValidationResult) -> Chart:
    bars = result.histogram
    ratio = (bars[-1].up_to_ms / bars[0].up_to_ms) ** (1 / max(len(bars) - 1, 1))
    samples = tuple(Sample(i + 0.5, *[float(bar.requests)] * 3) for i, bar in enumerate(bars))
    edge = bars[0].up_to_ms / ratio

    def place(ms: float) -> float:
        return math.log(ms / edge) / math.log(ratio)

    ticks = tuple(Tick(place(ms), format_ms(ms)) for ms in _ROUND_MS if 0 <= place(ms) <= len(bars))
    across = Axis(0.0, float(len(bars)), tuple(_spaced(ticks, len(bars) * _APART)))
    latency = result.total.latency
    named = (("median", latency.p50), ("p95", latency.p95), ("p99", latency.p99)) if latency else ()
    marks = tuple(Mark(name, place(ms), "", "alarm", "") for name, ms in named if 0 <= place(ms) <= len(bars))
    top = max(bar.requests for bar in bars)
    up = count_axis(top * _HEADROOM)
    sentence = f"Half of the requests took {format_ms(latency.p50)} or less." if latency else ""
    return Chart(
        name="histogram",
        title="How long the requests took",
        sentence=sentence,
        across=across,
        up=up,
        lines=(Line("requests", "stable", samples, filled=True),),
        marks=marks,
        footnote="Latency on a logarithmic scale; the last point holds all that took longer.",
    )


def _spaced(ticks: Sequence[Tick], least: float) -> Iterator[Tick]:
    """Leave out names that would touch the one before."""
    last = -math.inf
    for tick in ticks:
        if tick.value - last >= least:
            last = tick.value
            yield tick
