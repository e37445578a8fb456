"""New samples of counters, each beside those of its series that came before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from analysis.scrapes.samples import SUM, Bools, Floats, Ints, Samples, Series

MOST, MOST_MS = 1e15, 1e19
"""What no counter of requests, or of milliseconds, can have reached."""
FASTEST, FASTEST_MS = 1e8, 1e12
"""By how much none can grow in a second."""

Sample = tuple[float, float, float]
"""A series' last sample: its time, its value, and the time of the one before, minus infinity where there is none."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples as they are read, (M,) each and ordered by series and time, and what each is held against."""

    column: Ints
    """Which series."""
    time: Floats
    value: Floats
    since: Floats
    """The time of the sample before it; minus infinity where there is none."""
    before: Floats
    """That sample's value; 0 where there is none."""
    since_two: Floats
    """The time of the sample before that one; minus infinity likewise."""

    def where(self, keep: Bools) -> Rows:
        """Return some of the rows."""
        return Rows(*(getattr(self, name)[keep] for name in self.__slots__))

    @property
    def is_first(self) -> Bools:
        """Which rows have no sample before them."""
        return np.isneginf(self.since)

    @property
    def growth(self) -> Floats:
        """By how much each grew; a fall is a reset."""
        return np.where(self.is_first, 0.0, np.where(self.value < self.before, self.value, self.value - self.before))


def _limits(all_series: tuple[Series, ...], count: float, ms: float) -> Floats:
    return np.array([ms if series.metric == SUM else count for series in all_series])


def new_rows(
    last: Mapping[Series, Sample], moments: tuple[float, ...], samples: Samples
) -> tuple[Rows, Floats, Floats, Floats]:
    """Return the rows that are new and can be true, and each series' (S,) last sample before them.

    Parameters
    ----------
    last
        The last sample of each series that was read before; what is not newer is left out.
    moments
        When another process last read each target: the sample of such a moment is what a series grows from.
    samples
        Counters, in which anything may stand.
    """
    all_series, times, values = samples.series, samples.times, samples.values
    time, value, before = (
        np.full(len(all_series), -np.inf),
        np.zeros(len(all_series)),
        np.full(len(all_series), -np.inf),
    )
    for index, series in enumerate(all_series):
        if (sample := last.get(series)) is not None:
            time[index], value[index], before[index] = sample
    column = samples.columns
    can_be = (values >= 0) & (values < _limits(all_series, MOST, MOST_MS)[column])
    counted = can_be & np.isneginf(time)[column] & (times <= max(moments, default=-np.inf))
    if counted.any():
        # Thanos may now give the other replica's samples: those are not what was read.
        at = np.flatnonzero(counted & np.isin(times, moments))
        ends = at[np.append(column[at][1:] != column[at][:-1], True)[: len(at)]]
        time[column[ends]], value[column[ends]] = times[ends], values[ends]
        can_be &= ~counted
    keep = can_be & (times > time[column])
    column, times, values = column[keep], times[keep], values[keep]
    fastest = _limits(all_series, FASTEST, FASTEST_MS)
    while True:
        rows = _with_previous(column, times, values, time, value, before)
        jumps = rows.growth > fastest[column] * np.maximum(np.where(rows.is_first, 1.0, times - rows.since), 1.0)
        if not jumps.any():
            return rows, time, value, before
        column, times, values = column[~jumps], times[~jumps], values[~jumps]


def _with_previous(column: Ints, times: Floats, values: Floats, time: Floats, value: Floats, before: Floats) -> Rows:
    """Return rows held against the sample before, or against the last one known of their series (S,)."""
    is_first = np.append(True, column[1:] != column[:-1])[: len(column)]
    since = np.where(is_first, time[column], np.append(-np.inf, times)[:-1])
    previous = np.where(is_first, value[column], np.append(0.0, values)[:-1])
    two = np.where(is_first, before[column], np.append(-np.inf, since)[:-1])
    return Rows(column, times, values, since, previous, two)


def latest(rows: Rows, target: Ints, time: Floats) -> Floats:
    """Return the latest of some times among the rows of each row's target and moment (M,)."""
    if not len(time):
        return time
    order = np.lexsort((rows.time, target))
    starts = np.append(True, (np.diff(rows.time[order]) != 0) | (np.diff(target[order]) != 0))
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.cumsum(starts) - 1
    newest = np.maximum.reduceat(time[order], np.flatnonzero(starts))
    return np.asarray(newest[place])
