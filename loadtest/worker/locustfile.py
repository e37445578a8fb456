"""What runs inside the Locust process: users that send what the order says.

The open model's one user is a clock: it sends each request when it is due, whatever became of the others. A slow
service does not slow the arrivals, and latency is measured from the moment a request was due, so that a stall of the
service or of this process shows in the percentiles (no coordinated omission). The closed model's users wait for
their answers, as people do.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path

import gevent
from geventhttpclient.response import HTTPParseError
from locust import FastHttpUser, between, constant, events, task
from locust.exception import StopUser

from loadtest.load_spec import ORDER_VARIABLE, LoadOrder, base_folder
from loadtest.schedule import due_times, even, poisson
from loadtest.worker.http_connection import Wire
from loadtest.worker.recorder import Books
from rollout.answers import http_kind

MOST_IN_FLIGHT = 10_000
_MOST_SLEEP_SECONDS = 0.25

ORDER = LoadOrder.model_validate_json(Path(os.environ[ORDER_VARIABLE]).read_bytes())
books = Books(ORDER)
base_books = Books(ORDER.model_copy(update={"folder": base_folder(ORDER.folder)}))
"""Of the base, where there is one."""
_slots = itertools.count()


class _Sender(FastHttpUser):  # type: ignore[misc]
    """A user that sends the order's requests, in proportion to their weights."""

    abstract = True

    def on_start(self) -> None:
        """Find out which of several users this is."""
        self.slot = getattr(self.environment.runner, "worker_index", 0) + next(_slots)
        self.choices = chosen(f"{ORDER.seed}/{self.slot}")
        self.wire = Wire(ORDER, self.host)
        if ORDER.base_host:
            self.choices = paired(self.choices, random.Random(f"{ORDER.seed}/{self.slot}/turns"))
            base = ORDER.model_copy(update={"requests": ORDER.base_requests})
            self.base_wire = Wire(base, ORDER.base_host)

    def send(self, choice: int, due: float) -> None:
        """Send one request, and count what became of it; a number below 0 is one of the base, counted from the end."""
        if choice >= 0:
            self._sent(choice, due, self.wire, books)
        else:
            self._sent(choice + len(ORDER.requests), due, self.base_wire, base_books)

    def _sent(self, number: int, due: float, wire: Wire, books: Books) -> None:
        books.sending(due)
        try:
            answer = wire.send(number)
        except (OSError, HTTPParseError) as failure:
            track, error = None, type(failure).__name__
        else:
            track, status = answer.get(ORDER.track_header), answer.get_code()
            error = "" if status in ORDER.expected else http_kind(status)
        books.answered(ORDER.requests[number].name, track, time.perf_counter() - due, error)


class OpenModelUser(_Sender):
    """The only user of a process: a clock that spawns a request at every due time."""

    abstract = ORDER.users > 0

    @task  # type: ignore[untyped-decorator]
    def generate(self) -> None:
        """Send requests until all have been sent, or the run is stopped."""
        tally, clock = books.tally, time.perf_counter
        for number, due in enumerate(self._due()):
            while (wait := due - clock()) > 0 and not tally.finished:
                gevent.sleep(min(wait, _MOST_SLEEP_SECONDS))
            while books.in_flight + base_books.in_flight >= MOST_IN_FLIGHT and not tally.finished:
                gevent.sleep(_MOST_SLEEP_SECONDS)
            if tally.finished:
                break
            if books.throttle.admits(number):
                gevent.spawn_raw(self.send, next(self.choices), due)
            else:
                tally.held_back += 1
            if number % 100 == 99:
                gevent.sleep(0)  # a clock that is late has to let the answers in
        tally.done = True
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
            if version == books.pace_version and books.legs[-1].seconds < math.inf:
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
        """Send one request and wait for its answer; with a base, to each of both."""
        for _ in range(2 if ORDER.base_host else 1):
            self.send(next(self.choices), time.perf_counter())


def chosen(seed: str) -> Iterator[int]:
    """Yield the numbers of requests in proportion to their weights."""
    draw, numbers = random.Random(seed), range(len(ORDER.requests))
    if len(numbers) == 1:
        return itertools.repeat(0)
    bounds = list(itertools.accumulate(request.weight for request in ORDER.requests))
    return (draw.choices(numbers, cum_weights=bounds)[0] for _ in itertools.count())


def paired(numbers: Iterator[int], turns: random.Random) -> Iterator[int]:
    """Yield each request twice, once for the base as a number below 0; which of both is first is drawn each time."""
    for number in numbers:
        pair = (number, number - len(ORDER.requests))
        yield from pair if turns.random() < 0.5 else reversed(pair)


books.listen(events)
if ORDER.base_host:
    base_books.listen(events)
