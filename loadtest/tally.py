"""What a load generator has counted so far, by the track that answered, in bounded memory."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import Any

NOBODY = "none"
"""The track of a request that no copy of the service answered: the gateway did, or nothing at all."""

MOST_ERRORS = 50
"""Kinds of errors that are told apart; further ones are counted as `other`."""

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

    def quantile(self, q: float) -> float | None:
        """Return the duration in seconds below which a share q (0-1) lies, or None when nothing was counted."""
        left = math.ceil(q * sum(self.counts.values()))
        for index in sorted(self.counts):
            left -= self.counts[index]
            if left <= 0:
                return bucket_middle(index)
        return None


@dataclass(slots=True)
class TrackTally:
    """Counts of one track."""

    requests: int = 0
    failures: int = 0
    latency: Histogram = field(default_factory=Histogram)
    first_failure: float | None = None
    """When a failed request was answered first, in seconds since the epoch."""
    last_answer: float | None = None
    """When any request was answered last."""


@dataclass(slots=True)
class Tally:
    """All counts of one load run. `seconds` is the time since the first request was due."""

    tracks: dict[str, TrackTally] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    lateness: Histogram = field(default_factory=Histogram)
    seconds: float = 0.0
    abandoned: int = 0
    """Requests still without an answer when the run was ended; they are in no other count."""
    finished: bool = False

    def sent_late(self, seconds: float) -> None:
        """Count how long after its due time a request was sent."""
        self.lateness.add(seconds)

    def answered(self, track: str, seconds: float, error: str = "", *, at: float) -> None:
        """Count one request: who answered, seconds since it was due, what was wrong if anything was, and when."""
        counts = self.tracks.setdefault(track, TrackTally())
        counts.requests += 1
        counts.latency.add(seconds)
        counts.last_answer = at
        if error:
            counts.failures += 1
            counts.first_failure = counts.first_failure or at
            self._count_error(f"{track}: {error}")

    def _count_error(self, kind: str) -> None:
        known = kind in self.errors or len(self.errors) < MOST_ERRORS
        key = kind if known else "other"
        self.errors[key] = self.errors.get(key, 0) + 1


def dump_tally(tally: Tally) -> str:
    """Return the tally as JSON."""
    return json.dumps(
        {
            "tracks": {
                name: {
                    "requests": track.requests,
                    "failures": track.failures,
                    "latency": track.latency.counts,
                    "first_failure": track.first_failure,
                    "last_answer": track.last_answer,
                }
                for name, track in tally.tracks.items()
            },
            "errors": tally.errors,
            "lateness": tally.lateness.counts,
            "seconds": tally.seconds,
            "abandoned": tally.abandoned,
            "finished": tally.finished,
        }
    )


def parse_tally(text: str) -> Tally:
    """Return the tally that `dump_tally` wrote."""
    data = json.loads(text)
    return Tally(
        tracks={name: _track(counts) for name, counts in data.pop("tracks").items()},
        lateness=_histogram(data.pop("lateness")),
        **data,
    )


def _track(counts: dict[str, Any]) -> TrackTally:
    return TrackTally(**counts | {"latency": _histogram(counts["latency"])})


def _histogram(counts: dict[str, int]) -> Histogram:
    return Histogram({int(index): count for index, count in counts.items()})
