"""The mesh's counters, and the synthetic clients' own in their place while the mesh's cannot be read.

The clients' requests are among those that the mesh counts, so theirs replace the mesh's and are never added to them:
each counter goes on from its last value by what the clients counted, and when the mesh can be read again, what it
counted in the gap is dropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
import pandas as pd

from analysis.samples import BUCKET, COUNT, ERRORS, REQUESTS, SUM, Metrics
from analysis.tables import Series
from conductor.clients import Clients
from rollout.errors import UnavailableError
from rollout.load import ClientCounts
from rollout.ports import Clock, LoadGenerator

_COLUMNS = ["time", "track", "pod", "metric", "le", "value"]
_NO_EDGE = -1.0


@dataclass(slots=True)
class SplicedMetrics:
    """Metrics that go on with the clients' counts; the same as the mesh's as long as that answers."""

    mesh: Metrics
    load: LoadGenerator
    clients: Clients
    clock: Clock
    _shown: dict[Series, float] = field(default_factory=dict)
    """The last values that were given out."""
    _shift: dict[Series, float] = field(default_factory=dict)
    """What is added to the mesh's values since a gap."""
    _until: float = -np.inf
    """The end of the last gap, in unix seconds."""
    _before: ClientCounts = field(default_factory=ClientCounts)
    """The clients' counts when the mesh was read last."""

    def read(self, since: datetime) -> pd.DataFrame:
        """Return the mesh's samples, or in its absence one of the clients.

        Raises
        ------
        UnavailableError
            The mesh does not answer, and there is nothing to go on from.
        NoSamplesError
            It answers and has none.
        """
        try:
            frame = self.mesh.read(since)
        except UnavailableError as error:
            return self._instead(error)
        return self._joined(frame)

    def read_range(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Return the mesh's samples of the past."""
        return self.mesh.read_range(start, end)

    def _joined(self, frame: pd.DataFrame) -> pd.DataFrame:
        self.clients.instead_since, self._before = None, self.load.counts()
        frame = frame[frame["time"] > self._until].sort_values("time", kind="stable")
        keys = _keys(frame)
        if not np.isinf(self._until):
            self._take_shifts(keys, frame["value"].to_numpy(dtype=float))
            frame = frame.assign(value=frame["value"] + np.array([self._shift.get(key, 0.0) for key in keys]))
        self._shown |= dict(zip(keys, frame["value"].to_numpy(dtype=float), strict=True))
        return frame

    def _take_shifts(self, keys: list[Series], values: np.ndarray) -> None:
        last: dict[Series, float] = {}
        for key, value in zip(keys, values.tolist(), strict=True):
            if key not in self._shift and key in self._shown:
                self._shift[key] = self._shown[key] - value
            elif value < last.get(key, value):
                self._shift[key] = 0.0  # the counter began anew, and so does its value
            last[key] = value

    def _instead(self, error: UnavailableError) -> pd.DataFrame:
        now, counts = self.clock.now(), self.load.counts()
        if not self._shown or self.load.pid is None:
            raise error
        if self.clients.instead_since is None:
            self.clients.instead_since, self.clients.because = now, str(error)
        self._until = now.timestamp()
        self._shift = {}
        self._shown |= dict(self._grown(counts))
        self._before = counts
        rows = [
            (self._until, *key[:3], np.nan if key[3] == _NO_EDGE else key[3], value)
            for key, value in self._shown.items()
            if key[1] == ""
        ]
        return pd.DataFrame(rows, columns=_COLUMNS)

    def _grown(self, counts: ClientCounts) -> Iterator[tuple[Series, float]]:
        """Yield each of the gateway's counters, gone on by what the clients counted since."""
        for key, value in self._shown.items():
            track, pod, metric, edge = key
            if pod == "":
                yield key, value + counted(counts, track, metric, edge) - counted(self._before, track, metric, edge)
        for track in counts.requests:
            key = (track, "", ERRORS, _NO_EDGE)
            if key not in self._shown and (track, "", REQUESTS, _NO_EDGE) in self._shown:
                yield key, counted(counts, track, ERRORS, _NO_EDGE) - counted(self._before, track, ERRORS, _NO_EDGE)


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


def _keys(frame: pd.DataFrame) -> list[Series]:
    edges = frame["le"].fillna(_NO_EDGE).to_numpy(dtype=float)
    return list(zip(frame["track"], frame["pod"], frame["metric"], edges.tolist(), strict=True))
