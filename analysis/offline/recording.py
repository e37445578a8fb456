"""A recorded rollout as columns of samples, and what makes such a table right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.samples import BUCKET, COUNT, ERRORS, NO_EDGE, REQUESTS, SUM, WEIGHT, Samples, Series
from rollout.model import Track
from rollout.selectors import metric_name

COLUMNS = ("timestamp", "track", "pod", "metric", "le", "value")
"""The columns of a recording; a further one, `answer`, may say how requests were answered."""
COUNTER_ENDINGS = ("_total", "_bucket", "_sum", "_count")
"""How the names of counters end; every other metric is a gauge."""
LATEST = 1e11
"""Seconds that no recording reaches, as Unix time the year 5138; of milliseconds so many were over in 1973."""

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Labels:
    """A text column: each row's index into the texts that occur, as pandas' categorical has it."""

    codes: Codes
    categories: tuple[str, ...]

    def where(self, passes: Callable[[str], bool]) -> Mask:
        """Return which rows hold a text that passes."""
        return np.array([passes(category) for category in self.categories], dtype=bool)[self.codes]


@dataclass(frozen=True, slots=True)
class Trace:
    """The samples of one recorded rollout, in order of time; every column has one entry a sample."""

    name: str
    time: Numbers
    """Seconds; 0 is when the canary gets traffic, before it is history."""
    track: Labels
    pod: Labels
    metric: Labels
    le: Labels
    value: Numbers
    answer: Labels
    """How the requests of a row were answered; empty where the recording does not say."""

    def edges(self) -> Numbers:
        """Return each category of `le` as a number; NaN for the empty one, and for one that is no number."""
        return np.array([_to_number(category) for category in self.le.categories])

    def samples(self) -> Samples:
        """Return the samples; a pod's further counters are taken to be scraped apart from its requests."""
        key = self._series()
        order = np.argsort(key, kind="stable")  # rows are in order of time, and stay so within a series
        starts = np.flatnonzero(np.append(True, np.diff(key[order]) != 0))
        return Samples(
            series=tuple(self._named(int(row)) for row in order[starts]),
            starts=np.append(starts, len(key)),
            times=self.time[order].astype(np.float64),
            values=self.value[order].astype(np.float64),
        )

    def _series(self) -> npt.NDArray[np.int64]:
        """Return a number for each row that is the same for all rows of a series."""
        key = self.track.codes.astype(np.int64)
        for codes, categories in ((self.pod.codes, self.pod.categories), (self.metric.codes, self.metric.categories)):
            key = key * len(categories) + codes
        key = key * len(self.le.categories) + _same_edges(self)[self.le.codes]
        return key * len(self.answer.categories) + self.answer.codes

    def _named(self, row: int) -> Series:
        track, pod, metric, answer = (
            each.categories[each.codes[row]] for each in (self.track, self.pod, self.metric, self.answer)
        )
        edge = float(self.edges()[self.le.codes[row]])
        target = f"{track}/{pod}" if metric in _MESH else f"{track}/{pod}/own"
        return Series(track, pod, metric, NO_EDGE if np.isnan(edge) else edge, answer, target, target)


_MESH = (REQUESTS, ERRORS, BUCKET, SUM, COUNT)


def table_of(samples: Samples) -> pd.DataFrame:
    """Return samples as the table of a recording, in order of time.

    Columns: `timestamp` (seconds), `track`, `pod`, `metric`, `le`, `value`, `answer`. A recording knows one gateway:
    its counters hold what all proxies grew by.
    """
    is_counter = [metric_name(series.metric).endswith(COUNTER_ENDINGS) for series in samples.series]
    counters, gauges = samples.where(is_counter), samples.where(not counts for counts in is_counter)
    growth, _ = increase(CounterState(), counters)
    counted = _keys(counters).take(growth.column).assign(timestamp=growth.time, value=growth.amount)
    names = list(_keys(counters).columns)
    counted = counted.groupby([*names, "timestamp"], sort=True)["value"].sum().reset_index()
    counted = counted.assign(value=counted.groupby(names)["value"].cumsum())
    measured = _keys(gauges).take(gauges.columns).assign(timestamp=gauges.times, value=gauges.values)
    table = pd.concat([counted, measured.groupby([*names, "timestamp"])["value"].sum().reset_index()])
    return table.sort_values("timestamp", kind="stable", ignore_index=True)[[*COLUMNS, "answer"]]


def _keys(samples: Samples) -> pd.DataFrame:
    rows = [(series.track, series.pod, series.metric, _edge(series.le), series.answer) for series in samples.series]
    return pd.DataFrame(rows, columns=["track", "pod", "metric", "le", "answer"])


def _edge(le: float) -> str:
    return "" if le == NO_EDGE else "+Inf" if le == np.inf else f"{le:.12g}"


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row of a table that is not right, counted from 0, and why."""

    row: int
    message: str


def first_fault(trace: Trace) -> Fault | None:
    """Return the first thing that is wrong with a trace, or None."""
    faults = [Fault(int(wrong.argmax()), message) for wrong, message in _wrong(trace) if wrong.any()]
    fault = min(faults, key=lambda fault: fault.row, default=None)
    return Fault(fault.row, fault.message.format(**_values_at(trace, fault.row))) if fault else None


def _wrong(trace: Trace) -> Iterator[tuple[Mask, str]]:
    """Yield, for each rule, which rows break it, and what to say of the first of them."""
    yield ~np.isfinite(trace.time), "timestamp is {time}, allowed: seconds as a number"
    yield np.abs(trace.time) >= LATEST, "timestamp is {time}, allowed: seconds; these look like milliseconds"
    unsorted = np.append(False, np.diff(trace.time) < 0)
    yield unsorted, "timestamp {time} comes after {previous}, allowed: rows in order of time"
    yield ~trace.track.where(lambda track: track in set(Track)), "track is '{track}', allowed: " + ", ".join(Track)
    yield (
        trace.metric.where(lambda name: name == ""),
        "metric is empty, allowed: a name",
    )
    yield from _wrong_values(trace)
    yield from _wrong_edges(trace)
    yield _repeated(trace), "a second row for {time} {track} '{pod}' {metric} '{le}', allowed: one a sample"


def _wrong_values(trace: Trace) -> Iterator[tuple[Mask, str]]:
    yield ~np.isfinite(trace.value), "value is {value}, allowed: a finite number"
    counter = trace.metric.where(lambda name: metric_name(name).endswith(COUNTER_ENDINGS))
    yield counter & (trace.value < 0), "{metric} is {value}, allowed: counters of 0 or more"
    weight = trace.metric.where(lambda name: name == WEIGHT)
    yield weight & ~((trace.value >= 0) & (trace.value <= 1)), "weight is {value}, allowed: a share from 0 to 1"


def _wrong_edges(trace: Trace) -> Iterator[tuple[Mask, str]]:
    bucket = trace.metric.where(lambda name: name.endswith("_bucket"))
    yield bucket & ~(trace.edges() > 0)[trace.le.codes], "le is '{le}', allowed: an upper edge above 0, or +Inf"
    empty = trace.le.where(lambda edge: edge == "")
    yield ~bucket & ~empty, "le is '{le}' on {metric}, allowed: edges on buckets only"


def _repeated(trace: Trace) -> Mask:
    """Return which rows say a second time what an earlier row of the same moment said."""
    moment = np.cumsum(np.append(0, np.diff(trace.time) != 0))
    series = trace._series()
    key = moment * (series.max(initial=0) + 1) + series
    ordered = np.sort(key)
    if (ordered[1:] != ordered[:-1]).all():
        return np.zeros(len(key), dtype=bool)
    order = np.argsort(key, kind="stable")
    repeated = np.zeros(len(key), dtype=bool)
    repeated[order[1:]] = key[order[1:]] == key[order[:-1]]
    return repeated


def _same_edges(trace: Trace) -> Codes:
    """Return one code for all spellings of an edge: 100 and 100.0 are the same."""
    return np.unique(trace.edges(), return_inverse=True, equal_nan=True)[1].astype(np.int32)


def _to_number(category: str) -> float:
    try:
        return float(category)
    except ValueError:
        return float("nan")


def _values_at(trace: Trace, row: int) -> dict[str, object]:
    texts = {"track": trace.track, "pod": trace.pod, "metric": trace.metric, "le": trace.le, "answer": trace.answer}
    numbers = {"time": trace.time[row], "previous": trace.time[max(row - 1, 0)], "value": trace.value[row]}
    return {name: each.categories[each.codes[row]] for name, each in texts.items()} | {
        name: f"{number:.12g}" for name, number in numbers.items()
    }
