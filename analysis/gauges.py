"""Gauges with a limit, such as memory: deterministic, and patient.

A pod breaks a limit when each of its samples in the plan's window is above it: one high sample says nothing, and a
gap in the samples begins the window anew. It condemns the canary only while no pod of another track does the same.
Counters (`..._total`) are read as their increase a second, so that processor time is a gauge too.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import pandas as pd

from rollout.criteria import GaugeCriterion
from rollout.model import Track

GAP_SECONDS = 60.0
"""Without a sample for so long a pod's window begins anew, and the pod is forgotten."""
_COUNTER = "_total"
_Key = tuple[str, str, str]
"""Name of the gauge, track, pod."""


@dataclass(frozen=True, slots=True)
class Level:
    """One pod's gauge as far as it was read."""

    gauge: str
    track: str
    pod: str
    time: float
    """Of the last sample."""
    sampled: float
    """What was sampled: of a counter the count, else the value."""
    value: float
    """NaN before a counter's second sample."""
    since: float
    """First sample of the unbroken run above the limit; NaN while it is not above."""


@dataclass(frozen=True, slots=True)
class Watch:
    """All gauges of all pods, and the first breach."""

    levels: tuple[Level, ...] = ()
    breach: Level | None = None
    """The canary's first, as it was then: once condemned, condemned."""


def watched(watch: Watch, gauges: Sequence[GaugeCriterion], frame: pd.DataFrame) -> Iterator[tuple[float, Watch]]:
    """Yield what is known after each time at which the tidy frame has a new sample of a gauge.

    Parameters
    ----------
    watch
        What was known before; samples that were seen then are dropped.
    gauges
        The plan's.
    frame
        The tidy frame, in any order of rows.
    """
    by_metric = {gauge.metric: [each for each in gauges if each.metric == gauge.metric] for gauge in gauges}
    rows = frame[frame["metric"].isin(list(by_metric)).to_numpy()].sort_values("time", kind="stable")
    known = {(level.gauge, level.track, level.pod): level for level in watch.levels}
    breach = watch.breach
    for time, now in rows.groupby("time", sort=True):
        for metric, track, pod, value in zip(now["metric"], now["track"], now["pod"], now["value"], strict=True):
            for gauge in by_metric[str(metric)]:
                _take(known, gauge, (gauge.name, str(track), str(pod)), float(str(time)), float(value))
        known = {key: level for key, level in known.items() if float(str(time)) - level.time <= GAP_SECONDS}
        breach = breach or next(breaches(gauges, known.values()), None)
        yield float(str(time)), Watch(tuple(known.values()), breach)


def observed(watch: Watch, gauges: Sequence[GaugeCriterion], frame: pd.DataFrame) -> Watch:
    """Return what is known after all of the frame's new samples; see `watched`."""
    for _, later in watched(watch, gauges, frame) if gauges else ():
        watch = later
    return watch


def breaches(gauges: Sequence[GaugeCriterion], levels: Iterable[Level]) -> Iterator[Level]:
    """Yield the canary pods that break a limit which no other track's pod breaks."""
    there = tuple(levels)
    for gauge in gauges:
        broken = [level for level in there if level.gauge == gauge.name and is_broken(gauge, level)]
        if all(level.track == Track.CANARY for level in broken):
            yield from broken


def canary_levels(watch: Watch, gauge: GaugeCriterion) -> list[Level]:
    """Return how a gauge stands on each of the canary's pods."""
    levels = (level for level in watch.levels if level.gauge == gauge.name and level.track == Track.CANARY)
    return [level for level in levels if not math.isnan(level.value)]


def is_below(gauges: Sequence[GaugeCriterion], watch: Watch) -> bool:
    """Return whether every gauge was read on the canary, and none of its pods is above a limit."""
    read = [(gauge, canary_levels(watch, gauge)) for gauge in gauges]
    return all(levels and all(level.value <= gauge.rollback_above for level in levels) for gauge, levels in read)


def is_broken(gauge: GaugeCriterion, level: Level) -> bool:
    """Return whether every sample of a pod in the window was above the limit."""
    return level.time - level.since >= gauge.window.total_seconds()


def _take(known: dict[_Key, Level], gauge: GaugeCriterion, key: _Key, time: float, sample: float) -> None:
    before = known.get(key)
    if math.isnan(sample) or (before is not None and time <= before.time):
        return
    value = sample
    if gauge.metric.endswith(_COUNTER):
        value = math.nan if before is None else _increase(before.sampled, sample) / (time - before.time)
    since = before.since if before is not None and time - before.time <= GAP_SECONDS else math.nan
    if not value > gauge.rollback_above:
        since = math.nan
    elif math.isnan(since):
        since = time
    known[key] = Level(*key, time=time, sampled=sample, value=value, since=since)


def _increase(before: float, sample: float) -> float:
    return sample - before if sample >= before else sample
