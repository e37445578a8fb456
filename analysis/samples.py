"""Raw counter samples, and what they counted from scrape to scrape.

The tidy frame has the columns `time` (unix seconds), `track`, `pod` (empty for the gateway's own count), `metric`,
`le` (upper bucket edge in ms, NaN where there is none) and `value`. Rows with an empty pod are the verdict's; rows
with a pod counted the same requests once more and serve dispersion only, unless there are no others.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.increments import increments, whole_counts
from analysis.placebo import GROUPS, group_of
from analysis.scrapes import CANARY, STABLE, Scrapes, joined, nothing, summed
from analysis.tables import BUCKET, COUNT, ERRORS, REQUESTS, SUM, Series, Table, tables
from rollout.model import Track

__all__ = [
    "BUCKET",
    "CANARY",
    "COUNT",
    "ERRORS",
    "REQUESTS",
    "STABLE",
    "SUM",
    "Cursor",
    "Metrics",
    "Scrapes",
    "observed_share",
    "read_scrapes",
]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

PATIENCE = 60.0
"""Seconds that one track's scrapes wait for the other's; after that the other is taken to be gone."""


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

    def read_range(self, since: datetime, until: datetime) -> pd.DataFrame:
        """Return every raw sample after `since` up to `until`; raises as `read` does."""
        ...


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
    for table in tables(frame, cursor.time, {str(Track.CANARY): CANARY, str(against): STABLE}, extra):
        part, cursor = _read(cursor, table, extra)
        parts.append(part)
    if not parts:
        return nothing(cursor.edges, tuple(map(len, cursor.pods)), len(extra)), cursor
    return joined(parts), cursor


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


def counted_by_gateway(frame: pd.DataFrame, track: Track, *, since: datetime) -> int:
    """Return how many requests of a track the gateway has counted since a moment.

    A counter that was not there before counts from zero, and a fall is a reset.

    >>> rows = [(t, "canary", "", REQUESTS, np.nan, value) for t, value in enumerate((7, 9, 4))]
    >>> frame = pd.DataFrame(rows, columns=["time", "track", "pod", "metric", "le", "value"])
    >>> start = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    >>> counted_by_gateway(frame, Track.CANARY, since=start), counted_by_gateway(frame[1:], Track.CANARY, since=start)
    (6, 13)
    """
    own = frame[(frame["track"] == str(track)) & (frame["pod"] == "") & (frame["metric"] == REQUESTS)]
    own = own.sort_values("time")
    before = own[own["time"] <= since.timestamp()]["value"].tolist()
    values = [before[-1] if before else 0.0, *own[own["time"] > since.timestamp()]["value"].tolist()]
    grown: float = sum(new - old if new >= old else new for old, new in pairwise(values))
    return round(grown)


def counted_by_pods(frame: pd.DataFrame, track: Track) -> tuple[int, int]:
    """Return how many requests a track's own pods counted in the frame, and how many of them failed.

    A counter that falls was reset: its new value is the increase.

    >>> rows = [(t, "canary", "p1", REQUESTS, np.nan, value) for t, value in enumerate((7, 9, 4))]
    >>> rows += [(t, "canary", "p1", ERRORS, np.nan, 0) for t in range(3)]
    >>> counted_by_pods(pd.DataFrame(rows, columns=["time", "track", "pod", "metric", "le", "value"]), Track.CANARY)
    (6, 0)
    """
    own = frame[(frame["track"] == str(track)) & (frame["pod"] != "")].sort_values("time")
    found = {REQUESTS: 0.0, ERRORS: 0.0}
    for metric in found:
        for _, series in own[own["metric"] == metric].groupby("pod", observed=True)["value"]:
            values = series.to_numpy()
            found[metric] += float(np.where(np.diff(values) < 0, values[1:], np.diff(values)).sum())
    return round(found[REQUESTS]), round(found[ERRORS])


def _read(cursor: Cursor, table: Table, extra: tuple[str, ...]) -> tuple[Scrapes, Cursor]:
    is_gateway = np.array([pod == "" for _, pod, _, _ in table.series])
    is_requests = np.array([metric == REQUESTS for _, _, metric, _ in table.series])
    there = ~np.isnan(table.values)
    gateway = cursor.gateway | np.logical_or.accumulate((there & is_gateway & is_requests).any(axis=1))
    counts = there & is_requests & (gateway[:, None] == is_gateway)
    has = np.stack([(counts & (table.rows == row)).any(axis=1) for row in (CANARY, STABLE)], axis=1)
    given, rebase, cursor = _alignment(cursor, table.times, has)
    is_whole = whole_counts(cursor.last, table, there, gateway, extra)
    grown, last = increments(cursor.last, table, there, extra)
    grown = np.where(rebase[:, table.rows], 0.0, grown)
    cursor = replace(cursor, last=last, gateway=bool(gateway[-1]), time=float(table.times[-1]))
    cursor = _with_names(cursor, table.series)
    raw = _counted(cursor, table, grown, is_whole, extra)
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


def _with_names(cursor: Cursor, series: list[Series]) -> Cursor:
    edges = cursor.edges or tuple(sorted({edge for _, _, metric, edge in series if metric == BUCKET} | {np.inf}))
    canary = dict.fromkeys((*cursor.pods[CANARY], *(pod for track, pod, _, _ in series if pod and track == "canary")))
    stable = dict.fromkeys((*cursor.pods[STABLE], *(pod for track, pod, _, _ in series if pod and track != "canary")))
    if not any(metric == BUCKET for _, _, metric, _ in series):
        edges = cursor.edges
    return replace(cursor, edges=edges, pods=(tuple(canary), tuple(stable)))


def _counted(cursor: Cursor, table: Table, grown: Floats, is_whole: Bools, extra: tuple[str, ...]) -> Scrapes:
    """Return the increments as tables, one line a sample time."""
    size = len(table.times)
    edges = cursor.edges or (np.inf,)
    own = np.where(is_whole, grown, 0.0)
    counts = {name: np.zeros((size, 2)) for name in (REQUESTS, ERRORS, SUM, COUNT)}
    above = np.zeros((size, 2, len(edges)))
    pods = np.zeros((size, 2, max(map(len, cursor.pods)), 2))
    others = np.zeros((size, 2, len(extra)))
    groups = np.zeros((size, GROUPS, 3))
    has_infinite = {(one[0], one[1]) for one in table.series if one[2] == BUCKET and one[3] == np.inf}
    for column, ((track, pod, metric, edge), row) in enumerate(zip(table.series, table.rows, strict=True)):
        if metric in counts:
            counts[metric][:, row] += own[:, column]
        if metric in (REQUESTS, ERRORS) and pod:
            pods[:, row, cursor.pods[row].index(pod), int(metric == REQUESTS)] = grown[:, column]
        if metric == SUM and pod and row == STABLE:
            groups[:, group_of(pod), 1] += grown[:, column]
        if metric == COUNT and pod and row == STABLE:
            groups[:, group_of(pod), [0, 2]] += np.stack([grown[:, column], grown[:, column] > 0], axis=-1)
        if metric == BUCKET and edge in edges:
            above[:, row, edges.index(edge)] += own[:, column]
        if metric == COUNT and (track, pod) not in has_infinite:
            above[:, row, -1] += own[:, column]
        if metric in extra:
            others[:, row, extra.index(metric)] += own[:, column]
    latency = np.maximum(np.diff(above, axis=2, prepend=0.0), 0.0)
    errors = np.minimum(counts[ERRORS], counts[REQUESTS])
    return Scrapes(
        table.times, table.times, counts[REQUESTS], errors, counts[SUM], latency, pods, groups, others, edges
    )


def _merged(cursor: Cursor, raw: Scrapes, given: Bools) -> tuple[Scrapes, Cursor]:
    """Return the increments between the times that are given out, and keep the rest waiting."""
    if cursor.waiting is not None:
        raw = joined([cursor.waiting, raw])
        given = np.append(np.zeros(len(cursor.waiting), dtype=bool), given)
    ends = np.flatnonzero(given)
    if not len(ends):
        return raw[:0], replace(cursor, waiting=summed(raw, np.array([0]), raw.time[-1:]))
    starts = np.append(0, ends[:-1] + 1)
    rest = raw[int(ends[-1]) + 1 :]
    times = raw.time[ends]
    merged = summed(raw[: int(ends[-1]) + 1], starts, times)
    merged = replace(merged, span=np.diff(times, prepend=cursor.counted))
    waiting = summed(rest, np.array([0]), rest.time[-1:]) if len(rest) else None
    cursor, is_first = replace(cursor, waiting=waiting, counted=float(times[-1])), np.isnan(cursor.counted)
    # The first sample of all is a baseline: nothing was counted up to it.
    return (merged[1:] if is_first else merged), cursor
