"""What a load run counted, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from loadtest.tally import NOBODY, Histogram, Tally, TrackTally

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class TrackResults:
    """Counts of one track. Latencies in milliseconds, from the moment a request was due; right within 1 %."""

    requests: int
    failures: int
    """Connection errors and answers with a status of 400 or more."""
    latency_ms: Mapping[float, float]
    """Quantile (0-1) to milliseconds; empty when nothing was counted."""
    first_failure: datetime | None = None
    """When a failed request was answered first."""
    last_answer: datetime | None = None
    """When any request was answered last."""


@dataclass(frozen=True, slots=True)
class LoadResults:
    """Counts of a whole run, or of a run so far."""

    tracks: Mapping[str, TrackResults] = field(default_factory=dict)
    """By the track that answered; `none` where no copy of the service did."""
    errors: Mapping[str, int] = field(default_factory=dict)
    """Failures by track and kind, such as `canary: status 500`."""
    seconds: float = 0.0
    abandoned: int = 0
    """Requests without an answer when the run ended; in no other count."""
    lateness_ms: Mapping[float, float] = field(default_factory=dict)
    """Quantile (0-1) to milliseconds between a request's due time and its sending."""

    @property
    def requests(self) -> int:
        """All requests that came to an end."""
        return sum(track.requests for track in self.tracks.values())

    @property
    def failures(self) -> int:
        """All failed requests."""
        return sum(track.failures for track in self.tracks.values())

    @property
    def unanswered_failures(self) -> int:
        """Failed requests that no copy of the service answered: the gateway's own errors and broken connections."""
        return self.failures_by_track.get(NOBODY, 0)

    @property
    def failures_by_track(self) -> dict[str, int]:
        """Failed requests by the track that answered."""
        return {name: track.failures for name, track in self.tracks.items()}

    @property
    def rate(self) -> float:
        """Requests per second that came to an end."""
        return self.requests / self.seconds if self.seconds else 0.0


def load_results(tally: Tally) -> LoadResults:
    """Return the results that a tally makes."""
    return LoadResults(
        tracks=MappingProxyType({name: _track(track) for name, track in sorted(tally.tracks.items())}),
        errors=MappingProxyType(dict(tally.errors)),
        seconds=tally.seconds,
        abandoned=tally.abandoned,
        lateness_ms=_quantiles(tally.lateness),
    )


def _track(track: TrackTally) -> TrackResults:
    return TrackResults(
        track.requests,
        track.failures,
        _quantiles(track.latency),
        _moment(track.first_failure),
        _moment(track.last_answer),
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def _quantiles(histogram: Histogram) -> Mapping[float, float]:
    found = {q: histogram.quantile(q) for q in QUANTILES}
    return MappingProxyType({q: seconds * 1000 for q, seconds in found.items() if seconds is not None})
