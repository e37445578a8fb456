"""What runs inside the Locust process: users that send what the order says.

The open model's one user is a clock: it sends each request when it is due, whatever became of the others. A slow
service does not slow the arrivals, and latency is measured from the moment a request was due, so that a stall of the
service or of this process shows in the percentiles (no coordinated omission). The closed model's users wait for
their answers, as people do.
"""

from __future__ import annotations

import itertools
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
from gevent.pool import Pool
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, between, constant, events, task
from locust.exception import StopUser

from loadtest.books import Books
from loadtest.order import ORDER_VARIABLE, SYNTHETIC_HEADER, LoadOrder, Request
from loadtest.shapes import due_times, even, poisson

MOST_IN_FLIGHT = 10_000
_MOST_SLEEP_SECONDS = 0.25

ORDER = LoadOrder.model_validate_json(Path(os.environ[ORDER_VARIABLE]).read_bytes())
books = Books(ORDER)
in_flight = Pool(MOST_IN_FLIGHT)
_slots = itertools.count()


class _NoRetryPool(HTTPClientPool):
    """Connections on which a broken request fails instead of being sent again behind our back."""

    def get_client(self, *args: Any, **kwargs: Any) -> Any:
        client = super().get_client(*args, **kwargs)
        # The client repeats a request on a broken connection up to size + 1 times: that would hide lost requests.
        client._connection_pool.size = -1
        return client


class _Sender(FastHttpUser):  # type: ignore[misc]
    """A user that sends the order's requests, in proportion to their weights."""

    abstract = True
    connection_timeout = ORDER.timeout_seconds
    network_timeout = ORDER.timeout_seconds
    client_pool = _NoRetryPool(
        concurrency=1000, connection_timeout=ORDER.timeout_seconds, network_timeout=ORDER.timeout_seconds
    )

    def on_start(self) -> None:
        """Follow no redirect and keep no cookie: either would tie requests to one track, or count them twice."""
        self.client.client.redirect_response_codes = frozenset()
        self.client.client.cookiejar = None
        self.slot = getattr(self.environment.runner, "worker_index", 0) + next(_slots)
        self.choices = chosen(f"{ORDER.seed}/{self.slot}")

    def send(self, request: Request, due: float) -> None:
        """Send one request."""
        books.sending(due)
        headers = request.headers | {SYNTHETIC_HEADER: "locust"}
        self.client.request(
            request.method, request.path, name=request.name, data=request.body, headers=headers, context={"due": due}
        )


class OpenModelUser(_Sender):
    """The only user of a process: a clock that spawns a request at every due time."""

    abstract = ORDER.users > 0

    @task  # type: ignore[untyped-decorator]
    def generate(self) -> None:
        """Send requests until all have been sent, or the run is stopped."""
        for number, due in enumerate(self._due()):
            while (wait := due - time.perf_counter()) > 0 and not books.tally.finished:
                gevent.sleep(min(wait, _MOST_SLEEP_SECONDS))
            if books.tally.finished:
                break
            if books.throttle.admits(number):
                in_flight.spawn(self.send, next(self.choices), due)
            else:
                books.tally.held_back += 1
        books.tally.done = True
        raise StopUser

    def _due(self) -> Iterator[float]:
        """Yield the due times of the pace in force, and of each that follows it."""
        began = books.began
        while not books.tally.finished:
            version = books.pace_version
            for due in self._paced(began):
                if version != books.pace_version:
                    break
                yield due
            if version == books.pace_version and books.legs and books.legs[-1].seconds < float("inf"):
                return
            while version == books.pace_version and not books.tally.finished:
                gevent.sleep(_MOST_SLEEP_SECONDS)
            began = time.perf_counter()

    def _paced(self, began: float) -> Iterator[float]:
        slots = ORDER.processes
        marks = (
            even(slot=self.slot % slots, slots=slots)
            if ORDER.arrivals == "even"
            else poisson(f"{ORDER.seed}/{self.slot}/{books.pace_version}", slots=slots)
        )
        # A user that takes over from a lost worker begins at the present, not with what was due before.
        now = time.perf_counter() - 1.0
        return (due for offset in due_times(books.legs, marks) if (due := began + offset) >= now)


class ClosedModelUser(_Sender):
    """One of several users who wait for an answer, think, and ask again."""

    abstract = ORDER.users == 0
    wait_time = between(*ORDER.think_seconds) if ORDER.think_seconds[1] > 0 else constant(0)

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """Send one request and wait for its answer."""
        self.send(next(self.choices), time.perf_counter())


def chosen(seed: str) -> Iterator[Request]:
    """Yield requests in proportion to their weights."""
    draw, requests = random.Random(seed), ORDER.requests
    if len(requests) == 1:
        return itertools.repeat(requests[0])
    bounds = list(itertools.accumulate(request.weight for request in requests))
    return (draw.choices(requests, cum_weights=bounds)[0] for _ in itertools.count())


def _await_answers(**_: Any) -> None:
    in_flight.join(timeout=ORDER.grace_seconds)


books.listen(events)
events.test_stopping.add_listener(_await_answers)
