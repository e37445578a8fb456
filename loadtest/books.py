"""Book-keeping inside a Locust process: counts every request that it reports, and ends it when its parent is gone."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gevent

from loadtest.order import LoadOrder, counts_file, pace_file, windows_file
from loadtest.tally import Tally, dump_tally
from loadtest.throttle import Throttle
from loadtest.windows import Window, dump_window
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

    def _on_request(self, name: str, response_time: float, response: Any, exception: Any, **_: Any) -> None:
        seconds = response_time / 1000
        sent = time.perf_counter() - seconds
        self.sending(sent, at=sent)
        headers = getattr(response, "headers", None)
        said = headers.get(self.order.track_header) if headers is not None else None
        self.answered(name, said, seconds, _error_of(response, exception))

    def answered(self, endpoint: str, said: object, seconds: float, error: str) -> None:
        """Count one answer: the track that it names, seconds since it was due, and what was wrong if anything was."""
        track = said if isinstance(said, str) and said in _KNOWN_TRACKS else NOBODY
        self.tally.answered(track, seconds, error, at=time.time(), endpoint=endpoint)
        self.throttle.note(failed=bool(error))
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
            self._take_pace()
            gevent.sleep(_LOOK_SECONDS)

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

    def _on_stop(self, **_: Any) -> None:
        self._write_counts()
        self._write_window()
        self._window = Window(self._window.index + 1)

    def _write_counts(self) -> None:
        if not self._sends:  # a master only tells its workers
            return
        _replace(counts_file(self.order.folder, os.getpid()), dump_tally(self.tally))

    def _write_window(self) -> None:
        if self.order.window_seconds and (self._window.sent or self._window.answered):
            with windows_file(self.order.folder, os.getpid()).open("a") as lines:
                lines.write(dump_window(self._window) + "\n")


def _error_of(response: Any, exception: Any) -> str:
    status = getattr(response, "status_code", 0) or 0
    if status >= 400:
        return f"status {status}"
    return "" if exception is None else type(exception).__name__


def _replace(path: Path, text: str) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(text)
    fresh.replace(path)
