"""A rollout's record in a folder: events as JSON Lines, series, and the latest state."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pydantic import ValidationError

from backends.local.folder import write_atomically
from rollout.errors import UnavailableError
from rollout.record import MAX_POINTS, Event, RolloutRecord, SeriesPoint, dump_event, parse_events, thinned


class LocalLedger:
    """One rollout's folder. Lines are written whole, so any process may append events; only one may add points."""

    def __init__(self, folder: Path) -> None:
        self._events = folder / "events.jsonl"
        self._points = folder / "series.jsonl"
        self._state = folder / "state.json"
        self._lines = 0
        """Lines of the series' file since it was last made smaller."""

    def append(self, event: Event) -> None:
        """Add an event; it is on the disk once this returns."""
        with _told(self._events):
            _append(self._events, dump_event(event) + "\n", sync=True)

    def add_points(self, points: Sequence[SeriesPoint]) -> None:
        """Add points to the series; now and then the file is thinned."""
        with _told(self._points):
            _append(self._points, "".join(point.model_dump_json() + "\n" for point in points), sync=False)
            self._lines += len(points)
            if self._lines > MAX_POINTS * max(len({point.series for point in points}), 1):
                self._compact()

    def save_state(self, state: str) -> None:
        """Replace the state."""
        with _told(self._state):
            self._state.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(self._state, state)

    def load_state(self) -> str | None:
        """Return the state, or None."""
        with _told(self._state):
            return self._state.read_text() if self._state.exists() else None

    def read(self) -> RolloutRecord:
        """Return the record as it stands; what a crash cut short is left out."""
        with _told(self._points):
            return RolloutRecord(events=self.read_events(), series=self._series())

    def read_events(self) -> tuple[Event, ...]:
        """Return the events alone."""
        with _told(self._events):
            return parse_events(_lines(self._events))

    def _series(self) -> dict[str, tuple[SeriesPoint, ...]]:
        found: dict[str, list[SeriesPoint]] = {}
        for line in _lines(self._points):
            if point := _point(line):
                found.setdefault(point.series, []).append(point)
        return {series: thinned(points) for series, points in found.items()}

    def _compact(self) -> None:
        kept = [point for points in self._series().values() for point in points]
        write_atomically(self._points, "".join(point.model_dump_json() + "\n" for point in kept))
        self._lines = 0


def _point(line: str) -> SeriesPoint | None:
    try:
        return SeriesPoint.model_validate_json(line)
    except ValidationError:
        return None  # cut short by a crash


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def _append(file: Path, text: str, *, sync: bool) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b", buffering=0) as stream:
        _drop_torn_line(stream.fileno())
        stream.write(text.encode())
        if sync:
            os.fsync(stream.fileno())


def _drop_torn_line(descriptor: int) -> None:
    """Cut off what a crash left without an end, or the next line would be spoilt too."""
    size = os.fstat(descriptor).st_size
    if not size or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    content = os.pread(descriptor, size, 0)
    os.ftruncate(descriptor, content.rfind(b"\n") + 1)


@contextmanager
def _told(file: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"ledger {file}: {error.strerror or error}") from error
