"""A Prometheus of the emulated cluster: scripted traffic in real time, split as the route says at each scrape."""

from __future__ import annotations

import json
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from typing import Any
from urllib.parse import parse_qs, urlparse

from analysis.scrapes.samples import Samples
from backends.route_patches import Destinations
from backends.route_splits import find_split
from rollout.errors import NoSamplesError
from rollout.model import Track, Weights
from tests.emulated.server import EmulatedCluster
from tests.fakes import FakeClock, FakeMetrics

_NAMES = {
    "requests_total": "istio_requests_total",
    "duration_ms_bucket": "istio_request_duration_milliseconds_bucket",
    "duration_ms_sum": "istio_request_duration_milliseconds_sum",
    "duration_ms_count": "istio_request_duration_milliseconds_count",
}
_VERSIONS = {"stable": "v1", "canary": "v2"}
_TURN_SECONDS = 0.05


class Traffic:
    """The split that stands on the emulated server, asked without a request."""

    def __init__(self, server: EmulatedCluster, destinations: Destinations) -> None:
        self._server, self._destinations = server, destinations

    @property
    def weights(self) -> Weights:
        document = self._server.store.get("virtualservices", "canary-app", "canary-app")
        return find_split(document, self._destinations).weights


class Mesh:
    """What Prometheus would have of the gateway; a context manager, listening on loopback.

    Tests change `metrics.behaviour` and `metrics.rps` at any time.
    """

    def __init__(self, server: EmulatedCluster, destinations: Destinations, *, scrape: timedelta) -> None:
        self._clock = FakeClock(datetime.now(UTC) - timedelta(seconds=60))
        self.metrics = FakeMetrics(self._clock, Traffic(server, destinations), scrape=scrape)  # type: ignore[arg-type]
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (_Answers,), {"mesh": self}))
        self._server.daemon_threads = True
        serve = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._threads = [serve, threading.Thread(target=self._flow, daemon=True)]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Mesh:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._server.shutdown()
        self._server.server_close()
        for thread in self._threads:
            thread.join()

    def await_traffic(self, track: Track) -> None:
        """Wait until a scrape has seen answers of a track; its series stay from then on."""
        began = datetime.now(UTC) - timedelta(seconds=60)
        while not any(
            one["metric"]["destination_version"] == _VERSIONS[track] for one in self.series(began, datetime.now(UTC))
        ):
            time.sleep(_TURN_SECONDS)

    def series(self, since: datetime, until: datetime) -> list[dict[str, Any]]:
        with self._lock:
            try:
                samples = self.metrics.read(since)
            except NoSamplesError:
                return []
        return _series(samples.between(-inf, until.timestamp()))

    def _flow(self) -> None:
        while not self._done.wait(_TURN_SECONDS):
            with self._lock:
                self._clock.advance(datetime.now(UTC) - self._clock.time)


def _series(samples: Samples) -> list[dict[str, Any]]:
    answers = []
    for series, times, values in samples.each():
        labels = {"__name__": _NAMES[series.metric], "reporter": "source", "instance": "gateway"}
        labels |= {"destination_version": _VERSIONS[series.track]}
        labels |= {"le": f"{series.le:g}"} if series.metric.endswith("bucket") else {}
        labels |= {"response_code": series.answer} if series.answer else {}
        answers.append(_one(labels, times, values))
    return answers


def _one(labels: dict[str, str], times: Any, values: Any) -> dict[str, Any]:
    named = labels | ({"le": "+Inf"} if labels.get("le") == "inf" else {})
    return {"metric": named, "values": [[t, repr(float(v))] for t, v in zip(times.tolist(), values, strict=True)]}


class _Answers(BaseHTTPRequestHandler):
    mesh: Mesh

    def do_GET(self) -> None:
        asked = parse_qs(urlparse(self.path).query)
        until = datetime.fromtimestamp(float(asked["time"][0]) if "time" in asked else time.time(), UTC)
        window = re.search(r"\[(\d+)ms\]", asked["query"][0])
        assert window is not None
        found = self.mesh.series(until - timedelta(milliseconds=int(window[1])), until)
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": found}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass
