"""What runs inside the Locust process: users that send what the specification says.

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

from loadtest.load_spec import SPEC_VARIABLE, LoadSpec, base_folder
from loadtest.schedule import due_times, even, poisson
from loadtest.worker.http_connection import ConnectionPool
from loadtest.worker.recorder import Recorder
from rollout.answers import http_kind

MOST_IN_FLIGHT = 10_000
_MOST_SLEEP_SECONDS = 0.25

SPEC = LoadSpec.model_validate_json(Path(os.environ[SPEC_VARIABLE]).read_bytes())
recorder = Recorder(SPEC)
base_recorder = Recorder(SPEC.model_copy(update={"folder": base_folder(SPEC.folder)}))
"""Of the base, where there is one."""
_slots = itertools.count()


class _Sender(FastHttpUser):  # type: ignore[misc]
    """A user that sends the specification's requests, in proportion to their weights."""

    abstract = True

    def on_start(self) -> None:
        """Connect, and draw which requests this user sends."""
        self.slot = getattr(self.environment.runner, "worker_index", 0) + next(_slots)
        self.choices = weighted_choices(f"{SPEC.seed}/{self.slot}")
        self.connections = ConnectionPool(SPEC, self.host)
        if SPEC.base_host:
            self.choices = interleaved(self.choices, random.Random(f"{SPEC.seed}/{self.slot}/turns"))
            base = SPEC.model_copy(update={"requests": SPEC.base_requests})
            self.base_connections = ConnectionPool(base, SPEC.base_host)

    def send(self, choice: int, due: float) -> None:
        """Send one request, and count what became of it; a number below 0 is one of the base, counted from the end."""
        if choice >= 0:
            self._sent(choice, due, self.connections, recorder)
        else:
            self._sent(choice + len(SPEC.requests), due, self.base_connections, base_recorder)

    def _sent(self, number: int, due: float, connections: ConnectionPool, recorder: Recorder) -> None:
        recorder.record_sent(due)
        try:
            answer = connections.send(number)
        except (OSError, HTTPParseError) as failure:
            track, error = None, type(failure).__name__
        else:
            track, status = answer.get(SPEC.track_header), answer.get_code()
            error = "" if status in SPEC.expected else http_kind(status)
        recorder.record_answer(SPEC.requests[number].name, track, time.perf_counter() - due, error)


class OpenModelUser(_Sender):
    """The only user of a process: a clock that spawns a request at every due time."""

    abstract = SPEC.users > 0

    @task  # type: ignore[untyped-decorator]
    def generate(self) -> None:
        """Send requests until all have been sent, or the run is stopped."""
        stats, clock = recorder.stats, time.perf_counter
        for number, due in enumerate(self._due()):
            while (wait := due - clock()) > 0 and not stats.finished:
                gevent.sleep(min(wait, _MOST_SLEEP_SECONDS))
            while recorder.in_flight + base_recorder.in_flight >= MOST_IN_FLIGHT and not stats.finished:
                gevent.sleep(_MOST_SLEEP_SECONDS)
            if stats.finished:
                break
            if recorder.throttle.admits(number):
                gevent.spawn_raw(self.send, next(self.choices), due)
            else:
                stats.held_back += 1
            if number % 100 == 99:
                gevent.sleep(0)  # a clock that is late has to let the answers in
        stats.done = True
        raise StopUser

    def _due(self) -> Iterator[float]:
        """Yield the due times of the present pace, and of each that follows it."""
        began = recorder.began
        while not recorder.stats.finished:
            version = recorder.pace_version
            for due in self._due_at_pace(began):
                if version != recorder.pace_version:
                    break
                yield due
            if version == recorder.pace_version and recorder.stages[-1].seconds < math.inf:
                return
            while version == recorder.pace_version and not recorder.stats.finished:
                gevent.sleep(_MOST_SLEEP_SECONDS)
            began = time.perf_counter()

    def _due_at_pace(self, began: float) -> Iterator[float]:
        slots = SPEC.processes
        marks = (
            even(slot=self.slot % slots, slots=slots)
            if SPEC.arrivals == "even"
            else poisson(f"{SPEC.seed}/{self.slot}/{recorder.pace_version}", slots=slots)
        )
        # A user that takes over from a lost worker begins at the present, not with what was due before.
        now = time.perf_counter() - 1.0
        return (due for offset in due_times(recorder.stages, marks) if (due := began + offset) >= now)


class ClosedModelUser(_Sender):
    """One of several users who wait for an answer, think, and ask again."""

    abstract = SPEC.users == 0
    wait_time = between(*SPEC.think_seconds) if SPEC.think_seconds[1] > 0 else constant(0)

    @task  # type: ignore[untyped-decorator]
    def ask(self) -> None:
        """Send one request and wait for its answer; with a base, to each of both."""
        for _ in range(2 if SPEC.base_host else 1):
            self.send(next(self.choices), time.perf_counter())


def weighted_choices(seed: str) -> Iterator[int]:
    """Yield the numbers of requests in proportion to their weights."""
    draw, numbers = random.Random(seed), range(len(SPEC.requests))
    if len(numbers) == 1:
        return itertools.repeat(0)
    bounds = list(itertools.accumulate(request.weight for request in SPEC.requests))
    return (draw.choices(numbers, cum_weights=bounds)[0] for _ in itertools.count())


def interleaved(numbers: Iterator[int], draw: random.Random) -> Iterator[int]:
    """Yield each request twice, once for the base as a number below 0; which of both is first is drawn each time."""
    for number in numbers:
        pair = (number, number - len(SPEC.requests))
        yield from pair if draw.random() < 0.5 else reversed(pair)


recorder.attach(events)
if SPEC.base_host:
    base_recorder.attach(events)
