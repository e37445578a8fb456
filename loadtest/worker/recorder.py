"""Book-keeping inside a Locust process: counts every request that it reports, and ends it when its parent is gone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gevent
from locust import log

from loadtest.load_spec import LoadOrder, counts_file, pace_file, windows_file
from loadtest.tally import Tally, count_kind, dump_tally
from loadtest.windows import Window, dump_window
from loadtest.worker.allowed_hosts import TargetRefusedError
from loadtest.worker.failure_kinds import failure_kind, raised_kind
from loadtest.worker.throttle import Throttle
from rollout.answers import is_client_error
from rollout.load import NOBODY
from rollout.model import Track

MOST_SHEDDINGS = 100
_KNOWN_TRACKS = frozenset(str(track) for track in Track)
_LOOK_SECONDS = 0.25


class Books:
    """The counts of one process, and the pace that it keeps to.

    Parameters
    ----------
    order
        What the process has been told to do.
    """

    def __init__(self, order: LoadOrder) -> None:
        self.order = order
        self.legs = order.legs
        self.pace_version = 0
        self._open()

    def listen(self, events: Any) -> None:
        """Hear of every test and every request of this process."""
        events.test_start.add_listener(self._on_start)
        events.request.add_listener(self._on_request)
        events.user_error.add_listener(self._on_raised)
        events.test_stopping.add_listener(self._on_stopping)
        events.test_stop.add_listener(self._on_stop)

    def _open(self) -> None:
        # A living worker runs one test after the other: each begins with empty books.
        self.tally = Tally()
        self.throttle = Throttle(self.order.back_off_above)
        self.began = time.perf_counter()
        self._window = Window(0)
        self._paced = 0.0
        self.in_flight = 0
        self._sends = True

    def sending(self, due: float, *, at: float | None = None) -> None:
        """Count a request that is sent now, or was at a moment; on the clock of `time.perf_counter`."""
        now = time.perf_counter() if at is None else at
        self.tally.sent_late(now - due)
        self.in_flight += 1
        self.tally.seconds = now - self.began
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
        self.sending(sent, at=sent)
        title = str(name) if request_type in ("GET", "") else f"{request_type} {name}"
        kind = failure_kind(response, exception, self.order.expected)
        self.answered(title, _track_of(response, self.order.track_header), seconds, kind)

    def _on_raised(self, exception: BaseException, tb: Any = None, **_: Any) -> None:
        if not isinstance(exception, TargetRefusedError):  # counted where it was refused
            count_kind(self.tally.raised, raised_kind(exception, tb, self.order.workdir or Path()))

    def refused(self, host: str) -> None:
        """Count one request that was not sent, as its host must not be loaded."""
        count_kind(self.tally.refused, host)

    def answered(self, endpoint: str, said: object, seconds: float, error: str) -> None:
        """Count one answer: the track that it names, seconds since it was due, and what was wrong if anything was."""
        track = said if isinstance(said, str) and said in _KNOWN_TRACKS else NOBODY
        self.tally.answered(track, seconds, error, at=time.time(), endpoint=endpoint)
        self.throttle.note(failed=bool(error) and not is_client_error(error))
        self._at(time.perf_counter()).note(seconds, failed=bool(error))
        self.in_flight -= 1

    def _at(self, now: float) -> Window:
        width = self.order.window_seconds
        index = int((now - self.began) / width) if width else 0
        if index != self._window.index:
            self._write_window()
            self._window = Window(index)
        return self._window

    def _on_start(self, environment: Any, **_: Any) -> None:
        self._open()
        self._sends = not getattr(environment.parsed_options, "master", False)
        gevent.spawn(self._keep, environment)

    def _keep(self, environment: Any) -> None:
        looked = written = time.monotonic()
        while not self.tally.finished:
            now = time.monotonic()
            if now - written >= 1.0 or not self.tally.cells:
                written = now
                self._write_counts()
            if now - looked >= self.order.back_off_seconds:
                looked = now
                self._back_off()
            if self.order.parent and os.getppid() != self.order.parent:
                # Nobody is left to stop the load: it must not outlive what asked for it.
                gevent.spawn_later(self.order.grace_seconds + 2, os._exit, 1)
                environment.runner.quit()
                return
            if self.order.workdir is not None:
                self._note_ended_users(environment)
            self._take_pace()
            gevent.sleep(_LOOK_SECONDS)

    def _note_ended_users(self, environment: Any) -> None:
        runner = environment.runner
        if runner.state == "running" and not runner.user_count and environment.shape_class is None:
            self.tally.done = True  # each has raised `StopUser`, or an error before its first task

    def _back_off(self) -> None:
        error_share = self.throttle.look()
        if error_share is not None and len(self.tally.sheddings) < MOST_SHEDDINGS:
            self.tally.sheddings.append((time.perf_counter() - self.began, error_share))

    def _take_pace(self) -> None:
        try:
            written = pace_file(self.order.folder).stat().st_mtime_ns
        except FileNotFoundError:
            return
        if written != self._paced:
            self._paced = written
            self.legs = LoadOrder.model_validate_json(pace_file(self.order.folder).read_bytes()).legs
            self.pace_version += 1

    def _on_stopping(self, **_: Any) -> None:
        self.tally.finished = True
        until = time.monotonic() + self.order.grace_seconds
        while self.in_flight and time.monotonic() < until:
            gevent.sleep(0.02)
        self._write_counts()  # `test_stop` does not follow where a listener of `test_start` quits

    def _on_stop(self, **_: Any) -> None:
        if self.order.workdir is not None and log.unhandled_greenlet_exception:
            count_kind(self.tally.raised, "an event listener or a greenlet of the locustfile; locust.log has it whole")
        self._write_counts()
        self._write_window()
        self._window = Window(self._window.index + 1)

    def _write_counts(self) -> None:
        if not self._sends:  # a master only tells its workers
            return
        if self.order.workdir is not None:  # its users may be thinking: time goes on without a request
            self.tally.seconds = time.perf_counter() - self.began
        _replace(counts_file(self.order.folder, os.getpid()), dump_tally(self.tally))

    def _write_window(self) -> None:
        if self.order.window_seconds and (self._window.sent or self._window.answered):
            with windows_file(self.order.folder, os.getpid()).open("a") as lines:
                lines.write(dump_window(self._window) + "\n")


def _track_of(response: Any, header: str) -> object:
    get = getattr(getattr(response, "headers", None), "get", None)
    return get(header) if callable(get) else None


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
