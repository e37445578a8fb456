"""What the samples counted from scrape to scrape: growth first, then the sum over proxies.

Series with an empty pod are the verdict's; those with a pod counted the same requests once more and serve dispersion
only, unless there are no others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from analysis.scrapes.increase import CounterState, Growth, increase
from analysis.scrapes.increments import CANARY, STABLE, Scrapes, joined, nothing, summed
from analysis.scrapes.samples import BUCKET, ERRORS, REQUESTS, Bools, Floats, Ints, Samples, Series
from analysis.scrapes.tables import METRICS, Pods, Roles, SeriesIncrements, roles_of, to_scrapes
from rollout.answers import GRPC_ERRORS, AnswerClass, classify
from rollout.model import Track

PATIENCE = 60.0
"""Seconds that one track's scrapes wait for the other's; after that the other is taken to be gone."""
_CHUNK = 200_000
"""Samples that are looked at together: enough to be fast, little enough to stay near the processor."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the samples have been read: what makes reading on the same as reading all at once."""

    counters: CounterState = field(default_factory=CounterState)
    counted: float = np.nan
    """The end of the last scrape that was given out; NaN before the first sample."""
    gateway: bool = False
    """Whether the gateway's own counts have been seen."""
    seen: tuple[float, float] = (-np.inf, -np.inf)
    """When canary and stable last had a sample."""
    alone: float = -np.inf
    """When a scrape of one track was last given out without waiting for the other's."""
    waiting: Scrapes | None = None
    """SeriesIncrements that wait for a scrape that both tracks have."""
    edges: tuple[float, ...] = ()
    pods: Pods = ((), ())
    """The names behind the pod columns, by track."""

    @property
    def time(self) -> float:
        """The last sample's time; minus infinity before the first."""
        return self.counters.time


def read_scrapes(
    cursor: Cursor,
    samples: Samples,
    *,
    against: Track = Track.STABLE,
    extra: tuple[str, ...] = (),
    grpc_errors: Collection[str] = GRPC_ERRORS,
) -> tuple[Scrapes, Cursor]:
    """Return what the new samples counted, and how far has been read.

    A scrape that only one track has waits for the next one that both have, as misaligned increments would turn a
    common outage into evidence.

    Parameters
    ----------
    cursor
        Where reading stands; samples that were read before are dropped.
    samples
        In any order; whatever else is in them is left alone.
    against
        The track that the canary is compared with; it fills the rows called stable.
    extra
        Further counters to read; one may be there several times, as the total of several ratios.
    grpc_errors
        The gRPC statuses that are errors.
    """
    rows = {str(Track.CANARY): CANARY, str(against): STABLE}
    further = tuple(dict.fromkeys(extra))
    wanted = {*METRICS, *further}
    samples = samples.where(series.metric in wanted and series.track in rows for series in samples.series)
    parts = []
    for chunk in _chunks(samples):
        growth, counters = increase(cursor.counters, chunk)
        if len(growth.time):
            part, cursor = _read(cursor, chunk.series, growth, rows, (*METRICS, *further), grpc_errors)
            parts.append(part)
        cursor = replace(cursor, counters=counters)
    if not parts:
        return nothing(cursor.edges, tuple(map(len, cursor.pods)), len(extra)), cursor
    scrapes = joined(parts)
    return replace(scrapes, extra=scrapes.extra[..., [further.index(name) for name in extra]]), cursor


def _chunks(samples: Samples) -> Iterator[Samples]:
    """Yield the samples in stretches of time, so that a day of them needs little memory."""
    if len(samples) <= _CHUNK:
        yield samples
        return
    ends = np.quantile(samples.times, np.linspace(0, 1, 1 + -(-len(samples) // _CHUNK))[1:])
    ends[-1], start = np.inf, -np.inf
    for end in np.unique(ends).tolist():
        yield samples.between(start, end)
        start = end


def _read(
    cursor: Cursor,
    series: tuple[Series, ...],
    growth: Growth,
    rows: Mapping[str, int],
    metrics: tuple[str, ...],
    grpc_errors: Collection[str],
) -> tuple[Scrapes, Cursor]:
    cursor = _with_names(cursor, series, rows)
    roles = roles_of(cursor.edges, cursor.pods, series, rows, metrics, grpc_errors)
    times, line = np.unique(growth.time, return_inverse=True)
    role = roles[growth.column]
    is_requests = role.metric == METRICS.index(REQUESTS)
    gateway = cursor.gateway | np.logical_or.accumulate(_at(line, len(times), is_requests & role.is_gateway))
    counts = is_requests & (gateway[line] == role.is_gateway)
    has = np.stack([_at(line, len(times), counts & (role.row == row)) for row in (CANARY, STABLE)], axis=1)
    is_late = times <= cursor.counters.time
    released, rebase, cursor = _alignment(cursor, times, has & ~is_late[:, None])
    whole = _whole(cursor.counters, role, line, gateway, metrics)
    amount = np.where(rebase[line, role.row], 0.0, growth.amount)
    cursor = replace(cursor, gateway=bool(gateway[-1]))
    counted = SeriesIncrements(times, line, role, growth.column, amount, whole, cursor.edges, cursor.pods)
    raw = to_scrapes(series, counted, len(metrics))
    return _merged(cursor, raw, released)


def _at(line: Ints, size: int, holds: Bools) -> Bools:
    """Return at which times (T,) something holds of any role."""
    return np.asarray(np.bincount(line[holds], minlength=size) > 0)


def _with_names(cursor: Cursor, series: tuple[Series, ...], rows: Mapping[str, int]) -> Cursor:
    canary, stable = dict.fromkeys(cursor.pods[CANARY]), dict.fromkeys(cursor.pods[STABLE])
    for name in series:
        if name.pod:
            (canary if rows[name.track] == CANARY else stable)[name.pod] = None
    edges = cursor.edges
    if not edges and any(name.metric == BUCKET for name in series):
        edges = tuple(sorted({name.le for name in series if name.metric == BUCKET} | {np.inf}))
    return replace(cursor, edges=edges, pods=(tuple(canary), tuple(stable)))


def _whole(counters: CounterState, role: Roles, line: Ints, gateway: Bools, metrics: tuple[str, ...]) -> Bools:
    """Return which entries are the verdict's (G,): those of the whole track, and those of pods until it is there.

    A further counter has no gateway's view: whether it is counted in one piece is a matter of its own.
    """
    whole = np.asarray(gateway[line] == role.is_gateway)
    for index in range(len(METRICS), len(metrics)):
        selected = role.metric == index
        before = any(series.metric == metrics[index] and not series.pod for series in counters.last)
        seen = before | np.logical_or.accumulate(_at(line, len(gateway), selected & role.is_gateway))
        whole[selected] = (seen[line] == role.is_gateway)[selected]
    return whole


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


def _merged(cursor: Cursor, raw: Scrapes, released: Bools) -> tuple[Scrapes, Cursor]:
    """Return the increments between the times that are given out, and keep the rest waiting."""
    if cursor.waiting is not None:
        raw = joined([cursor.waiting, raw])
        released = np.append(np.zeros(len(cursor.waiting), dtype=bool), released)
    ends = np.flatnonzero(released)
    if not len(ends):
        return raw[:0], replace(cursor, waiting=summed(raw, np.array([0]), raw.time[-1:]))
    starts = np.append(0, ends[:-1] + 1)
    remaining = raw[int(ends[-1]) + 1 :]
    times = raw.time[ends]
    merged = summed(raw[: int(ends[-1]) + 1], starts, times)
    merged = replace(merged, span=np.diff(times, prepend=cursor.counted))
    waiting = summed(remaining, np.array([0]), remaining.time[-1:]) if len(remaining) else None
    cursor, is_first = replace(cursor, waiting=waiting, counted=float(times[-1])), np.isnan(cursor.counted)
    # The first sample of all is a baseline: nothing was counted up to it.
    return (merged[1:] if is_first else merged), cursor


def observed_share(samples: Samples) -> tuple[int, int]:
    """Return how many requests the samples counted: the canary's, and all of them.

    >>> rates = (("stable", 8), ("canary", 2))
    >>> rows = [(t, Series(track, "", REQUESTS), t * rate) for t in (0, 5) for track, rate in rates]
    >>> observed_share(Samples.of_rows(rows))
    (10, 50)
    """
    scrapes, cursor = read_scrapes(Cursor(), samples)
    requests = scrapes.requests.sum(axis=0)
    if cursor.waiting is not None:
        requests = requests + cursor.waiting.requests.sum(axis=0)
    return round(requests[CANARY]), round(requests.sum())


def counted_by_gateway(samples: Samples, track: Track, *, since: datetime) -> int:
    """Return how many requests of a track the gateways have counted since a moment.

    >>> rows = [(t, Series("canary", "", REQUESTS), value) for t, value in enumerate((7, 9, 4))]
    >>> start = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
    >>> counted_by_gateway(Samples.of_rows(rows), Track.CANARY, since=start)
    6
    """
    gateways = samples.where(not series.pod and series.metric == REQUESTS for series in samples.series)
    growth, _ = increase(CounterState(), gateways)
    selected = np.array([series.track == track for series in gateways.series], dtype=bool)[growth.column]
    return round(float(growth.amount[selected & (growth.time > since.timestamp())].sum()))


def counted_by_pods(samples: Samples, track: Track) -> tuple[int, int]:
    """Return how many requests a track's own pods counted, and how many of them failed.

    >>> rows = [(t, Series("canary", "p1", REQUESTS), value) for t, value in enumerate((7, 9, 4))]
    >>> counted_by_pods(Samples.of_rows(rows), Track.CANARY)
    (6, 0)
    """
    selected = samples.where(
        series.track == track and series.pod != "" and series.metric in (REQUESTS, ERRORS) for series in samples.series
    )
    growth, _ = increase(CounterState(), selected)
    is_request = np.array([series.metric == REQUESTS for series in selected.series], dtype=bool)[growth.column]
    is_error = np.array([is_failure(series) for series in selected.series], dtype=bool)[growth.column]
    return round(float(growth.amount[is_request].sum())), round(float(growth.amount[is_error].sum()))


def is_failure(series: Series) -> bool:
    """Return whether a counter counts errors alone."""
    return series.metric == ERRORS or (series.metric == REQUESTS and classify(series.answer) is AnswerClass.ERROR)
