"""Increments as the tables of the verdict: by time, track, bucket, pod and kind of answer."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from analysis.scrapes.increments import GROUPS, STABLE, Scrapes, group_of
from analysis.scrapes.samples import BUCKET, COUNT, ERRORS, REQUESTS, SUM, Bools, Floats, Ints, Series
from rollout.answers import COMPARED, AnswerClass, classify

Pods = tuple[tuple[str, ...], tuple[str, ...]]
"""The names behind the pod columns, by track."""
METRICS = (REQUESTS, ERRORS, BUCKET, SUM, COUNT)
CLASSES = (*COMPARED, AnswerClass.ERROR, AnswerClass.SUCCESS)
ERROR_CLASS = len(COMPARED)


@dataclass(frozen=True, slots=True)
class Roles:
    """What each series (S,) is to the verdict; -1 where it is none of that."""

    row: Ints
    """Canary or stable."""
    is_gateway: Bools
    metric: Ints
    """Place in `METRICS`, or behind it that of a further counter."""
    edge: Ints
    pod: Ints
    answer: Ints
    """Place in `CLASSES`; -1 where the source does not say how it was answered."""

    def __getitem__(self, index: Ints) -> Roles:
        return Roles(*(getattr(self, name)[index] for name in self.__slots__))


def roles_of(
    edges: tuple[float, ...],
    pods: Pods,
    all_series: tuple[Series, ...],
    rows: Mapping[str, int],
    metrics: tuple[str, ...],
    grpc_errors: Collection[str],
) -> Roles:
    """Return what each series is to the verdict."""
    metric = {name: index for index, name in enumerate(metrics)}
    edge = {le: index for index, le in enumerate(edges)}
    place = [{name: index for index, name in enumerate(names)} for names in pods]
    classes = {kind: index for index, kind in enumerate(CLASSES)}
    answers = {
        text: classes[classify(text, grpc_errors)] if text else -1 for text in {series.answer for series in all_series}
    }
    row = [rows[series.track] for series in all_series]
    return Roles(
        row=np.array(row),
        is_gateway=np.array([not series.pod for series in all_series]),
        metric=np.array([metric[series.metric] for series in all_series]),
        edge=np.array([edge.get(series.le, -1) for series in all_series]),
        pod=np.array([place[track].get(series.pod, -1) for series, track in zip(all_series, row, strict=True)]),
        answer=np.array([answers[series.answer] for series in all_series]),
    )


@dataclass(frozen=True, slots=True)
class SeriesIncrements:
    """What counters grew by, (G,) each, beside what each is to the verdict."""

    times: Floats
    """(T,)"""
    line: Ints
    """Place in `times`."""
    role: Roles
    column: Ints
    """Which series."""
    amount: Floats
    whole: Bools
    """Which are the verdict's."""
    edges: tuple[float, ...]
    pods: Pods

    def added_up(self, holds: Bools, *shape: tuple[Ints, int]) -> Floats:
        """Return the growth of the entries of which something holds, by time and by further axes (T, ...)."""
        key = self.line
        for place, size in shape:
            key = key * size + place
        sizes = [len(self.times), *(size for _, size in shape)]
        sums = np.bincount(key[holds], self.amount[holds], minlength=int(np.prod(sizes)))
        return np.asarray(sums, dtype=np.float64).reshape(sizes)


def to_scrapes(all_series: tuple[Series, ...], increments: SeriesIncrements, metrics: int) -> Scrapes:
    """Return the increments as tables, one line a sample time."""
    role, whole, rows = increments.role, increments.whole, (increments.role.row, 2)
    requests, errors, bucket, sums, count = (role.metric == index for index in range(len(METRICS)))
    timed, complete = whole, ~_lacking_parts(all_series)
    if not complete.all():
        timed = whole & complete[increments.column]
    failed = errors | (requests & (role.answer == ERROR_CLASS))
    answered = requests & whole & (role.answer >= 0)
    pods = max(map(len, increments.pods))
    of_pods = [
        increments.added_up(kind & (role.pod >= 0), rows, (role.pod, max(pods, 1)))[:, :, :pods]
        for kind in (failed, requests)
    ]
    total = increments.added_up(requests & whole, rows)
    own = role.metric - len(METRICS)
    return Scrapes(
        time=increments.times,
        span=increments.times,
        requests=total,
        errors=np.minimum(increments.added_up(failed & whole, rows), total),
        sums=increments.added_up(sums & timed, rows),
        latency=_latency(all_series, increments, bucket & timed, count & timed),
        answers=_answers(increments.added_up(answered, rows, (role.answer, len(CLASSES)))),
        pods=np.stack(of_pods, axis=-1),
        groups=_groups(increments, sums, count),
        extra=increments.added_up((own >= 0) & whole, rows, (own, metrics - len(METRICS)))
        if metrics > len(METRICS)
        else np.zeros((len(increments.times), 2, 0)),
        edges=increments.edges or (np.inf,),
    )


def _lacking_parts(all_series: tuple[Series, ...]) -> Bools:
    """Return which series (S,) are of a histogram without its sum or its buckets.

    Its requests beside others' sums, or the other way round, would be a mean of neither.
    """
    parts: dict[tuple[str, str, str], set[str]] = {}
    for series in all_series:
        if series.metric in (BUCKET, SUM, COUNT):
            parts.setdefault((series.target, series.track, series.pod), set()).add(series.metric)
    lacking = {key for key, has in parts.items() if not has.issuperset((BUCKET, SUM))}
    return np.array([(series.target, series.track, series.pod) in lacking for series in all_series], dtype=bool)


def _answers(classes: Floats) -> Floats:
    """Return the answers of each compared class, and of all (T, 2, C + 1)."""
    return np.concatenate([classes[..., :ERROR_CLASS], classes.sum(axis=-1, keepdims=True)], axis=-1)


def _latency(all_series: tuple[Series, ...], increments: SeriesIncrements, bucket: Bools, count: Bools) -> Floats:
    """Return the requests a bucket (T, 2, B)."""
    edges, rows = increments.edges or (np.inf,), (increments.role.row, 2)
    below = increments.added_up(bucket & (increments.role.edge >= 0), rows, (increments.role.edge, len(edges)))
    edges_of: dict[tuple[str, str, str], set[float]] = {}
    for series in all_series:
        if series.metric in (BUCKET, COUNT):
            edges_of.setdefault((series.target, series.track, series.pod), set()).update(
                [series.le] if series.metric == BUCKET else []
            )
    partial = {key: has for key, has in edges_of.items() if not has.issuperset(edges)}  # other edges than the others'
    for index, series in enumerate(all_series if partial else ()):
        if (has := partial.get((series.target, series.track, series.pod))) is None:
            continue
        if series.metric == BUCKET:
            higher = min((le for le in has if le > series.le), default=np.inf)
            for place, le in enumerate(edges):
                if series.le < le < higher and le not in has:
                    below[:, :, place] += increments.added_up(bucket & (increments.column == index), rows)
        if series.metric == COUNT and np.inf not in has:
            below[:, :, -1] += increments.added_up(count & (increments.column == index), rows)
    return np.maximum(np.diff(below, axis=2, prepend=0.0), 0.0)


def _groups(increments: SeriesIncrements, sums: Bools, count: Bools) -> Floats:
    """Return timed requests, ms and pods of each group of stable's pods (T, G, 3)."""
    names, role = increments.pods[STABLE], increments.role
    if not names:
        return np.zeros((len(increments.times), GROUPS, 3))
    selected, place = (role.row == STABLE) & (role.pod >= 0), (role.pod, len(names))
    timed, ms = (increments.added_up(kind & selected, place) for kind in (count, sums))
    member = np.eye(GROUPS)[[group_of(name) for name in names]]
    return np.stack([timed @ member, ms @ member, (timed > 0) @ member], axis=-1)
