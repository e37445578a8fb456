"""Axes: where a value lies on a chart, and which values are named beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from rollout.formatting import format_ms, format_number, format_odds, format_ratio

LN10 = math.log(10)


@dataclass(frozen=True, slots=True)
class Tick:
    """A value with its name."""

    value: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """A range of values; low and high are at its two ends."""

    low: float
    high: float
    ticks: tuple[Tick, ...]
    knots: tuple[tuple[float, float], ...] = ()
    """Values and their places, from (low, 0) to (high, 1), where the scale is not even; linear in between."""

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 (low) to 1 (high); what is beyond lies on the edge."""
        value = min(max(value, self.low), self.high)
        knots = self.knots or ((self.low, 0.0), (self.high, 1.0))
        after = next(i for i, (knot, _) in enumerate(knots) if i and value <= knot)
        (left, start), (right, end) = knots[after - 1 : after + 1]
        return start + (end - start) * (value - left) / (right - left)

    def holds(self, value: float) -> bool:
        """Return whether a value lies inside the range."""
        return self.low <= value <= self.high


def nice_step(at_least: float, unit: float) -> float:
    """Return the smallest 1, 2 or 5 times a power of ten, in units, that is not below the value."""
    power = 10.0 ** math.floor(math.log10(at_least / unit))
    return next((m * power * unit for m in (1, 2, 5) if m * power * unit >= at_least), 10 * power * unit)


def ratio_axis(top: float) -> Axis:
    """Return an axis from 0 up to a ratio or a little above, in percent."""
    return _linear(top, lambda value: format_ratio(round(value, 12)))


def latency_axis(top_ms: float) -> Axis:
    """Return an axis from 0 ms up to a latency or a little above."""
    return _linear(top_ms, lambda value: format_ms(value) if value else "0")


def rate_axis(top: float) -> Axis:
    """Return an axis from 0 up to a rate or a little above, in requests a second."""
    return _linear(top, lambda value: f"{format_number(value)}/s" if value else "0")


def count_axis(top: float) -> Axis:
    """Return an axis from 0 up to a count or a little above."""
    return _linear(top, format_number)


def share_axis() -> Axis:
    """Return the axis of a share of the traffic, 0 to 100 percent."""
    return Axis(0.0, 100.0, tuple(Tick(float(share), f"{share} %") for share in (0, 20, 50, 80, 100)))


def _linear(top: float, label: Callable[[float], str]) -> Axis:
    top = min(max(top, 1e-9), 1e15)
    step = nice_step(top / 4, 1.0)
    steps = math.ceil(top / step - 1e-9)
    return Axis(0.0, steps * step, tuple(Tick(i * step, label(i * step)) for i in range(steps + 1)))


def odds_axis(lowest: float, highest: float) -> Axis:
    """Return a logarithmic axis of evidence, given natural logs of its ends, in whole powers of ten."""
    low, high = math.floor(lowest / LN10 + 1e-9), math.ceil(highest / LN10 - 1e-9)
    every = max(math.ceil((high - low) / 6), 1)
    powers = [power for power in range(low, high + 1) if power % every == 0]
    return Axis(
        low * LN10,
        high * LN10,
        tuple(Tick(power * LN10, format_odds(power * LN10).replace(" ", "")) for power in powers),
    )
