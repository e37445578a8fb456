"""Raw counter samples: one series of one proxy each, as they were scraped.

Proxies come, leave and restart one by one, so that nothing may be added up before its growth is known
(`analysis.scrapes.increase`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

REQUESTS, ERRORS = "requests_total", "errors_total"
BUCKET, SUM, COUNT = "duration_ms_bucket", "duration_ms_sum", "duration_ms_count"
WEIGHT = "weight"
"""A recording's gauge of the configured canary share, 0-1, on canary rows."""
NO_EDGE: Final = -1.0
"""The edge of what is no bucket."""
UNKNOWN = "unknown"
"""The track of requests that found no pod."""
_NOTHING: Final = np.zeros(0)


class Series(NamedTuple):
    """What names a counter, or a gauge, of one proxy."""

    track: str
    pod: str
    """Whose own count it is; empty for the gateway's view of the whole track."""
    metric: str
    le: float = NO_EDGE
    """A bucket's upper edge, in ms."""
    answer: str = ""
    """How the requests were answered, as `rollout.answers` writes it; empty where the source does not say."""
    target: str = ""
    """What is scraped in one go: a series that is new on a known target began at 0."""
    proxy: str = ""
    """Whose counters they are: two targets of one proxy counted the same requests."""
    labels: str = ""
    """Its own labels, apart from its target's, where what is above does not tell it from every other series."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Series by series, in order of time; nothing in it changes."""

    series: tuple[Series, ...] = ()
    starts: Ints = field(default_factory=lambda: np.zeros(1, dtype=np.int64))
    """(S + 1,) where each series begins in the next two, and where the last one ends."""
    times: Floats = field(default_factory=lambda: np.zeros(0))
    """(M,) seconds; ascending within a series."""
    values: Floats = field(default_factory=lambda: np.zeros(0))
    """(M,)"""
    started: Mapping[str, float] = field(default_factory=dict)
    """When the process behind a target started, in the seconds of `times`, as far as that is known."""
    since: float = -np.inf
    """After which moment samples were asked for: what is older and not here may be there all the same."""
    gap: float = -np.inf
    """Growth across this moment is not counted: something else counted it."""
    warnings: tuple[str, ...] = ()
    """What the source said about its answer, such as that it is partial."""

    def __post_init__(self) -> None:
        for array in (self.starts, self.times, self.values):
            array.flags.writeable = False

    @classmethod
    def of(
        cls, parts: Iterable[tuple[Series, Sequence[float] | Floats, Sequence[float] | Floats]], **more: object
    ) -> Samples:
        """Return the samples of several series, each given with its times and values in any order.

        The same series may come more than once; of several samples of one moment the last one counts.
        """
        columns: dict[Series, list[tuple[Sequence[float] | Floats, Sequence[float] | Floats]]] = {}
        for series, times, values in parts:
            columns.setdefault(series, []).append((times, values))
        pieces = [pieces[0] if len(pieces) == 1 else _joined(pieces) for pieces in columns.values()]
        starts = np.cumsum([0, *(len(times) for times, _ in pieces)])
        times = np.concatenate([_NOTHING, *(times for times, _ in pieces)])
        values = np.concatenate([_NOTHING, *(values for _, values in pieces)])
        ascends = np.diff(times, prepend=-np.inf) > 0
        ascends[starts[:-1][starts[:-1] < len(times)]] = True
        if not ascends.all():
            ordered = [_in_order(*piece) for piece in pieces]
            return cls.of(((series, *piece) for series, piece in zip(columns, ordered, strict=True)), **more)
        return cls(tuple(columns), starts, times, values, **more)  # type: ignore[arg-type]

    @classmethod
    def of_rows(cls, rows: Iterable[tuple[float, Series, float]]) -> Samples:
        """Return the samples of rows of time, series and value, in any order."""
        gathered: dict[Series, tuple[list[float], list[float]]] = {}
        for time, series, value in rows:
            times, values = gathered.setdefault(series, ([], []))
            times.append(time)
            values.append(value)
        return cls.of((series, times, values) for series, (times, values) in gathered.items())

    def __len__(self) -> int:
        return len(self.times)

    @property
    def columns(self) -> Ints:
        """(M,) which series each sample belongs to."""
        return np.repeat(np.arange(len(self.series)), np.diff(self.starts))

    @property
    def latest(self) -> float:
        """The newest sample's time; minus infinity where there is none."""
        return float(self.times.max()) if len(self.times) else -np.inf

    def where(self, keep: Iterable[bool]) -> Samples:
        """Return the series that are kept (S,)."""
        selected = np.fromiter(keep, dtype=bool, count=len(self.series))
        return self._cut(selected, selected[self.columns])

    def between(self, after: float, until: float = np.inf) -> Samples:
        """Return the samples after a moment, up to another one and with it."""
        return self._cut(np.ones(len(self.series), dtype=bool), (self.times > after) & (self.times <= until))

    def shifted(self, seconds: float) -> Samples:
        """Return the samples with all their times later by so much."""
        return replace(
            self,
            times=self.times + seconds,
            since=self.since + seconds,
            gap=self.gap + seconds,
            started={target: at + seconds for target, at in self.started.items()},
        )

    def _cut(self, series: Bools, samples: Bools) -> Samples:
        if samples.all() and series.all():
            return self
        sizes = np.bincount(self.columns[samples], minlength=len(self.series))
        selected = series & (sizes > 0)
        return replace(
            self,
            series=tuple(name for name, keep in zip(self.series, selected.tolist(), strict=True) if keep),
            starts=np.cumsum(np.append(0, sizes[selected])),
            times=self.times[samples],
            values=self.values[samples],
        )

    def each(self) -> Iterator[tuple[Series, Floats, Floats]]:
        """Yield each series with its times and values."""
        for index, series in enumerate(self.series):
            part = slice(self.starts[index], self.starts[index + 1])
            yield series, self.times[part], self.values[part]


def joined(parts: Sequence[Samples]) -> Samples:
    """Return samples in one piece; of a sample that is in several parts one counts."""
    if len(parts) == 1:
        return parts[0]
    return Samples.of(
        (column for part in parts for column in part.each()),
        started={target: at for part in parts for target, at in part.started.items()},
        since=min((part.since for part in parts), default=-np.inf),
        gap=max((part.gap for part in parts), default=-np.inf),
        warnings=tuple(dict.fromkeys(warning for part in parts for warning in part.warnings)),
    )


def _joined(pieces: Sequence[tuple[Sequence[float] | Floats, Sequence[float] | Floats]]) -> tuple[Floats, Floats]:
    return np.concatenate([times for times, _ in pieces]), np.concatenate([values for _, values in pieces])


def _in_order(times: Sequence[float] | Floats, values: Sequence[float] | Floats) -> tuple[Floats, Floats]:
    times, values = np.asarray(times, dtype=np.float64), np.asarray(values, dtype=np.float64)
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    last = np.append(np.diff(times) > 0, True)[: len(times)]
    return times[last], values[last]


class Metrics(Protocol):
    """Where samples come from."""

    def read(self, since: datetime) -> Samples:
        """Return every raw sample since a moment; times are Unix times.

        Raises
        ------
        UnavailableError
            When the source does not answer.
        NoSamplesError
            When it answers and has none.
        """
        ...

    def read_range(self, since: datetime, until: datetime) -> Samples:
        """Return every raw sample after `since` up to `until`; raises as `read` does."""
        ...
