"""The mesh's counters, and the synthetic clients' own in their place while the mesh's cannot be read.

The clients' requests are among those that the mesh counts, so theirs replace the mesh's and are never added to them:
while the mesh is away the clients are a target of their own, and when it can be read again, what it counted in the gap
is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np

from analysis.scrapes.samples import BUCKET, COUNT, ERRORS, NO_EDGE, REQUESTS, SUM, Metrics, Samples, Series
from conductor.state.client_counts import Clients
from rollout.errors import UnavailableError
from rollout.load import ClientCounts
from rollout.ports import Clock, LoadGenerator

_KEPT = 4
"""Counts of the clients that are given out again, as whoever reads looks back a few scrapes."""


@dataclass(slots=True)
class FallbackMetrics:
    """Metrics that go on with the clients' counts; the same as the mesh's as long as that answers."""

    mesh: Metrics
    load: LoadGenerator
    clients: Clients
    clock: Clock
    _edges: tuple[float, ...] = ()
    """The mesh's buckets."""
    _counts: list[tuple[float, ClientCounts]] = field(default_factory=list)
    """What the clients had counted, and when: since the mesh was read last, in which case it is one entry."""
    _gap: float = -np.inf
    """The end of the last gap, in unix seconds."""

    def read(self, since: datetime) -> Samples:
        """Return the mesh's samples, or in its absence those of the clients.

        Raises
        ------
        UnavailableError
            The mesh does not answer, and there is nothing to go on from.
        NoSamplesError
            It answers and has none.
        """
        try:
            samples = self.mesh.read(since)
        except UnavailableError as error:
            return self._instead(error)
        self.clients.instead_since = None
        self._counts = [(self.clock.now().timestamp(), self.load.counts())]
        self._edges = tuple(sorted({series.le for series in samples.series if series.metric == BUCKET}))
        return replace(samples.between(self._gap), gap=self._gap)

    def read_range(self, since: datetime, until: datetime) -> Samples:
        """Return the mesh's samples of the past."""
        return self.mesh.read_range(since, until)

    def _instead(self, error: UnavailableError) -> Samples:
        now = self.clock.now()
        if not self._counts or self.load.pid is None:
            raise error
        if self.clients.instead_since is None:
            self.clients.instead_since, self.clients.because = now, str(error)
        self._gap = now.timestamp()
        # The first of them is from before the gap: what the clients count grows from it.
        self._counts = [self._counts[0], *self._counts[1:][-_KEPT:], (self._gap, self.load.counts())]
        return Samples.of_rows(row for time, counts in self._counts for row in self._rows(time, counts))

    def _rows(self, time: float, counts: ClientCounts) -> Iterator[tuple[float, Series, float]]:
        since, tracks = self._counts[0][0], self._counts[-1][1].requests
        for track in tracks:
            for metric in (REQUESTS, ERRORS, SUM, COUNT, BUCKET):
                for edge in self._edges if metric == BUCKET else (NO_EDGE,):
                    series = Series(track, "", metric, edge, target=f"clients {since}")
                    yield time, series, counted(counts, track, metric, edge)


def counted(counts: ClientCounts, track: str, metric: str, edge: float) -> float:
    """Return what clients counted of a track, under the name that the mesh has for it; 0 for what they do not know."""
    if metric in (REQUESTS, COUNT):
        return float(counts.requests.get(track, 0))
    if metric == ERRORS:
        return float(counts.errors.get(track, 0))
    if metric == SUM:
        return counts.sums_ms.get(track, 0.0)
    if metric == BUCKET:
        return float(sum(number for ms, number in counts.latencies_ms.get(track, {}).items() if ms <= edge))
    return 0.0
