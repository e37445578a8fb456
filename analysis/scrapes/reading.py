"""What the samples counted from scrape to scrape: growth first, then the sum over proxies.

Series with an empty pod are the verdict's; those with a pod counted the same requests once more and serve dispersion
only, unless there are no others.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from analysis.scrapes.increase import Growth, Known, increase
from analysis.scrapes.increments import CANARY, GROUPS, STABLE, Scrapes, group_of, joined, nothing, summed
from analysis.scrapes.samples import BUCKET, COUNT, ERRORS, REQUESTS, SUM, Bools, Floats, Ints, Samples, Series
from rollout.answers import COMPARED, GRPC_ERRORS, AnswerClass, classify
from rollout.model import Track

PATIENCE = 60.0
"""Seconds that one track's scrapes wait for the other's; after that the other is taken to be gone."""
_CHUNK = 200_000
"""Samples that are looked at together: enough to be fast, little enough to stay near the processor."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far the samples have been read: what makes reading on the same as reading all at once."""

    known: Known = field(default_factory=Known)
    counted: float = np.nan
    """The end of the last scrape that was given out; NaN before the first sample."""
    gateway: bool = False
    """Whether the gateway's own counts have been seen."""
    seen: tuple[float, float] = (-np.inf, -np.inf)
    """When canary and stable last had a sample."""
    alone: float = -np.inf
    """When a scrape of one track was last given out without waiting for the other's."""
    waiting: Scrapes | None = None
    """Increments that wait for a scrape that both tracks have."""
    edges: tuple[float, ...] = ()
    pods: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    """The names behind the pod columns, by track."""

    @property
    def time(self) -> float:
        """The last sample's time; minus infinity before the first."""
        return self.known.time


@dataclass(frozen=True, slots=True)
class _Columns:
    """What each series (S,) is to the verdict; -1 where it is none of that."""

    row: Ints
    """Canary or stable."""
    is_gateway: Bools
    metric: Ints
    """Place in `_METRICS`, or behind it that of a further counter."""
    edge: Ints
    pod: Ints
    answer: Ints
    """Place in `_CLASSES`; -1 where the source does not say how it was answered."""

    def __getitem__(self, index: Ints) -> _Columns:
        return _Columns(*(getattr(self, name)[index] for name in self.__slots__))


_METRICS = (REQUESTS, ERRORS, BUCKET, SUM, COUNT)
_CLASSES = (*COMPARED, AnswerClass.ERROR, AnswerClass.SUCCESS)
_ERROR = len(COMPARED)


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
    wanted = {*_METRICS, *further}
    samples = samples.where(series.metric in wanted and series.track in rows for series in samples.series)
    parts = []
    for chunk in _chunks(samples):
        growth, known = increase(cursor.known, chunk)
        if len(growth.time):
            part, cursor = _read(cursor, chunk.series, growth, rows, (*_METRICS, *further), grpc_errors)
            parts.append(part)
        cursor = replace(cursor, known=known)
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
    columns = _columns(cursor, series, rows, metrics, grpc_errors)
    times, line = np.unique(growth.time, return_inverse=True)
    entry = columns[growth.column]
    is_requests = entry.metric == _METRICS.index(REQUESTS)
    gateway = cursor.gateway | np.logical_or.accumulate(_at(line, len(times), is_requests & entry.is_gateway))
    counts = is_requests & (gateway[line] == entry.is_gateway)
    has = np.stack([_at(line, len(times), counts & (entry.row == row)) for row in (CANARY, STABLE)], axis=1)
    is_late = times <= cursor.known.time
    given, rebase, cursor = _alignment(cursor, times, has & ~is_late[:, None])
    whole = _whole(cursor.known, entry, line, gateway, metrics)
    amount = np.where(rebase[line, entry.row], 0.0, growth.amount)
    cursor = replace(cursor, gateway=bool(gateway[-1]))
    raw = _counted(cursor, series, _Entries(times, line, entry, growth.column, amount, whole), len(metrics))
    return _merged(cursor, raw, given)


def _at(line: Ints, size: int, holds: Bools) -> Bools:
    """Return at which times (T,) something holds of any entry."""
    return np.asarray(np.bincount(line[holds], minlength=size) > 0)


def _with_names(cursor: Cursor, series: tuple[Series, ...], rows: Mapping[str, int]) -> Cursor:
    canary, stable = dict.fromkeys(cursor.pods[CANARY]), dict.fromkeys(cursor.pods[STABLE])
    for one in series:
        if one.pod:
            (canary if rows[one.track] == CANARY else stable)[one.pod] = None
    edges = cursor.edges
    if not edges and any(one.metric == BUCKET for one in series):
        edges = tuple(sorted({one.le for one in series if one.metric == BUCKET} | {np.inf}))
    return replace(cursor, edges=edges, pods=(tuple(canary), tuple(stable)))


def _columns(
    cursor: Cursor,
    series: tuple[Series, ...],
    rows: Mapping[str, int],
    metrics: tuple[str, ...],
    grpc_errors: Collection[str],
) -> _Columns:
    metric = {name: index for index, name in enumerate(metrics)}
    edge = {le: index for index, le in enumerate(cursor.edges)}
    pods = [{name: index for index, name in enumerate(names)} for names in cursor.pods]
    classes = {kind: index for index, kind in enumerate(_CLASSES)}
    answers = {text: classes[classify(text, grpc_errors)] if text else -1 for text in {one.answer for one in series}}
    row = [rows[one.track] for one in series]
    return _Columns(
        row=np.array(row),
        is_gateway=np.array([not one.pod for one in series]),
        metric=np.array([metric[one.metric] for one in series]),
        edge=np.array([edge.get(one.le, -1) for one in series]),
        pod=np.array([pods[track].get(one.pod, -1) for one, track in zip(series, row, strict=True)]),
        answer=np.array([answers[one.answer] for one in series]),
    )


def _whole(known: Known, entry: _Columns, line: Ints, gateway: Bools, metrics: tuple[str, ...]) -> Bools:
    """Return which entries are the verdict's (G,): those of the whole track, and those of pods until it is there.

    A further counter has no gateway's view: whether it is counted in one piece is a matter of its own.
    """
    whole = np.asarray(gateway[line] == entry.is_gateway)
    for index in range(len(_METRICS), len(metrics)):
        ours = entry.metric == index
        before = any(one.metric == metrics[index] and not one.pod for one in known.last)
        seen = before | np.logical_or.accumulate(_at(line, len(gateway), ours & entry.is_gateway))
        whole[ours] = (seen[line] == entry.is_gateway)[ours]
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


@dataclass(frozen=True, slots=True)
class _Entries:
    """Growth, (G,) each, beside what it is to the verdict."""

    times: Floats
    """(T,)"""
    line: Ints
    entry: _Columns
    column: Ints
    amount: Floats
    whole: Bools

    def added_up(self, holds: Bools, *shape: tuple[Ints, int]) -> Floats:
        """Return the growth of the entries of which something holds, by time and by further axes (T, ...)."""
        key = self.line
        for place, size in shape:
            key = key * size + place
        sizes = [len(self.times), *(size for _, size in shape)]
        sums = np.bincount(key[holds], self.amount[holds], minlength=int(np.prod(sizes)))
        return np.asarray(sums, dtype=np.float64).reshape(sizes)


def _counted(cursor: Cursor, series: tuple[Series, ...], given: _Entries, metrics: int) -> Scrapes:
    """Return the increments as tables, one line a sample time."""
    entry, whole, rows = given.entry, given.whole, (given.entry.row, 2)
    requests, errors, bucket, sums, count = (entry.metric == index for index in range(len(_METRICS)))
    timed, complete = whole, ~_lacking_parts(series)
    if not complete.all():
        timed = whole & complete[given.column]
    failed = errors | (requests & (entry.answer == _ERROR))
    answered = requests & whole & (entry.answer >= 0)
    pods = max(map(len, cursor.pods))
    of_pods = [
        given.added_up(kind & (entry.pod >= 0), rows, (entry.pod, max(pods, 1)))[:, :, :pods]
        for kind in (failed, requests)
    ]
    total = given.added_up(requests & whole, rows)
    own = entry.metric - len(_METRICS)
    return Scrapes(
        time=given.times,
        span=given.times,
        requests=total,
        errors=np.minimum(given.added_up(failed & whole, rows), total),
        sums=given.added_up(sums & timed, rows),
        latency=_latency(cursor, series, given, bucket & timed, count & timed),
        answers=_answers(given.added_up(answered, rows, (entry.answer, len(_CLASSES)))),
        pods=np.stack(of_pods, axis=-1),
        groups=_groups(cursor, given, sums, count),
        extra=given.added_up((own >= 0) & whole, rows, (own, metrics - len(_METRICS)))
        if metrics > len(_METRICS)
        else np.zeros((len(given.times), 2, 0)),
        edges=cursor.edges or (np.inf,),
    )


def _lacking_parts(series: tuple[Series, ...]) -> Bools:
    """Return which series (S,) are of a histogram without its sum or its buckets.

    Its requests beside others' sums, or the other way round, would be a mean of neither.
    """
    parts: dict[tuple[str, str, str], set[str]] = {}
    for one in series:
        if one.metric in (BUCKET, SUM, COUNT):
            parts.setdefault((one.target, one.track, one.pod), set()).add(one.metric)
    lacking = {key for key, has in parts.items() if not has.issuperset((BUCKET, SUM))}
    return np.array([(one.target, one.track, one.pod) in lacking for one in series], dtype=bool)


def _answers(classes: Floats) -> Floats:
    """Return the answers of each compared class, and of all (T, 2, C + 1)."""
    return np.concatenate([classes[..., :_ERROR], classes.sum(axis=-1, keepdims=True)], axis=-1)


def _latency(cursor: Cursor, series: tuple[Series, ...], given: _Entries, bucket: Bools, count: Bools) -> Floats:
    """Return the requests a bucket (T, 2, B)."""
    edges, rows = cursor.edges or (np.inf,), (given.entry.row, 2)
    below = given.added_up(bucket & (given.entry.edge >= 0), rows, (given.entry.edge, len(edges)))
    edges_of: dict[tuple[str, str, str], set[float]] = {}
    for one in series:
        if one.metric in (BUCKET, COUNT):
            edges_of.setdefault((one.target, one.track, one.pod), set()).update(
                [one.le] if one.metric == BUCKET else []
            )
    partial = {key: has for key, has in edges_of.items() if not has.issuperset(edges)}  # other edges than the others'
    for index, one in enumerate(series if partial else ()):
        if (has := partial.get((one.target, one.track, one.pod))) is None:
            continue
        if one.metric == BUCKET:
            higher = min((le for le in has if le > one.le), default=np.inf)
            for place, le in enumerate(edges):
                if one.le < le < higher and le not in has:
                    below[:, :, place] += given.added_up(bucket & (given.column == index), rows)
        if one.metric == COUNT and np.inf not in has:
            below[:, :, -1] += given.added_up(count & (given.column == index), rows)
    return np.maximum(np.diff(below, axis=2, prepend=0.0), 0.0)


def _groups(cursor: Cursor, given: _Entries, sums: Bools, count: Bools) -> Floats:
    """Return timed requests, ms and pods of each group of stable's pods (T, G, 3)."""
    names, entry = cursor.pods[STABLE], given.entry
    if not names:
        return np.zeros((len(given.times), GROUPS, 3))
    ours, place = (entry.row == STABLE) & (entry.pod >= 0), (entry.pod, len(names))
    timed, ms = (given.added_up(kind & ours, place) for kind in (count, sums))
    member = np.eye(GROUPS)[[group_of(name) for name in names]]
    return np.stack([timed @ member, ms @ member, (timed > 0) @ member], axis=-1)


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
    gateways = samples.where(not one.pod and one.metric == REQUESTS for one in samples.series)
    growth, _ = increase(Known(), gateways)
    ours = np.array([one.track == track for one in gateways.series], dtype=bool)[growth.column]
    return round(float(growth.amount[ours & (growth.time > since.timestamp())].sum()))


def counted_by_pods(samples: Samples, track: Track) -> tuple[int, int]:
    """Return how many requests a track's own pods counted, and how many of them failed.

    >>> rows = [(t, Series("canary", "p1", REQUESTS), value) for t, value in enumerate((7, 9, 4))]
    >>> counted_by_pods(Samples.of_rows(rows), Track.CANARY)
    (6, 0)
    """
    ours = samples.where(
        one.track == track and one.pod != "" and one.metric in (REQUESTS, ERRORS) for one in samples.series
    )
    growth, _ = increase(Known(), ours)
    is_request = np.array([one.metric == REQUESTS for one in ours.series], dtype=bool)[growth.column]
    is_error = np.array([is_failure(one) for one in ours.series], dtype=bool)[growth.column]
    return round(float(growth.amount[is_request].sum())), round(float(growth.amount[is_error].sum()))


def is_failure(series: Series) -> bool:
    """Return whether a counter counts errors alone."""
    return series.metric == ERRORS or (series.metric == REQUESTS and classify(series.answer) is AnswerClass.ERROR)
