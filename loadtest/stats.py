"""What a load generator has counted, by endpoint and by the track that answered, in bounded memory."""

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
MOST_ENTRIES = 500
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

    def merge(self, other: Histogram) -> None:
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
class StatsEntry:
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

    def since(self, before: StatsEntry) -> StatsEntry:
        """Return what has been counted since an earlier state of the same entry."""
        return replace(
            self,
            requests=self.requests - before.requests,
            failures=self.failures - before.failures,
            client_errors=self.client_errors - before.client_errors,
            seconds=self.seconds - before.seconds,
            latency=self.latency.since(before.latency),
        )

    def merge(self, other: StatsEntry) -> None:
        """Add another entry's counts."""
        self.requests += other.requests
        self.failures += other.failures
        self.client_errors += other.client_errors
        self.seconds += other.seconds
        self.latency.merge(other.latency)
        failed = [at for at in (self.first_failure, other.first_failure) if at is not None]
        answered = [at for at in (self.last_answer, other.last_answer) if at is not None]
        self.first_failure, self.last_answer = min(failed, default=None), max(answered, default=None)


@dataclass(slots=True)
class LoadStats:
    """All counts of one load run. `seconds` is the time since the first request was due."""

    entries: dict[tuple[str, str], StatsEntry] = field(default_factory=dict)
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

    def record_sent(self, seconds: float) -> None:
        """Count one request, and how long after its due time it was sent."""
        self.sent += 1
        self.lateness.add(seconds)

    def record_answer(self, track: str, seconds: float, error: str = "", *, at: float, endpoint: str = "/") -> None:
        """Count one answer: by whom, seconds since it was due, what was wrong if anything was, when, and to what."""
        entry = self._entry(endpoint, track)
        entry.requests += 1
        entry.seconds += seconds
        entry.latency.add(seconds)
        entry.last_answer = at
        if error:
            entry.failures += 1
            entry.client_errors += is_client_error(error)
            entry.first_failure = entry.first_failure or at
            count_kind(self.errors, failure_key(track, error))

    def merge(self, other: LoadStats) -> None:
        """Add the counts of another process of the same run."""
        for (endpoint, track), entry in other.entries.items():
            self._entry(endpoint, track).merge(entry)
        for name in ("errors", "raised", "refused"):
            for kind, number in getattr(other, name).items():
                count_kind(getattr(self, name), kind, number)
        self.lateness.merge(other.lateness)
        self.seconds = max(self.seconds, other.seconds)
        self.sent += other.sent
        self.held_back += other.held_back
        self.sheddings = sorted([*self.sheddings, *other.sheddings])

    def since(self, before: LoadStats) -> LoadStats:
        """Return what has been counted since an earlier state of the same run."""
        late = self.lateness.since(before.lateness)
        errors = {kind: count - before.errors.get(kind, 0) for kind, count in self.errors.items()}
        return replace(
            self,
            entries={key: entry.since(before.entries.get(key, StatsEntry())) for key, entry in self.entries.items()},
            errors={kind: count for kind, count in errors.items() if count},
            lateness=late,
            seconds=self.seconds - before.seconds,
            sent=self.sent - before.sent,
            held_back=self.held_back - before.held_back,
        )

    def _entry(self, endpoint: str, track: str) -> StatsEntry:
        key = endpoint, track
        if key not in self.entries and len(self.entries) >= MOST_ENTRIES:
            key = OTHER, track
        return self.entries.setdefault(key, StatsEntry())


def count_kind(counts: dict[str, int], kind: str, number: int = 1) -> None:
    """Count something by its kind; further kinds than `MOST_ERRORS` are one."""
    key = kind if kind in counts or len(counts) < MOST_ERRORS else OTHER
    counts[key] = counts.get(key, 0) + number


def merge_processes(processes: Iterable[LoadStats]) -> LoadStats:
    """Return the counts of all processes of one run."""
    total, stats = LoadStats(), list(processes)
    total.done = bool(stats) and all(process.done for process in stats)
    total.finished = bool(stats) and all(process.finished for process in stats)
    for process in stats:
        total.merge(process)
    return total


def dump_stats(stats: LoadStats) -> str:
    """Return the statistics as JSON."""
    entries = [[*key, _entry_json(entry)] for key, entry in stats.entries.items()]
    counts = {name: getattr(stats, name) for name in _COUNTS}
    return json.dumps(counts | {"cells": entries, "lateness": stats.lateness.counts})


_COUNTS = ("errors", "raised", "refused", "seconds", "sent", "held_back", "sheddings", "done", "finished")


def _entry_json(entry: StatsEntry) -> dict[str, Any]:
    return {name: getattr(entry, name) for name in entry.__slots__} | {"latency": entry.latency.counts}


def parse_stats(text: str) -> LoadStats:
    """Return the statistics that `dump_stats` wrote."""
    data = json.loads(text)
    entries = {(endpoint, track): _parse_entry(counts) for endpoint, track, counts in data.pop("cells")}
    sheddings = [(at, share) for at, share in data.pop("sheddings")]
    return LoadStats(entries=entries, lateness=parse_histogram(data.pop("lateness")), sheddings=sheddings, **data)


def _parse_entry(counts: dict[str, Any]) -> StatsEntry:
    return StatsEntry(**counts | {"latency": parse_histogram(counts["latency"])})


def parse_histogram(counts: dict[str, int]) -> Histogram:
    """Return the histogram of counts read from JSON."""
    return Histogram({int(index): count for index, count in counts.items()})
