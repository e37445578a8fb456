"""The time axis: even where it can be, slower through steps that would else be too narrow to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from report.charts.axes import Axis, Tick, nice_step
from report.charts.timeline import Stretch
from rollout.formatting import format_number

_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
_TOO_NARROW, _READABLE = 0.07, 0.14
"""Shares of the width: a step below the first is widened to the second."""
_APART = 0.09
"""Least distance of two named times."""
_DAY = 86400.0
_LONG = 4 * _DAY
"""Past this, time is told in days."""


def time_axis(seconds: float, parts: Sequence[Stretch] = ()) -> Axis:
    """Return the axis of a rollout that took so long and had these steps."""
    high = max(seconds, 1.0)
    edges = [0.0, *(end for part in parts if 0 < (end := part.end) < high), high]
    lengths = [(right - left) / high for left, right in pairwise(edges)]
    if len(lengths) > 1 / _READABLE or min(lengths[: len(parts)], default=1.0) > _TOO_NARROW:
        return Axis(0.0, high, tuple(Tick(value, _label(value, high)) for value in _even(0.0, high, 6)))
    knots = _knots(edges, lengths)
    return Axis(0.0, high, tuple(_uneven_ticks(Axis(0.0, high, (), knots))), knots)


def is_even(axis: Axis) -> bool:
    """Return whether time runs at one pace along the axis."""
    return not axis.knots


def time_unit(axis: Axis) -> str:
    """Return what the figures on a time axis are."""
    if axis.high > _LONG:
        return "days since the start"
    return "min:s since the start" if axis.high < 3600 else "h:min since the start"


def _knots(edges: Sequence[float], lengths: Sequence[float]) -> tuple[tuple[float, float], ...]:
    narrow = sum(_READABLE for length in lengths if length < _READABLE)
    long = sum(length for length in lengths if length >= _READABLE)
    widths = [_READABLE if length < _READABLE else length / long * (1 - narrow) for length in lengths]
    places = [sum(widths[:i]) / sum(widths) for i in range(len(edges))]
    return tuple(zip(edges, places, strict=True))


def _uneven_ticks(axis: Axis) -> Iterator[Tick]:
    """The edges of the steps, then round times wherever there is room."""
    chosen: list[float] = []
    inner = (
        value
        for (left, start), (right, end) in pairwise(axis.knots)
        for value in _even(left, right, (end - start) / _READABLE)
    )
    for value in (*(knot for knot, _ in axis.knots[:-1]), *inner):
        if all(abs(axis.place(value) - axis.place(other)) >= _APART for other in chosen):
            chosen.append(value)
    labels = {_label(value, axis.high): value for value in sorted(chosen, reverse=True)}
    return (Tick(value, label) for label, value in reversed(labels.items()))


def _even(low: float, high: float, most: float) -> list[float]:
    """Round times in a range, about as many as are asked for."""
    at_least = (high - low) / max(most, 1.0)
    step = next((float(step) for step in _STEPS if step >= at_least), None) or nice_step(at_least, _DAY)
    return [i * step for i in range(-int(-low // step), int(high // step) + 1)]


def _label(seconds: float, high: float) -> str:
    if high > _LONG:
        return f"{format_number(round(seconds / _DAY, 2))} d"
    big, small = divmod(int(seconds), 60) if high < 3600 else divmod(int(seconds) // 60, 60)
    return f"{big}:{small:02}"
