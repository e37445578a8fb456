"""New samples of counters, each beside those of its series that came before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis.scrapes.samples import SUM, Bools, Floats, Ints, Samples, Series

MOST, MOST_MS = 1e15, 1e19
"""What no counter of requests, or of milliseconds, can have reached."""
FASTEST, FASTEST_MS = 1e8, 1e12
"""By how much none can grow in a second."""

SCRAPE_TIMEOUT = 10.0
"""Seconds that a scrape may take, Prometheus' default: by so much samples of two replicas can be in the wrong order."""


class Sample(NamedTuple):
    """What is known of a series; of no sample at all minus infinity and 0. `Last` has one of each a series."""

    time: float = -np.inf
    """Of its last sample."""
    value: float = 0.0
    before: float = -np.inf
    """The time of the sample before that one."""
    value_before: float = 0.0
    high: float = 0.0
    """What the next sample is counted from: a step back leaves it as it was."""
    high_time: float = -np.inf


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
    before_two: Floats
    """That sample's value."""

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

    @property
    def may_be_step_back(self) -> Bools:
        """Which rows fell, and need not have been reset: two replicas' samples may be in the wrong order.

        A querier that makes one series of an HA pair's two may give a late scrape of one before a punctual one of the
        other. A scrape is late by its timeout at most. The sample before the late one was read before this one; where
        there is none since a reset, this one's own pace since then says how much the late one may have counted more.
        """
        seconds = self.time - self.since
        fall, at_its_pace = self.before - self.value, self.value * SCRAPE_TIMEOUT / seconds
        is_known = ~np.isneginf(self.since_two) & (self.before >= self.before_two)
        is_explained = np.where(is_known, self.value >= self.before_two, fall <= at_its_pace)
        return np.asarray((fall > 0) & (seconds < SCRAPE_TIMEOUT) & is_explained)


@dataclass(frozen=True, slots=True)
class Last:
    """Each series' last sample, (S,) each; see `Sample`."""

    time: Floats
    value: Floats
    before: Floats
    value_before: Floats
    high: Floats
    high_time: Floats

    @classmethod
    def of_samples(cls, samples: Iterable[Sample]) -> Last:
        """Return the columns of some samples."""
        return cls(*np.array([Sample(), *samples], dtype=np.float64)[1:].T.copy())

    def after(self, rows: Rows) -> Last:
        """Return the last samples after some rows."""
        ends = _ends(rows.column)
        columns = [getattr(self, name).copy() for name in self.__slots__]
        newest = (rows.time, rows.value, rows.since, rows.before, rows.value, rows.time)
        for column, values in zip(columns, newest, strict=True):
            column[rows.column[ends]] = values[ends]
        return Last(*columns)

    def samples(self) -> Iterator[Sample]:
        """Yield the last sample of each series."""
        yield from map(Sample, *(getattr(self, name).tolist() for name in self.__slots__))


def grown(rows: Rows, last: Last, is_reset: Bools) -> tuple[Floats, Last]:
    """Return by how much each row's counter grew (M,), and each series' last sample after them.

    A step back adds nothing, nor does what only makes up for it. What is lower for longer than that was reset.

    Parameters
    ----------
    rows, last
        New samples, and the last ones before them.
    is_reset
        (M,) which rows are known to be the first after a reset.
    """
    growth, may_be = np.where(is_reset, rows.value, rows.growth), rows.may_be_step_back
    after, stepped = last.after(rows), np.flatnonzero(last.high > last.value)
    for column in np.union1d(rows.column[may_be & ~is_reset], stepped).tolist():
        high, high_time = last.high[column], last.high_time[column]
        for row in np.flatnonzero(rows.column == column).tolist():
            value, time = rows.value[row], rows.time[row]
            is_soon = time - high_time < SCRAPE_TIMEOUT and (may_be[row] or value >= rows.before[row])
            if value < high and is_soon and not is_reset[row]:
                growth[row] = 0.0
                continue
            if not rows.is_first[row]:
                growth[row] = value if value < high or is_reset[row] else value - high
            high, high_time = value, time
        after.high[column], after.high_time[column] = high, high_time
    return growth, after


def _ends(column: Ints) -> Bools:
    """Return which rows are the last of their series."""
    return np.append(column[1:] != column[:-1], True)[: len(column)]


def _limits(all_series: tuple[Series, ...], count: float, ms: float) -> Floats:
    return np.array([ms if series.metric == SUM else count for series in all_series])


def new_rows(last: Mapping[Series, Sample], moments: tuple[float, ...], samples: Samples) -> tuple[Rows, Last]:
    """Return the rows that are new and can be true, and each series' last sample before them.

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
    known = Last.of_samples(last.get(series, Sample()) for series in all_series)
    column = samples.columns
    can_be = (values >= 0) & (values < _limits(all_series, MOST, MOST_MS)[column])
    counted = can_be & np.isneginf(known.time)[column] & (times <= max(moments, default=-np.inf))
    if counted.any():
        # Thanos may now give the other replica's samples: those are not what was read.
        at = np.flatnonzero(counted & np.isin(times, moments))
        ends = at[_ends(column[at])]
        at_moment = column[ends]
        known.time[at_moment], known.value[at_moment] = times[ends], values[ends]
        known.high[at_moment], known.high_time[at_moment] = values[ends], times[ends]
        can_be &= ~counted
    keep = can_be & (times > known.time[column])
    column, times, values = column[keep], times[keep], values[keep]
    fastest = _limits(all_series, FASTEST, FASTEST_MS)
    while True:
        rows = _with_previous(column, times, values, known)
        jumps = rows.growth > fastest[column] * np.maximum(np.where(rows.is_first, 1.0, times - rows.since), 1.0)
        if not jumps.any():
            return rows, known
        column, times, values = column[~jumps], times[~jumps], values[~jumps]


def _with_previous(column: Ints, times: Floats, values: Floats, last: Last) -> Rows:
    """Return rows held against the two samples before, or against the last ones known of their series."""
    is_first = np.append(True, column[1:] != column[:-1])[: len(column)]

    def shifted(known: Floats, rows: Floats) -> Floats:
        return np.where(is_first, known[column], np.append(0.0, rows)[:-1])

    since, before = shifted(last.time, times), shifted(last.value, values)
    return Rows(column, times, values, since, before, shifted(last.before, since), shifted(last.value_before, before))


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
