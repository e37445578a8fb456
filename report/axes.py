"""Axes: where a value lies on a chart, and which values are named beside it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from report.wording import number, odds, percent

LN10 = math.log(10)

_TIME_STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)


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

    def place(self, value: float) -> float:
        """Return where a value lies, from 0 (low) to 1 (high); what is beyond lies on the edge."""
        return min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)

    def holds(self, value: float) -> bool:
        """Return whether a value lies inside the range."""
        return self.low <= value <= self.high


def time_axis(seconds: float) -> Axis:
    """Return the axis of a rollout that took so long, with at most seven ticks."""
    high = max(seconds, 1.0)
    step = next((step for step in _TIME_STEPS if high / step <= 6), None) or _nice(high / 6, 86400)
    ticks = tuple(Tick(i * step, _time_label(i * step, step, high)) for i in range(int(high / step) + 1))
    return Axis(0.0, high, ticks)


def _time_label(seconds: float, step: float, high: float) -> str:
    if step >= 86400 and high > 4 * 86400:
        return f"{number(seconds / 86400)} d"
    if high < 3600:
        return f"{int(seconds // 60)}:{int(seconds % 60):02}"
    return f"{int(seconds // 3600)}:{int(seconds % 3600 // 60):02}"


def time_unit(axis: Axis) -> str:
    """Return what the figures on a time axis are."""
    if axis.ticks[-1].label.endswith("d"):
        return "days since the start"
    return "min:s since the start" if axis.high < 3600 else "h:min since the start"


def _nice(at_least: float, unit: float) -> float:
    """The smallest 1, 2 or 5 times a power of ten, in units, that is not below the value."""
    power = 10.0 ** math.floor(math.log10(at_least / unit))
    return next((m * power * unit for m in (1, 2, 5) if m * power * unit >= at_least), 10 * power * unit)


def ratio_axis(top: float) -> Axis:
    """Return an axis from 0 up to a ratio or a little above, in percent."""
    return _linear(top, lambda value: percent(round(value, 12)))


def latency_axis(top_ms: float) -> Axis:
    """Return an axis from 0 ms up to a latency or a little above."""
    return _linear(top_ms, lambda value: f"{number(value)} ms" if value else "0")


def share_axis() -> Axis:
    """Return the axis of a share of the traffic, 0 to 100 percent."""
    return Axis(0.0, 100.0, tuple(Tick(float(share), f"{share}%") for share in (0, 20, 50, 80, 100)))


def _linear(top: float, label: Callable[[float], str]) -> Axis:
    top = min(max(top, 1e-9), 1e15)
    step = _nice(top / 4, 1.0)
    steps = math.ceil(top / step - 1e-9)
    return Axis(0.0, steps * step, tuple(Tick(i * step, label(i * step)) for i in range(steps + 1)))


def odds_axis(lowest: float, highest: float) -> Axis:
    """Return a logarithmic axis of evidence, given natural logs of its ends, in whole powers of ten."""
    low, high = math.floor(lowest / LN10 + 1e-9), math.ceil(highest / LN10 - 1e-9)
    every = 1 if high - low <= 6 else 2
    powers = [power for power in range(low, high + 1) if power % every == 0]
    return Axis(low * LN10, high * LN10, tuple(Tick(power * LN10, odds(power * LN10)) for power in powers))
