"""A server that answers range selectors, as Prometheus does, from a recorded trace."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import numpy as np

from analysis.offline.recording import Trace
from tests.unit.analysis.frames import recorded_frame

NAMES = {
    "requests_total": "istio_requests_total",
    "duration_ms_bucket": "istio_request_duration_milliseconds_bucket",
    "duration_ms_sum": "istio_request_duration_milliseconds_sum",
    "duration_ms_count": "istio_request_duration_milliseconds_count",
}
VERSIONS = {"stable": "v1", "canary": "v2"}
Samples = tuple[dict[str, str], list[tuple[float, float]]]


@dataclass
class PrometheusServer:
    """Where it answers, and what it was asked."""

    url: str
    asked: list[str] = field(default_factory=list)


def as_series(trace: Trace, start: float) -> list[Samples]:
    """Return the trace's counters as Istio's series; answers with an error are a series of their own."""
    frame = recorded_frame(trace)
    wide = frame[frame["metric"].isin([*NAMES, "errors_total"])]
    found: list[Samples] = []
    for (track, metric, le), rows in wide.groupby(["track", "metric", "le"], dropna=False):
        labels = {"reporter": "source", "destination_version": VERSIONS[track], "instance": "gateway"}
        times, values = rows["time"].to_numpy() + start, rows["value"].to_numpy()
        if metric == "errors_total":
            labels |= {"__name__": NAMES["requests_total"], "response_code": "503"}
        else:
            labels |= {"__name__": NAMES[metric]} | ({"response_code": "200"} if metric == "requests_total" else {})
        if metric == "requests_total":
            errors = wide[(wide["track"] == track) & (wide["metric"] == "errors_total")]
            values = values - errors["value"].to_numpy()
        if not np.isnan(le):
            labels["le"] = "+Inf" if np.isinf(le) else f"{le:g}"
        found.append((labels, list(zip(times.tolist(), values.tolist(), strict=True))))
    return found


@contextmanager
def serving(trace: Trace, start: float, *services: dict[str, str]) -> Iterator[PrometheusServer]:
    """Serve a trace whose time 0 is this unix time, on a free port of the loopback.

    With labels of services each of them has counted the trace's requests.
    """
    counted = as_series(trace, start)
    series = [(labels | service, samples) for service in services or ({},) for labels, samples in counted]

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked = parse_qs(urlparse(self.path).query)
            told.asked.append(asked["query"][0])
            end = float(asked["time"][0])
            window = re.search(r"\[(\d+)ms\]", asked["query"][0])
            assert window is not None
            body = json.dumps(answer(selected(series, asked["query"][0]), end - int(window[1]) / 1000, end)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    told = PrometheusServer(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield told
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def selected(series: list[Samples], query: str) -> list[Samples]:
    """Return the series that a selector names, by those of its labels that they have."""
    wanted = re.findall(r'(\w+)=~?"([^"]*)"', query)
    return [one for one in series if all(re.fullmatch(value, one[0][name]) for name, value in wanted if name in one[0])]


def answer(series: list[Samples], after: float, until: float) -> dict[str, Any]:
    """Return what a range selector finds."""
    result = []
    for labels, samples in series:
        values = [[time, repr(value)] for time, value in samples if after < time <= until]
        if values:
            result.append({"metric": labels, "values": values})
    return {"status": "success", "data": {"resultType": "matrix", "result": result}}
