"""What a load generator has counted so far, by endpoint and by the track that answered, in bounded memory."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from rollout.answers import is_client_error
from rollout.load import failure_key

OTHER = "other"

MOST_ERRORS = 50
"""Kinds of errors that are told apart; further ones are counted as `other`."""
MOST_CELLS = 500
"""Pairs of endpoint and track that are told apart."""

_SMALLEST = 1e-5
_GROWTH = math.log(1.02)  # buckets 2 % wide: a percentile is right within 1 %


def bucket_of(seconds: float) -> int:
    """Return the index of the logarithmic bucket that holds a duration in seconds."""
    return max(0, math.ceil(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _GROWTH))


def bucket_middle(index: int) -> float:
    """Return the duration in seconds that a bucket stands for."""
    return _SMALLEST * math.exp((index - 0.5) * _GROWTH)


@dataclass(slots=True)
class Histogram:
    """Counts of durations in buckets 2 % wide, from 10 microseconds."""

    counts: dict[int, int] = field(default_factory=dict)

    def add(self, seconds: float) -> None:
        """Count one duration."""
        index = bucket_of(seconds)
        self.counts[index] = self.counts.get(index, 0) + 1

    def take(self, other: Histogram) -> None:
        """Add another histogram's counts."""
        for index, count in other.counts.items():
            self.counts[index] = self.counts.get(index, 0) + count

    def since(self, before: Histogram) -> Histogram:
        """Return what has been counted since an earlier state of the same histogram."""
        left = {index: count - before.counts.get(index, 0) for index, count in self.counts.items()}
        return Histogram({index: count for index, count in left.items() if count})

    @property
    def total(self) -> int:
        """How many durations were counted."""
        return sum(self.counts.values())

    def quantile(self, q: float) -> float | None:
        """Return the duration in seconds below which a share q (0-1) lies, or None when nothing was counted."""
        return self.ranked(math.ceil(q * self.total))

    def ranked(self, rank: int) -> float | None:
        """Return the duration in seconds of this rank, 1 for the shortest, or None when there is none."""
        left = rank
        for index in sorted(self.counts):
            left -= self.counts[index]
            if left <= 0:
                return bucket_middle(index)
        return None


@dataclass(slots=True)
class Cell:
    """Counts of one endpoint as one track answered it."""

    requests: int = 0
    failures: int = 0
    """Errors and client errors; see `rollout.answers`."""
    client_errors: int = 0
    seconds: float = 0.0
    """All latencies together."""
    latency: Histogram = field(default_factory=Histogram)
    first_failure: float | None = None
    """When a failed request was answered first, in seconds since the epoch."""
    last_answer: float | None = None
    """When any request was answered last."""

    @property
    def errors(self) -> int:
        """Failures that are the server's fault."""
        return self.failures - self.client_errors

    def since(self, before: Cell) -> Cell:
        """Return what has been counted since an earlier state of the same cell."""
        return replace(
            self,
            requests=self.requests - before.requests,
            failures=self.failures - before.failures,
            client_errors=self.client_errors - before.client_errors,
            seconds=self.seconds - before.seconds,
            latency=self.latency.since(before.latency),
        )

    def take(self, other: Cell) -> None:
        """Add another cell's counts."""
        self.requests += other.requests
        self.failures += other.failures
        self.client_errors += other.client_errors
        self.seconds += other.seconds
        self.latency.take(other.latency)
        failed = [at for at in (self.first_failure, other.first_failure) if at is not None]
        answered = [at for at in (self.last_answer, other.last_answer) if at is not None]
        self.first_failure, self.last_answer = min(failed, default=None), max(answered, default=None)


@dataclass(slots=True)
class Tally:
    """All counts of one load run. `seconds` is the time since the first request was due."""

    cells: dict[tuple[str, str], Cell] = field(default_factory=dict)
    """By endpoint and track."""
    errors: dict[str, int] = field(default_factory=dict)
    """Failures by track and kind."""
    raised: dict[str, int] = field(default_factory=dict)
    """What tasks of a user's locustfile raised."""
    refused: dict[str, int] = field(default_factory=dict)
    """Requests that were not sent, by the host that they were for."""
    lateness: Histogram = field(default_factory=Histogram)
    """How long after its due time each request was sent."""
    seconds: float = 0.0
    sent: int = 0
    held_back: int = 0
    """Requests that were due and not sent, because the service was melting."""
    sheddings: list[tuple[float, float]] = field(default_factory=list)
    """When the load was halved, in seconds since its start, and the error share that made it so."""
    done: bool = False
    """Whether all that was asked for has been sent."""
    finished: bool = False

    def sent_late(self, seconds: float) -> None:
        """Count one request, and how long after its due time it was sent."""
        self.sent += 1
        self.lateness.add(seconds)

    def answered(self, track: str, seconds: float, error: str = "", *, at: float, endpoint: str = "/") -> None:
        """Count one answer: by whom, seconds since it was due, what was wrong if anything was, when, and to what."""
        cell = self._cell(endpoint, track)
        cell.requests += 1
        cell.seconds += seconds
        cell.latency.add(seconds)
        cell.last_answer = at
        if error:
            cell.failures += 1
            cell.client_errors += is_client_error(error)
            cell.first_failure = cell.first_failure or at
            count_kind(self.errors, failure_key(track, error))

    def take(self, other: Tally) -> None:
        """Add the counts of another process of the same run."""
        for (endpoint, track), cell in other.cells.items():
            self._cell(endpoint, track).take(cell)
        for name in ("errors", "raised", "refused"):
            for kind, number in getattr(other, name).items():
                count_kind(getattr(self, name), kind, number)
        self.lateness.take(other.lateness)
        self.seconds = max(self.seconds, other.seconds)
        self.sent += other.sent
        self.held_back += other.held_back
        self.sheddings = sorted([*self.sheddings, *other.sheddings])

    def since(self, before: Tally) -> Tally:
        """Return what has been counted since an earlier state of the same tally."""
        late = self.lateness.since(before.lateness)
        errors = {kind: count - before.errors.get(kind, 0) for kind, count in self.errors.items()}
        return replace(
            self,
            cells={key: cell.since(before.cells.get(key, Cell())) for key, cell in self.cells.items()},
            errors={kind: count for kind, count in errors.items() if count},
            lateness=late,
            seconds=self.seconds - before.seconds,
            sent=self.sent - before.sent,
            held_back=self.held_back - before.held_back,
        )

    def _cell(self, endpoint: str, track: str) -> Cell:
        key = endpoint, track
        if key not in self.cells and len(self.cells) >= MOST_CELLS:
            key = OTHER, track
        return self.cells.setdefault(key, Cell())


def count_kind(counts: dict[str, int], kind: str, number: int = 1) -> None:
    """Count something by its kind; further kinds than `MOST_ERRORS` are one."""
    key = kind if kind in counts or len(counts) < MOST_ERRORS else OTHER
    counts[key] = counts.get(key, 0) + number


def together(tallies: Iterable[Tally]) -> Tally:
    """Return the counts of all processes of one run."""
    parts = list(tallies)
    whole = Tally()
    whole.done, whole.finished = (bool(parts) and all(ends) for ends in _ends(parts))
    for part in parts:
        whole.take(part)
    return whole


def _ends(parts: list[Tally]) -> tuple[list[bool], list[bool]]:
    return [part.done for part in parts], [part.finished for part in parts]


def dump_tally(tally: Tally) -> str:
    """Return the tally as JSON."""
    cells = [[*key, _plain(cell)] for key, cell in tally.cells.items()]
    return json.dumps({name: getattr(tally, name) for name in _PLAIN} | {"cells": cells, "lateness": _flat(tally)})


_PLAIN = ("errors", "raised", "refused", "seconds", "sent", "held_back", "sheddings", "done", "finished")


def _flat(tally: Tally) -> dict[int, int]:
    return tally.lateness.counts


def _plain(cell: Cell) -> dict[str, Any]:
    return {name: getattr(cell, name) for name in cell.__slots__} | {"latency": cell.latency.counts}


def parse_tally(text: str) -> Tally:
    """Return the tally that `dump_tally` wrote."""
    data = json.loads(text)
    cells = {(endpoint, track): _cell(counts) for endpoint, track, counts in data.pop("cells")}
    sheddings = [(at, share) for at, share in data.pop("sheddings")]
    return Tally(cells=cells, lateness=histogram(data.pop("lateness")), sheddings=sheddings, **data)


def _cell(counts: dict[str, Any]) -> Cell:
    return Cell(**counts | {"latency": histogram(counts["latency"])})


def histogram(counts: dict[str, int]) -> Histogram:
    """Return the histogram whose counts JSON has kept."""
    return Histogram({int(index): count for index, count in counts.items()})
