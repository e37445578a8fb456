"""What runs inside the Locust process: one user that sends each request when it is due, whatever became of the others.

An open model: a slow service does not slow the arrivals, and latency is measured from the moment a request was due,
so that a stall of the service or of this process shows in the percentiles (no coordinated omission).
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, events, task
from locust.exception import StopUser

from loadtest.shapes import constant
from loadtest.tally import NOBODY, Tally, dump_tally
from rollout.model import Track

TRACK_HEADER = "x-canary-track"
MOST_IN_FLIGHT = 10_000
_KNOWN_TRACKS = frozenset(str(track) for track in Track)

PATH = os.environ["CANARY_LOAD_PATH"]
RATE = float(os.environ["CANARY_LOAD_RATE"])
COUNTS = Path(os.environ["CANARY_LOAD_COUNTS"])
PARENT = int(os.environ["CANARY_LOAD_PARENT"])
TIMEOUT_SECONDS = float(os.environ["CANARY_LOAD_TIMEOUT"])
GRACE_SECONDS = float(os.environ["CANARY_LOAD_GRACE"])

tally = Tally()
in_flight = Pool(MOST_IN_FLIGHT)


class _NoRetryPool(HTTPClientPool):
    """Connections on which a broken request fails instead of being sent again behind our back."""

    def get_client(self, *args: Any, **kwargs: Any) -> Any:
        client = super().get_client(*args, **kwargs)
        # The client repeats a request on a broken connection up to size + 1 times: that would hide lost requests.
        client._connection_pool.size = -1
        return client


class OpenModelUser(FastHttpUser):  # type: ignore[misc]
    """The only user: a clock that spawns a request at every due time."""

    connection_timeout = TIMEOUT_SECONDS
    network_timeout = TIMEOUT_SECONDS
    max_redirects = 0
    client_pool = _NoRetryPool(concurrency=1000, connection_timeout=TIMEOUT_SECONDS, network_timeout=TIMEOUT_SECONDS)

    @task  # type: ignore[untyped-decorator]
    def generate(self) -> None:
        """Send requests until the run is stopped."""
        self.client.client.cookiejar = None  # a cookie would tie all requests to one track
        began = time.perf_counter()
        for offset in constant(RATE):
            due = began + offset
            if (wait := due - time.perf_counter()) > 0:
                gevent.sleep(wait)
            if tally.finished:
                raise StopUser
            in_flight.spawn(self._send, due)
            tally.seconds = time.perf_counter() - began

    def _send(self, due: float) -> None:
        tally.sent_late(time.perf_counter() - due)
        with self.client.get(PATH, catch_response=True) as response:
            seconds = time.perf_counter() - due
            track = _track_of(response)
            response.request_meta |= {"name": track, "response_time": seconds * 1000}
            tally.answered(track, seconds, _error_of(response), at=time.time())


def _track_of(response: Any) -> str:
    said = response.headers.get(TRACK_HEADER) if response.headers is not None else None
    return said if said in _KNOWN_TRACKS else NOBODY


def _error_of(response: Any) -> str:
    if response.status_code == 0:
        return type(response.error).__name__
    return f"status {response.status_code}" if response.status_code >= 400 else ""


def _write_counts() -> None:
    fresh = COUNTS.with_suffix(".new")
    fresh.write_text(dump_tally(tally))
    fresh.replace(COUNTS)


def _keep_books(environment: Any) -> None:
    while not tally.finished:
        _write_counts()
        if os.getppid() != PARENT:
            # Nobody is left to stop the load: it must not outlive the rollout that asked for it.
            gevent.spawn_later(GRACE_SECONDS + 2, os._exit, 1)
            environment.runner.quit()
            return
        gevent.sleep(1.0 if tally.tracks else 0.1)


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def _on_start(environment: Any, **_: Any) -> None:
    gevent.spawn(_keep_books, environment)


@events.test_stopping.add_listener  # type: ignore[untyped-decorator]
def _on_stopping(**_: Any) -> None:
    tally.finished = True
    in_flight.join(timeout=GRACE_SECONDS)
    tally.abandoned = len(in_flight)
    _write_counts()
