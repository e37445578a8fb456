"""What a load run counted, as plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType

from loadtest.stats import Histogram, LoadStats, StatsEntry, bucket_middle
from rollout.answers import is_http_kind
from rollout.load import NOBODY, ClientCounts, unanswered_kinds

QUANTILES = (0.5, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class TrackResults:
    """Counts of one track. Latencies in milliseconds, from the moment a request was due; right within 1 %."""

    requests: int
    failures: int
    """Errors and client errors: no whole answer, or one with a status of 400 or more."""
    latency_ms: Mapping[float, float]
    """Quantile (0-1) to milliseconds; empty when nothing was counted."""
    mean_ms: float | None = None
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
    sent: int = 0
    held_back: int = 0
    """Requests that were due and not sent, because the service was melting."""
    lateness_ms: Mapping[float, float] = field(default_factory=dict)
    """Quantile (0-1) to milliseconds between a request's due time and its sending."""

    @property
    def requests(self) -> int:
        """All requests that came to an end."""
        return sum(track.requests for track in self.tracks.values())

    @property
    def abandoned(self) -> int:
        """Requests without an answer when the run ended; in no other count."""
        return max(self.sent - self.requests, 0)

    @property
    def failures(self) -> int:
        """All failed requests."""
        return sum(track.failures for track in self.tracks.values())

    @property
    def unanswered_failures(self) -> int:
        """Failed requests that no copy of the service answered: the gateway's own errors and broken connections."""
        return self.failures_by_track.get(NOBODY, 0)

    @property
    def broken(self) -> int:
        """Requests that nothing at all answered."""
        unanswered = unanswered_kinds(self.errors)
        return sum(number for kind, number in unanswered.items() if not is_http_kind(kind))

    @property
    def failures_by_track(self) -> dict[str, int]:
        """Failed requests by the track that answered."""
        return {name: track.failures for name, track in self.tracks.items()}

    @property
    def rate(self) -> float:
        """Requests per second that came to an end."""
        return self.requests / self.seconds if self.seconds else 0.0


def _is_broken(kind: str) -> bool:
    return kind.startswith(f"{NOBODY}: ") and not kind.startswith(f"{NOBODY}: status")


def load_results(stats: LoadStats) -> LoadResults:
    """Return the results that statistics make."""
    names = sorted({track for _, track in stats.entries})
    return LoadResults(
        tracks=MappingProxyType({name: track_results(merged_entry(stats, track=name)) for name in names}),
        errors=MappingProxyType(dict(stats.errors)),
        seconds=stats.seconds,
        sent=stats.sent,
        held_back=stats.held_back,
        lateness_ms=quantiles_ms(stats.lateness),
    )


def merged_entry(stats: LoadStats, *, endpoint: str | None = None, track: str | None = None) -> StatsEntry:
    """Return the counts of an endpoint, of a track, or of both together."""
    return merged(
        entry
        for (of_endpoint, of_track), entry in stats.entries.items()
        if endpoint in (None, of_endpoint) and track in (None, of_track)
    )


def merged(entries: Iterable[StatsEntry]) -> StatsEntry:
    """Return several entries as one."""
    whole = StatsEntry()
    for entry in entries:
        whole.merge(entry)
    return whole


def track_results(entry: StatsEntry) -> TrackResults:
    """Return the results of an entry."""
    return TrackResults(
        entry.requests,
        entry.failures,
        quantiles_ms(entry.latency),
        entry.seconds / entry.requests * 1000 if entry.requests else None,
        _moment(entry.first_failure),
        _moment(entry.last_answer),
    )


def _moment(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def quantiles_ms(histogram: Histogram) -> Mapping[float, float]:
    """Return the reported quantiles in milliseconds; none when nothing was counted."""
    quantiles = {q: histogram.quantile(q) for q in QUANTILES}
    return MappingProxyType({q: seconds * 1000 for q, seconds in quantiles.items() if seconds is not None})


def client_counts(stats: LoadStats) -> ClientCounts:
    """Return what a rollout needs to know of the counts."""
    entries = {track: merged_entry(stats, track=track) for track in sorted({track for _, track in stats.entries})}
    return ClientCounts(
        requests={name: entry.requests for name, entry in entries.items()},
        errors={name: entry.errors for name, entry in entries.items()},
        sums_ms={name: entry.seconds * 1000 for name, entry in entries.items()},
        latencies_ms={
            name: {bucket_middle(index) * 1000: count for index, count in entry.latency.counts.items()}
            for name, entry in entries.items()
        },
        kinds=dict(stats.errors),
    )
