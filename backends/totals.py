"""Totals over response codes and gateways: the samples of many series, as the one tidy frame.

The samples are added up as a matrix, one row a time and one column a counter of one gateway: that costs a few array
operations however many series there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

COLUMNS: Final = ["time", "track", "pod", "metric", "le", "value"]
NO_EDGE: Final = np.nan
"""The edge of a counter that is no bucket: this very object, as only then NaN is equal to itself within a tuple."""

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


class Counter(NamedTuple):
    """What is counted: the frame has one value of it at a time."""

    track: str
    pod: str
    metric: str
    le: float = NO_EDGE


@dataclass(frozen=True, slots=True)
class Series:
    """The samples of one of a gateway's series that add up to a counter."""

    counter: Counter
    gateway: str
    samples: Sequence[tuple[float, str]]
    """Seconds since the epoch, and a number; NaN is no sample."""
    is_zero: bool = False
    """Whether nothing of it counts: it only says when there was a scrape."""


def totals(series: Sequence[Series]) -> pd.DataFrame:
    """Return one value a time and counter, in the order of `COLUMNS`.

    >>> ok = Series(Counter("stable", "", "requests_total"), "a", [(1.0, "5"), (2.0, "7")])
    >>> failed = Series(ok.counter, "a", [(2.0, "1")])
    >>> totals([ok, failed])[["time", "value"]].to_numpy().tolist()
    [[1.0, 5.0], [2.0, 8.0]]
    """
    columns = sorted({(one.counter, one.gateway) for one in series})
    times, values, seen = _added_up(series, columns)
    if len({columns[index][1] for index in np.flatnonzero(seen.any(axis=0))}) > 1:
        values, seen = _held(values, seen)
    firsts = {counter: index for index, (counter, _) in reversed(list(enumerate(columns)))}
    counters = sorted(firsts)
    starts = np.array([firsts[counter] for counter in counters], dtype=int)
    values, seen = np.add.reduceat(values, starts, axis=1), np.logical_or.reduceat(seen, starts, axis=1)
    return _frame(times, counters, values, seen)


def _added_up(series: Sequence[Series], columns: Sequence[Any]) -> tuple[Floats, Floats, Bools]:
    """Return the times, and at each of them the sum of each column's series and whether it has a sample."""
    place = {column: index for index, column in enumerate(columns)}
    sizes = np.array([len(one.samples) for one in series], dtype=int)
    column = np.repeat(np.array([place[one.counter, one.gateway] for one in series], dtype=int), sizes)
    is_zero = np.repeat(np.array([one.is_zero for one in series], dtype=bool), sizes)
    time = np.array([time for one in series for time, _ in one.samples], dtype=float)
    value = np.array([float(value) for one in series for _, value in one.samples], dtype=float)
    is_sample = ~np.isnan(value)
    value[is_zero] = 0.0
    times, line = np.unique(time[is_sample], return_inverse=True)
    shape = len(times), len(columns)
    cell, size = line * len(columns) + column[is_sample], len(times) * len(columns)
    sums: Floats = np.bincount(cell, value[is_sample], minlength=size).astype(float, copy=False)
    return times, sums.reshape(shape), np.bincount(cell, minlength=size).reshape(shape) > 0


def _held(values: Floats, seen: Bools) -> tuple[Floats, Bools]:
    """Return each column with its last value in between: gateways are scraped at moments of their own."""
    latest = np.maximum.accumulate(np.where(seen, np.arange(len(seen))[:, None], 0), axis=0)
    return np.take_along_axis(values, latest, axis=0), np.logical_or.accumulate(seen, axis=0)


def _frame(times: Floats, counters: Sequence[Counter], values: Floats, seen: Bools) -> pd.DataFrame:
    line, column = np.nonzero(seen)  # by time, then by counter
    texts = {
        name: pd.array([getattr(one, name) for one in counters], dtype="str").take(column)
        for name in ("track", "pod", "metric")
    }
    edges = np.array([one.le for one in counters], dtype=float)
    return pd.DataFrame({"time": times[line], **texts, "le": edges[column], "value": values[line, column]})
