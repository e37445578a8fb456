"""The clients' counts in place of the mesh's: nothing is counted twice, whenever the mesh is gone."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from analysis.scrapes.reading import Cursor, read_scrapes
from analysis.scrapes.samples import BUCKET, ERRORS, REQUESTS, Samples
from conductor.load.fallback_metrics import FallbackMetrics
from conductor.state.client_counts import Clients
from rollout.errors import UnavailableError
from rollout.load import ClientCounts
from tests.fakes import FakeClock, FakeLoad
from tests.unit.analysis.frames import series_of

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Counters:
    """A gateway's counters of two tracks, sampled once a second; the source can be taken away."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.gone = clock, False
        self.values = {(track, name): 0.0 for track in ("stable", "canary") for name in (REQUESTS, ERRORS, BUCKET)}
        self.rows: list[tuple[float, str, str, str, float, float]] = []

    def serve(self, track: str, requests: int, errors: int = 0) -> None:
        self.values[track, REQUESTS] += requests
        self.values[track, ERRORS] += errors
        self.values[track, BUCKET] += requests

    def scrape(self) -> None:
        now = self.clock.now().timestamp()
        for (track, name), value in self.values.items():
            edges = (100.0, np.inf) if name == BUCKET else (np.nan,)
            self.rows += [(now, track, "", name, edge, value) for edge in edges]

    def read(self, since: datetime) -> Samples:
        if self.gone:
            raise UnavailableError("query http://prometheus: connection refused")
        return Samples.of_rows(
            (time, series_of(*series), value) for time, *series, value in self.rows if time > since.timestamp()
        )


class Scene:
    """A service whose requests are half of them ours."""

    def __init__(self) -> None:
        self.clock, self.load, self.clients = FakeClock(), FakeLoad(), Clients()
        self.mesh = Counters(self.clock)
        self.metrics = FallbackMetrics(self.mesh, self.load, self.clients, self.clock)  # type: ignore[arg-type]
        self.load.start()
        self.cursor, self.seen = Cursor(), np.zeros(2)
        self.errors, self.ours = np.zeros(2), {"stable": 0, "canary": 0}

    def second(self, *, errors: int = 0) -> None:
        """Let a second pass: 80 requests to stable and 20 to the canary, half of them synthetic; then look."""
        self.clock.sleep(pd.Timedelta(seconds=1).to_pytimedelta())
        for track, requests in (("stable", 80), ("canary", 20)):
            self.mesh.serve(track, requests, errors if track == "canary" else 0)
            self.ours[track] += requests // 2
        bad = {"canary": self.load.counted.errors.get("canary", 0) + errors, "stable": 0}
        fast = {track: {40.0: count} for track, count in self.ours.items()}
        self.load.counted = ClientCounts(requests=dict(self.ours), errors=bad, latencies_ms=fast)
        self.mesh.scrape()
        scrapes, self.cursor = read_scrapes(self.cursor, self.metrics.read(EPOCH))
        self.seen += scrapes.requests.sum(axis=0)
        self.errors += scrapes.errors.sum(axis=0)


@pytest.fixture
def scene() -> Scene:
    scene = Scene()
    for _ in range(5):
        scene.second()
    return scene


def test_while_the_mesh_can_be_read_nothing_is_changed(scene: Scene):
    assert scene.seen.tolist() == [80, 320]  # the first scrape is the baseline
    assert scene.clients.instead_since is None


def test_while_it_is_gone_the_clients_counts_go_on_alone(scene: Scene):
    scene.mesh.gone = True
    for _ in range(4):
        scene.second(errors=2)

    assert scene.seen.tolist() == [80 + 40, 320 + 160]
    assert scene.errors.tolist() == [8, 0]
    assert scene.clients.instead_since is not None
    assert "connection refused" in scene.clients.because


def test_when_it_is_back_what_it_counted_in_the_gap_is_dropped(scene: Scene):
    scene.mesh.gone = True
    for _ in range(4):
        scene.second()
    scene.mesh.gone = False
    for _ in range(5):
        scene.second()

    # The first sample after the gap is where the mesh's own count begins again.
    assert scene.seen.tolist() == [80 + 40 + 80, 320 + 160 + 320]
    assert scene.clients.instead_since is None


def test_a_second_gap_and_a_gateway_that_begins_anew_add_nothing_of_their_own(scene: Scene):
    for _ in range(2):
        scene.mesh.gone = True
        scene.second()
        scene.mesh.gone = False
        for _ in range(3):
            scene.second()
    before = scene.seen.copy()
    scene.mesh.values = dict.fromkeys(scene.mesh.values, 0.0)
    scene.second()

    assert (scene.seen - before).tolist() == [20, 80]


def test_without_a_load_that_runs_the_mesh_is_missed(scene: Scene):
    scene.mesh.gone = True
    scene.load.stop()

    with pytest.raises(UnavailableError, match="connection refused"):
        scene.second()
