"""Raw counter samples, and what they counted from scrape to scrape.

The tidy frame has the columns `time` (unix seconds), `track`, `pod` (empty for the gateway's own count), `metric`,
`le` (upper bucket edge in ms, NaN where there is none) and `value`. Rows with an empty pod are the verdict's; rows
with a pod counted the same requests once more and serve dispersion only, unless there are no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from rollout.model import Track

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Series = tuple[str, str, str, float]
"""Track, pod, metric and bucket edge: what names a counter."""

CANARY, STABLE = 0, 1
"""The rows of every table of increments."""
REQUESTS, ERRORS = "requests_total", "errors_total"
BUCKET, SUM, COUNT = "duration_ms_bucket", "duration_ms_sum", "duration_ms_count"
PATIENCE = 60.0
"""Seconds that one track's scrapes wait for the other's; after that the other is taken to be gone."""
_CHUNK = 200_000
"""Rows that are looked at together: enough to be fast, little enough to stay near the processor."""
_NO_EDGE = -1.0


class Metrics(Protocol):
    """Where samples come from."""

    def read(self, since: datetime) -> pd.DataFrame:
        """Return every raw sample after `since` as the tidy frame.

        Raises
        ------
        UnavailableError
            When the source does not answer.
        NoSamplesError
            When it answers and has none.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scrapes:
    """What was counted from scrape to scrape; row 0 of each table is the canary, row 1 stable.

    `time` (T,) unix seconds; `span` (T,) seconds that each covers; `requests`, `errors`, `sums` (T, 2), the last in
    ms; `latency` (T, 2, B) requests a bucket; `pods` (T, 2, P, 2) errors and requests of each pod; `extra`
    (T, 2, K) further counters that were asked for; `edges` (B,) the buckets' upper edges in ms, the last infinite.
    """

    time: Floats
    span: Floats
    requests: Floats
    errors: Floats
    sums: Floats
    latency: Floats
    pods: Floats
    extra: Floats
    edges: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, part: slice) -> Scrapes:
        """Return some of the scrapes."""
        return replace(self, **{name: getattr(self, name)[part] for name in (*_TIMES, *_COUNTS)})


_TIMES = ("time", "span")
_COUNTS = ("requests", "errors", "sums", "latency", "pods", "extra")


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the samples have been read: what makes reading on the same as reading all at once."""

    time: float = -np.inf
    """The last sample's time."""
    counted: float = np.nan
    """The end of the last scrape that was given out; NaN before the first sample."""
    gateway: bool = False
    """Whether the gateway's own rows have been seen."""
    seen: tuple[float, float] = (-np.inf, -np.inf)
    """When canary and stable last had a row."""
    alone: float = -np.inf
    """When a scrape of one track was last given out without waiting for the other's."""
    last: dict[Series, float] = field(default_factory=dict)
    """Each counter's last value."""
    waiting: Scrapes | None = None
    """Increments that wait for a scrape that both tracks have."""
    edges: tuple[float, ...] = ()
    pods: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """The names behind the pod columns, by track."""


def read_scrapes(
    cursor: Cursor, frame: pd.DataFrame, *, against: Track = Track.STABLE, extra: tuple[str, ...] = ()
) -> tuple[Scrapes, Cursor]:
    """Return what the frame's new samples counted, and how far has been read.

    Increments are taken a series at a time: a fall is a reset, and counts as the new value. A series' first sample
    is its baseline, unless its track and pod were scraped before: then it counts from zero. A scrape that only one
    track has waits for the next one that both have, as misaligned increments would turn a common outage into
    evidence.

    Parameters
    ----------
    cursor
        Where reading stands; samples up to its time are dropped.
    frame
        The tidy frame, in any order of rows.
    against
        The track that the canary is compared with; it fills the rows called stable.
    extra
        Further counters to read.
    """
    parts = []
    for table in _tables(frame, cursor.time, {str(Track.CANARY): CANARY, str(against): STABLE}, extra):
        part, cursor = _read(cursor, table, extra)
        parts.append(part)
    if not parts:
        return _nothing(cursor.edges, tuple(map(len, cursor.pods)), len(extra)), cursor
    return _joined(parts), cursor


def observed_share(frame: pd.DataFrame) -> tuple[int, int]:
    """Return how many requests the frame counted: the canary's, and all of them.

    >>> rates = (("stable", 8), ("canary", 2))
    >>> rows = [(t, track, "", REQUESTS, np.nan, t * rate) for t in (0, 5) for track, rate in rates]
    >>> observed_share(pd.DataFrame(rows, columns=["time", "track", "pod", "metric", "le", "value"]))
    (10, 50)
    """
    scrapes, cursor = read_scrapes(Cursor(), frame)
    requests = scrapes.requests.sum(axis=0)
    if cursor.waiting is not None:
        requests = requests + cursor.waiting.requests.sum(axis=0)
    return round(requests[CANARY]), round(requests.sum())


@dataclass(frozen=True, slots=True)
class _Table:
    """Samples as a matrix: one row a time, one column a series, NaN where there is no sample."""

    times: Floats
    series: list[Series]
    rows: Ints
    """Which row of the increments, canary or stable, a series belongs to."""
    values: Floats


def _tables(frame: pd.DataFrame, after: float, rows: dict[str, int], extra: tuple[str, ...]) -> Iterator[_Table]:
    """Yield the new samples in chunks of time, so that a day of them needs little memory."""
    time = frame["time"].to_numpy(dtype=float)
    if (np.diff(time) < 0).any():
        order = np.argsort(time, kind="stable")
        frame, time = frame.iloc[order], time[order]
    start = int(np.searchsorted(time, after, side="right"))
    while start < len(time):
        last = min(start + _CHUNK, len(time)) - 1
        end = int(np.searchsorted(time, time[last], side="right"))
        if (table := _table(frame.iloc[start:end], rows, extra)) is not None:
            yield table
        start = end


def _table(frame: pd.DataFrame, rows: dict[str, int], extra: tuple[str, ...]) -> _Table | None:
    """Return the samples of a stretch of time, or None when none is wanted."""
    metrics = {REQUESTS, ERRORS, BUCKET, SUM, COUNT, *extra}
    time, value = frame["time"].to_numpy(dtype=float), frame["value"].to_numpy(dtype=float)
    codes, words = zip(*(_coded(frame[name]) for name in ("track", "pod", "metric")), strict=True)
    keep = ~np.isnan(value)
    keep &= np.array([word in rows for word in words[0]] or [False])[codes[0]]
    keep &= np.array([word in metrics for word in words[2]] or [False])[codes[2]]
    if not keep.any():
        return None
    le = frame["le"].to_numpy(dtype=float)
    edge_code, edges = pd.factorize(np.where(np.isnan(le), _NO_EDGE, le))
    key = codes[0]
    for code, size in ((codes[1], len(words[1])), (codes[2], len(words[2])), (edge_code, len(edges))):
        key = key * size + code
    if not keep.all():
        time, value, key = time[keep], value[keep], key[keep]
    column, keys = pd.factorize(key)
    series = [_named(int(one), words, edges) for one in keys]
    line = np.cumsum(np.append(0, np.diff(time) > 0))
    values = np.full((line[-1] + 1, len(series)), np.nan)
    values[line, column] = value
    return _Table(time[np.append(True, np.diff(line) > 0)], series, np.array([rows[one[0]] for one in series]), values)


def _coded(column: pd.Series[Any]) -> tuple[Ints, list[str]]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy().astype(np.int64), [str(word) for word in column.cat.categories]
    codes, words = pd.factorize(column.to_numpy(dtype=object))
    return codes.astype(np.int64), [str(word) for word in words]


def _named(key: int, words: tuple[list[str], ...], edges: Floats) -> Series:
    key, edge = divmod(key, len(edges))
    key, metric = divmod(key, len(words[2]))
    track, pod = divmod(key, len(words[1]))
    return words[0][track], words[1][pod], words[2][metric], float(edges[edge])


def _read(cursor: Cursor, table: _Table, extra: tuple[str, ...]) -> tuple[Scrapes, Cursor]:
    is_gateway = np.array([pod == "" for _, pod, _, _ in table.series])
    is_requests = np.array([metric == REQUESTS for _, _, metric, _ in table.series])
    there = ~np.isnan(table.values)
    gateway = cursor.gateway | np.logical_or.accumulate((there & is_gateway & is_requests).any(axis=1))
    counts = there & is_requests & (gateway[:, None] == is_gateway)
    has = np.stack([(counts & (table.rows == row)).any(axis=1) for row in (CANARY, STABLE)], axis=1)
    given, rebase, cursor = _alignment(cursor, table.times, has)
    grown, last = _increments(cursor, table, there)
    grown = np.where(rebase[:, table.rows], 0.0, grown)
    cursor = replace(cursor, last=last, gateway=bool(gateway[-1]), time=float(table.times[-1]))
    cursor = _with_names(cursor, table.series)
    raw = _counted(cursor, table, grown, gateway[:, None] == is_gateway, extra)
    return _merged(cursor, raw, given)


def _alignment(cursor: Cursor, times: Floats, has: Bools) -> tuple[Bools, Bools, Cursor]:
    """Return at which times a scrape is given out, and where a track returns that was given up."""
    seen = np.maximum.accumulate(np.vstack([cursor.seen, np.where(has, times[:, None], -np.inf)]), axis=0)
    before = seen[:-1]
    gone = ~has & ((times[:, None] - before > PATIENCE) | np.isneginf(before))
    alone = (has[:, 0] & gone[:, 1]) | (has[:, 1] & gone[:, 0])
    last_alone = np.maximum.accumulate(np.append(cursor.alone, np.where(alone, times, -np.inf)))
    rebase = has & (last_alone[:-1, None] > before) & ~np.isneginf(before)
    return (
        alone | has.all(axis=1),
        rebase,
        replace(cursor, seen=(float(seen[-1, 0]), float(seen[-1, 1])), alone=float(last_alone[-1])),
    )


def _increments(cursor: Cursor, table: _Table, there: Bools) -> tuple[Floats, dict[Series, float]]:
    """Return each counter's increase at each time (T, S), and its last value."""
    known = {(track, pod) for track, pod, metric, _ in cursor.last if metric == REQUESTS}
    first = np.where(there.any(axis=0), there.argmax(axis=0), len(there))
    born: dict[tuple[str, str], int] = {}
    for (track, pod, metric, _), at in zip(table.series, first, strict=True):
        if metric == REQUESTS:
            born[track, pod] = -1 if (track, pod) in known else int(at)
    start = np.array(
        [
            cursor.last.get(one, 0.0 if at > born.get(one[:2], -1 if one[:2] in known else len(there)) else np.nan)
            for one, at in zip(table.series, first, strict=True)
        ]
    )
    values = np.vstack([start, table.values])
    if not there.all():
        index = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
        values = np.take_along_axis(values, np.maximum.accumulate(index, axis=0), axis=0)
    previous, current = values[:-1], values[1:]
    grown = np.where(current < previous, current, current - previous)
    last = {one: float(value) for one, value in zip(table.series, values[-1], strict=True) if not np.isnan(value)}
    return np.nan_to_num(grown), cursor.last | last


def _with_names(cursor: Cursor, series: list[Series]) -> Cursor:
    edges = cursor.edges or tuple(sorted({edge for _, _, metric, edge in series if metric == BUCKET} | {np.inf}))
    canary = dict.fromkeys((*cursor.pods[CANARY], *(pod for track, pod, _, _ in series if pod and track == "canary")))
    stable = dict.fromkeys((*cursor.pods[STABLE], *(pod for track, pod, _, _ in series if pod and track != "canary")))
    if not any(metric == BUCKET for _, _, metric, _ in series):
        edges = cursor.edges
    return replace(cursor, edges=edges, pods=(tuple(canary), tuple(stable)))


def _counted(cursor: Cursor, table: _Table, grown: Floats, is_verdict: Bools, extra: tuple[str, ...]) -> Scrapes:
    """Return the increments as tables, one line a sample time."""
    size = len(table.times)
    edges = cursor.edges or (np.inf,)
    own = np.where(is_verdict, grown, 0.0)
    counts = {name: np.zeros((size, 2)) for name in (REQUESTS, ERRORS, SUM, COUNT)}
    above = np.zeros((size, 2, len(edges)))
    pods = np.zeros((size, 2, max(map(len, cursor.pods)), 2))
    others = np.zeros((size, 2, len(extra)))
    has_infinite = {(one[0], one[1]) for one in table.series if one[2] == BUCKET and one[3] == np.inf}
    for column, ((track, pod, metric, edge), row) in enumerate(zip(table.series, table.rows, strict=True)):
        if metric in counts:
            counts[metric][:, row] += own[:, column]
        if metric in (REQUESTS, ERRORS) and pod:
            pods[:, row, cursor.pods[row].index(pod), int(metric == REQUESTS)] = grown[:, column]
        if metric == BUCKET and edge in edges:
            above[:, row, edges.index(edge)] += own[:, column]
        if metric == COUNT and (track, pod) not in has_infinite:
            above[:, row, -1] += own[:, column]
        if metric in extra:
            others[:, row, extra.index(metric)] += own[:, column]
    latency = np.maximum(np.diff(above, axis=2, prepend=0.0), 0.0)
    errors = np.minimum(counts[ERRORS], counts[REQUESTS])
    return Scrapes(table.times, table.times, counts[REQUESTS], errors, counts[SUM], latency, pods, others, edges)


def _merged(cursor: Cursor, raw: Scrapes, given: Bools) -> tuple[Scrapes, Cursor]:
    """Return the increments between the times that are given out, and keep the rest waiting."""
    if cursor.waiting is not None:
        raw = _joined([cursor.waiting, raw])
        given = np.append(np.zeros(len(cursor.waiting), dtype=bool), given)
    ends = np.flatnonzero(given)
    if not len(ends):
        return raw[:0], replace(cursor, waiting=_summed(raw, np.array([0]), raw.time[-1:]))
    starts = np.append(0, ends[:-1] + 1)
    rest = raw[int(ends[-1]) + 1 :]
    times = raw.time[ends]
    merged = _summed(raw[: int(ends[-1]) + 1], starts, times)
    merged = replace(merged, span=np.diff(times, prepend=cursor.counted))
    waiting = _summed(rest, np.array([0]), rest.time[-1:]) if len(rest) else None
    cursor, is_first = replace(cursor, waiting=waiting, counted=float(times[-1])), np.isnan(cursor.counted)
    # The first sample of all is a baseline: nothing was counted up to it.
    return (merged[1:] if is_first else merged), cursor


def _summed(raw: Scrapes, starts: Ints, times: Floats) -> Scrapes:
    sums: dict[str, Any] = {name: np.add.reduceat(getattr(raw, name), starts, axis=0) for name in _COUNTS}
    return replace(raw, time=times, span=np.zeros(len(times)), **sums)


def _joined(parts: list[Scrapes]) -> Scrapes:
    """Return scrapes in one piece; later parts may know more buckets and pods."""
    if len(parts) == 1:
        return parts[0]
    bins, pods = parts[-1].latency.shape[2], parts[-1].pods.shape[2]
    whole: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _TIMES}
    for name in ("requests", "errors", "sums", "extra"):
        whole[name] = np.concatenate([getattr(part, name) for part in parts])
    whole["latency"] = np.concatenate([_widened(part.latency, bins, front=True) for part in parts])
    whole["pods"] = np.concatenate([_widened(part.pods, pods, front=False) for part in parts])
    return replace(parts[-1], **whole)


def _widened(table: Floats, size: int, *, front: bool) -> Floats:
    missing = size - table.shape[2]
    widths = [(0, 0)] * table.ndim
    widths[2] = (missing, 0) if front else (0, missing)
    return np.pad(table, widths) if missing else table


def _nothing(edges: tuple[float, ...], pods: tuple[int, ...], extra: int) -> Scrapes:
    edges = edges or (np.inf,)
    flat = np.zeros((0, 2))
    return Scrapes(
        np.zeros(0), np.zeros(0), flat, flat, flat, np.zeros((0, 2, len(edges))), np.zeros((0, 2, max(pods), 2)),
        np.zeros((0, 2, extra)), edges,
    )  # fmt: skip
