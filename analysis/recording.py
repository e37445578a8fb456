"""A recorded rollout as columns of samples, and what makes such a table right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from rollout.model import Track

WEIGHT = "weight"
"""The gauge that holds the configured canary share, 0-1, on canary rows."""
COUNTER_ENDINGS = ("_total", "_bucket", "_sum", "_count")
"""How the names of counters end; every other metric is a gauge."""

Numbers = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Labels:
    """A text column: each row's index into the words that occur."""

    codes: Codes
    words: tuple[str, ...]

    def where(self, passes: list[bool]) -> Mask:
        """Return which rows hold a word that passes, given whether each word does."""
        return np.array(passes, dtype=bool)[self.codes]


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

    def edges(self) -> Numbers:
        """Return each word of `le` as a number; NaN for the empty word, and for one that is no number."""
        return np.array([_number(word) for word in self.le.words])

    def frame(self) -> pd.DataFrame:
        """Return the samples as the tidy frame: time, track, pod, metric, le, value."""
        texts = {"track": self.track, "pod": self.pod, "metric": self.metric}
        columns = {name: pd.Categorical.from_codes(each.codes, pd.Index(each.words)) for name, each in texts.items()}
        return pd.DataFrame({"time": self.time, **columns, "le": self.edges()[self.le.codes], "value": self.value})


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row of a table that is not right, counted from 0, and why."""

    row: int
    message: str


def first_fault(trace: Trace) -> Fault | None:
    """Return the first thing that is wrong with a trace, or None."""
    found = [Fault(int(wrong.argmax()), message) for wrong, message in _wrong(trace) if wrong.any()]
    fault = min(found, key=lambda fault: fault.row, default=None)
    return Fault(fault.row, fault.message.format(**_shown(trace, fault.row))) if fault else None


def _wrong(trace: Trace) -> Iterator[tuple[Mask, str]]:
    """Yield, for each rule, which rows break it, and what to say of the first of them."""
    yield ~np.isfinite(trace.time), "timestamp is {time}, allowed: seconds as a number"
    unsorted = np.append(False, np.diff(trace.time) < 0)
    yield unsorted, "timestamp {time} comes after {previous}, allowed: rows in order of time"
    known = [word in set(Track) for word in trace.track.words]
    yield ~trace.track.where(known), "track is '{track}', allowed: " + ", ".join(Track)
    yield trace.metric.where([word == "" for word in trace.metric.words]), "metric is empty, allowed: a name"
    yield from _wrong_values(trace)
    yield from _wrong_edges(trace)
    yield _repeated(trace), "a second row for {time} {track} '{pod}' {metric} '{le}', allowed: one a sample"


def _wrong_values(trace: Trace) -> Iterator[tuple[Mask, str]]:
    yield ~np.isfinite(trace.value), "value is {value}, allowed: a finite number"
    counter = trace.metric.where([word.endswith(COUNTER_ENDINGS) for word in trace.metric.words])
    yield counter & (trace.value < 0), "{metric} is {value}, allowed: counters of 0 or more"
    weight = trace.metric.where([word == WEIGHT for word in trace.metric.words])
    yield weight & ~((trace.value >= 0) & (trace.value <= 1)), "weight is {value}, allowed: a share from 0 to 1"


def _wrong_edges(trace: Trace) -> Iterator[tuple[Mask, str]]:
    bucket = trace.metric.where([word.endswith("_bucket") for word in trace.metric.words])
    yield bucket & ~(trace.edges() > 0)[trace.le.codes], "le is '{le}', allowed: an upper edge above 0, or +Inf"
    empty = trace.le.where([word == "" for word in trace.le.words])
    yield ~bucket & ~empty, "le is '{le}' on {metric}, allowed: edges on buckets only"


def _repeated(trace: Trace) -> Mask:
    """Return which rows say a second time what an earlier row of the same moment said."""
    moment = np.cumsum(np.append(0, np.diff(trace.time) != 0))
    key = moment * len(trace.track.words) + trace.track.codes
    key = key * len(trace.pod.words) + trace.pod.codes
    key = key * len(trace.metric.words) + trace.metric.codes
    key = key * len(trace.le.words) + _same_edges(trace)[trace.le.codes]
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


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _shown(trace: Trace, row: int) -> dict[str, object]:
    texts = {"track": trace.track, "pod": trace.pod, "metric": trace.metric, "le": trace.le}
    numbers = {"time": trace.time[row], "previous": trace.time[max(row - 1, 0)], "value": trace.value[row]}
    return {name: each.words[each.codes[row]] for name, each in texts.items()} | {
        name: f"{number:.12g}" for name, number in numbers.items()
    }
