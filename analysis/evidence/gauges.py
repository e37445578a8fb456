"""Gauges with a limit, such as memory: deterministic, and patient.

A pod breaks a limit when each of its samples in the plan's window is above it: one high sample says nothing, and a
gap in the samples begins the window anew. It fails the canary only while no pod of another track does the same.
Counters (`..._total`) are read as their increase a second, so that processor time is a gauge too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.samples import Samples
from rollout.criteria import GaugeCriterion
from rollout.model import Track
from rollout.selectors import metric_name

GAP_SECONDS = 60.0
"""Without a sample for so long a pod's window begins anew, and the pod is forgotten."""
_COUNTER = "_total"
_Key = tuple[str, str, str]
"""Name of the gauge, track, pod."""
_Sample = tuple[float, str, str, str]
"""Time, metric, track, pod."""


@dataclass(frozen=True, slots=True)
class Level:
    """One pod's gauge as far as it was read."""

    gauge: str
    track: str
    pod: str
    time: float
    """Of the last sample."""
    value: float
    """The sum over the pod's series; of counters what they grew by in a second, NaN before the second sample."""
    since: float
    """First sample of the unbroken run above the limit; NaN while it is not above."""


@dataclass(frozen=True, slots=True)
class GaugeState:
    """All gauges of all pods, and the first breach."""

    levels: tuple[Level, ...] = ()
    breach: Level | None = None
    """The canary's first, as it was then: it is never taken back."""
    counters: CounterState = field(default_factory=CounterState)
    """What was read of those that are counters."""


def gauge_path(
    state: GaugeState, gauges: Sequence[GaugeCriterion], samples: Samples
) -> Iterator[tuple[float, GaugeState]]:
    """Yield the gauges' state after each time at which there is a new sample.

    Parameters
    ----------
    state
        What was known before; samples that were seen then are dropped.
    gauges
        The plan's.
    samples
        In any order; whatever else is in them is left alone.
    """
    by_metric: dict[str, list[GaugeCriterion]] = {}
    for gauge in gauges:
        by_metric.setdefault(gauge.metric, []).append(gauge)
    samples = samples.where(series.metric in by_metric and series.pod != "" for series in samples.series)
    is_counter = [metric_name(series.metric).endswith(_COUNTER) for series in samples.series]
    sampled, counters = _rates(state, samples.where(is_counter))
    sampled |= _sums(samples.where(not counts for counts in is_counter))
    levels = {(level.gauge, level.track, level.pod): level for level in state.levels}
    breach = state.breach
    sampled_at: dict[float, list[tuple[str, str, str]]] = {}
    for time, metric, track, pod in sorted(sampled):
        sampled_at.setdefault(time, []).append((metric, track, pod))
    for time in sorted(sampled_at):
        for metric, track, pod in sampled_at[time]:
            for gauge in by_metric[metric]:
                _update_level(levels, gauge, (gauge.name, track, pod), time, sampled[time, metric, track, pod])
        levels = {key: level for key, level in levels.items() if time - level.time <= GAP_SECONDS}
        breach = breach or next(breaches(gauges, levels.values()), None)
        yield time, GaugeState(tuple(levels.values()), breach, counters)


def _sums(samples: Samples) -> dict[_Sample, float]:
    """Return the sum over a pod's series at each time."""
    sums: dict[_Sample, float] = {}
    for series, times, values in samples.each():
        for time, value in zip(times.tolist(), values.tolist(), strict=True):
            key = (time, series.metric, series.track, series.pod)
            sums[key] = sums.get(key, 0.0) + value
    return sums


def _rates(state: GaugeState, samples: Samples) -> tuple[dict[_Sample, float], CounterState]:
    """Return what a pod's counters grew by in a second at each time, and what was read of them."""
    growth, counters = increase(state.counters, samples)
    grown: dict[_Sample, float] = {}
    for column, time, amount in zip(growth.column.tolist(), growth.time.tolist(), growth.amount.tolist(), strict=True):
        series = samples.series[column]
        key = (time, series.metric, series.track, series.pod)
        grown[key] = grown.get(key, 0.0) + amount
    previous = {(series.metric, series.track, series.pod): time for series, (time, *_) in state.counters.last.items()}
    rates: dict[_Sample, float] = {}
    for (time, metric, track, name), amount in sorted(grown.items()):
        pod = (metric, track, name)
        rates[time, *pod] = amount / (time - previous[pod]) if pod in previous else math.nan
        previous[pod] = time
    return rates, counters


def observe_gauges(state: GaugeState, gauges: Sequence[GaugeCriterion], samples: Samples) -> GaugeState:
    """Return the gauges' state after all new samples; see `gauge_path`."""
    for _, later in gauge_path(state, gauges, samples) if gauges else ():
        state = later
    return state


def breaches(gauges: Sequence[GaugeCriterion], levels: Iterable[Level]) -> Iterator[Level]:
    """Yield the canary pods that break a limit which no other track's pod breaks."""
    pods = tuple(levels)
    for gauge in gauges:
        broken = [level for level in pods if level.gauge == gauge.name and is_broken(gauge, level)]
        if all(level.track == Track.CANARY for level in broken):
            yield from broken


def canary_levels(state: GaugeState, gauge: GaugeCriterion) -> list[Level]:
    """Return how a gauge stands on each of the canary's pods."""
    levels = (level for level in state.levels if level.gauge == gauge.name and level.track == Track.CANARY)
    return [level for level in levels if not math.isnan(level.value)]


def is_below(gauges: Sequence[GaugeCriterion], state: GaugeState) -> bool:
    """Return whether every gauge was read on the canary, and none of its pods is above a limit."""
    read = [(gauge, canary_levels(state, gauge)) for gauge in gauges]
    return all(levels and all(level.value <= gauge.rollback_above for level in levels) for gauge, levels in read)


def is_broken(gauge: GaugeCriterion, level: Level) -> bool:
    """Return whether every sample of a pod in the window was above the limit."""
    return level.time - level.since >= gauge.window.total_seconds()


def _update_level(levels: dict[_Key, Level], gauge: GaugeCriterion, key: _Key, time: float, value: float) -> None:
    previous = levels.get(key)
    if previous is not None and time <= previous.time:
        return
    since = previous.since if previous is not None and time - previous.time <= GAP_SECONDS else math.nan
    if not value > gauge.rollback_above:
        since = math.nan
    elif math.isnan(since):
        since = time
    levels[key] = Level(*key, time=time, value=value, since=since)
