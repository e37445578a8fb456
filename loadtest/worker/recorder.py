"""Counts every request of a Locust process, and ends the process when its parent is gone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gevent
from locust import log

from loadtest.load_spec import LoadSpec, counts_file, pace_file, windows_file
from loadtest.stats import LoadStats, count_kind, dump_stats
from loadtest.windows import Window, dump_window
from loadtest.worker.allowed_hosts import TargetRefusedError
from loadtest.worker.failure_kinds import failure_kind, raised_kind
from loadtest.worker.throttle import Throttle
from rollout.answers import is_client_error
from rollout.load import NOBODY
from rollout.model import Track

MOST_SHEDDINGS = 100
_KNOWN_TRACKS = frozenset(str(track) for track in Track)
_TICK_SECONDS = 0.25


class Recorder:
    """The counts of one process, and the pace that it keeps to.

    Parameters
    ----------
    spec
        What the process has to do.
    """

    def __init__(self, spec: LoadSpec) -> None:
        self.spec = spec
        self.stages = spec.stages
        self.pace_version = 0
        self._reset()

    def attach(self, events: Any) -> None:
        """Listen to every test and every request of this process."""
        events.test_start.add_listener(self._on_start)
        events.request.add_listener(self._on_request)
        events.user_error.add_listener(self._on_user_error)
        events.test_stopping.add_listener(self._on_stopping)
        events.test_stop.add_listener(self._on_stop)

    def _reset(self) -> None:
        # A living worker runs one test after the other: each begins with empty counts.
        self.stats = LoadStats()
        self.throttle = Throttle(self.spec.back_off_above)
        self.began = time.perf_counter()
        self._window = Window(0)
        self._pace_mtime = 0.0
        self.in_flight = 0
        self._sends = True

    def record_sent(self, due: float, *, at: float | None = None) -> None:
        """Count a request that is sent now, or was at a moment; on the clock of `time.perf_counter`."""
        now = time.perf_counter() if at is None else at
        self.stats.record_sent(now - due)
        self.in_flight += 1
        self.stats.seconds = now - self.began
        self._at(now).sent += 1

    def _on_request(
        self,
        name: object = "",
        request_type: object = "GET",
        response_time: float | None = None,
        response: Any = None,
        exception: Any = None,
        **_: Any,
    ) -> None:
        # A user's own client fires this event too, and may leave out what Locust's always give.
        if response_time is None and not exception:
            return  # something that took no time to measure, such as a message that came by itself
        seconds = (response_time or 0.0) / 1000
        sent = time.perf_counter() - seconds
        self.record_sent(sent, at=sent)
        title = str(name) if request_type in ("GET", "") else f"{request_type} {name}"
        kind = failure_kind(response, exception, self.spec.expected)
        self.record_answer(title, _track_of(response, self.spec.track_header), seconds, kind)

    def _on_user_error(self, exception: BaseException, tb: Any = None, **_: Any) -> None:
        if not isinstance(exception, TargetRefusedError):  # counted where it was refused
            count_kind(self.stats.raised, raised_kind(exception, tb, self.spec.workdir or Path()))

    def record_refused(self, host: str) -> None:
        """Count one request that was not sent, as its host must not be loaded."""
        count_kind(self.stats.refused, host)

    def record_answer(self, endpoint: str, header: object, seconds: float, error: str) -> None:
        """Count one answer: the track that it names, seconds since it was due, and what was wrong if anything was."""
        track = header if isinstance(header, str) and header in _KNOWN_TRACKS else NOBODY
        self.stats.record_answer(track, seconds, error, at=time.time(), endpoint=endpoint)
        self.throttle.record(failed=bool(error) and not is_client_error(error))
        self._at(time.perf_counter()).record(seconds, failed=bool(error))
        self.in_flight -= 1

    def _at(self, now: float) -> Window:
        width = self.spec.window_seconds
        index = int((now - self.began) / width) if width else 0
        if index != self._window.index:
            self._write_window()
            self._window = Window(index)
        return self._window

    def _on_start(self, environment: Any, **_: Any) -> None:
        self._reset()
        self._sends = not getattr(environment.parsed_options, "master", False)
        gevent.spawn(self._watch, environment)

    def _watch(self, environment: Any) -> None:
        adjusted = written = time.monotonic()
        while not self.stats.finished:
            now = time.monotonic()
            if now - written >= 1.0 or not self.stats.entries:
                written = now
                self._write_counts()
            if now - adjusted >= self.spec.back_off_seconds:
                adjusted = now
                self._back_off()
            if self.spec.parent and os.getppid() != self.spec.parent:
                # Nobody is left to stop the load: it must not outlive what asked for it.
                gevent.spawn_later(self.spec.grace_seconds + 2, os._exit, 1)
                environment.runner.quit()
                return
            if self.spec.workdir is not None:
                self._note_ended_users(environment)
            self._take_pace()
            gevent.sleep(_TICK_SECONDS)

    def _note_ended_users(self, environment: Any) -> None:
        runner = environment.runner
        if runner.state == "running" and not runner.user_count and environment.shape_class is None:
            self.stats.done = True  # each has raised `StopUser`, or an error before its first task

    def _back_off(self) -> None:
        error_share = self.throttle.adjust()
        if error_share is not None and len(self.stats.sheddings) < MOST_SHEDDINGS:
            self.stats.sheddings.append((time.perf_counter() - self.began, error_share))

    def _take_pace(self) -> None:
        try:
            written = pace_file(self.spec.folder).stat().st_mtime_ns
        except FileNotFoundError:
            return
        if written != self._pace_mtime:
            self._pace_mtime = written
            self.stages = LoadSpec.model_validate_json(pace_file(self.spec.folder).read_bytes()).stages
            self.pace_version += 1

    def _on_stopping(self, **_: Any) -> None:
        self.stats.finished = True
        until = time.monotonic() + self.spec.grace_seconds
        while self.in_flight and time.monotonic() < until:
            gevent.sleep(0.02)
        self._write_counts()  # `test_stop` does not follow where a listener of `test_start` quits

    def _on_stop(self, **_: Any) -> None:
        if self.spec.workdir is not None and log.unhandled_greenlet_exception:
            count_kind(self.stats.raised, "an event listener or a greenlet of the locustfile; locust.log has it whole")
        self._write_counts()
        self._write_window()
        self._window = Window(self._window.index + 1)

    def _write_counts(self) -> None:
        if not self._sends:  # a master only tells its workers
            return
        if self.spec.workdir is not None:  # its users may be thinking: time goes on without a request
            self.stats.seconds = time.perf_counter() - self.began
        _write_atomically(counts_file(self.spec.folder, os.getpid()), dump_stats(self.stats))

    def _write_window(self) -> None:
        if self.spec.window_seconds and (self._window.sent or self._window.answered):
            with windows_file(self.spec.folder, os.getpid()).open("a") as lines:
                lines.write(dump_window(self._window) + "\n")


def _track_of(response: Any, header: str) -> object:
    get = getattr(getattr(response, "headers", None), "get", None)
    return get(header) if callable(get) else None


def _write_atomically(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
