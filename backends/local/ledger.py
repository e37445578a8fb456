"""A rollout's record in a folder: events as JSON Lines, series, and the latest state."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import ValidationError

from backends.local.damaged_files import (
    ends_with_newline,
    make_writable,
    raising_damaged,
    raising_unavailable,
    read_bounded,
    set_aside,
)
from backends.local.folder import write_atomically
from backends.local.lease import Fence, LeaseFile
from rollout.errors import LockedError, UnavailableError
from rollout.record import MAX_POINTS, Event, RolloutRecord, SeriesPoint, dump_event, readable_events, thinned

MOST_DAMAGE = 5
"""Damaged lines of a file that are named; of more there is the number."""
_LONGEST_CUT = 2**20
"""Bytes that a crash may have left of a line; more than that is something else."""


class LocalLedger:
    """One rollout's folder. Lines are written whole, so any process may append events; only one may add points.

    A line that cannot be read is left out, named, and left where it is. Whatever is no file of ours is set aside
    when something has to be written in its place.
    """

    def __init__(self, folder: Path, lease: LeaseFile | None = None, fence: Fence | None = None) -> None:
        self._lease, self._fence = lease, fence or Fence()
        self._events = folder / "events.jsonl"
        self._points = folder / "series.jsonl"
        self._state = folder / "state.json"
        self._lines = 0
        """Lines of the series' file since it was last made smaller."""
        self._is_state_ours = False
        """Whether what is in the state's place was written here, or looked at."""

    def append(self, event: Event) -> None:
        """Add an event; it is on the disk once this returns.

        Raises
        ------
        LockedError
            When somebody else has taken the service over since this process did: it may have been stopped meanwhile.
        """
        self._check_fence()
        with raising_unavailable("ledger", self._events):
            _append(self._events, dump_event(event) + "\n", sync=True)

    def add_points(self, points: Sequence[SeriesPoint]) -> None:
        """Add points to the series; now and then the file is thinned."""
        with raising_unavailable("ledger", self._points):
            _append(self._points, "".join(point.model_dump_json() + "\n" for point in points), sync=False)
            self._lines += len(points)
            if self._lines > MAX_POINTS * max(len({point.series for point in points}), 1):
                self._compact()

    def save_state(self, state: str) -> None:
        """Replace the state; refused as an event is."""
        self._check_fence()
        with raising_unavailable("ledger", self._state):
            make_writable(self._state)
            if not self._is_state_ours and not _is_json(read_bounded(self._state)):
                set_aside(self._state, "is no JSON")
            write_atomically(self._state, state)
            self._is_state_ours = True

    def _check_fence(self) -> None:
        """Refuse what a former owner writes; one whose traffic alone was taken out of its hands is none."""
        if self._lease is None or self._fence.epoch is None:
            return
        try:
            lease = self._lease.read()
        except UnavailableError:  # the record waits for no lock
            return
        if not lease.lost and lease.epoch > self._fence.epoch and lease.taken_in != self._fence.epoch:
            what = f"write {self._events}: epoch moved {self._fence.epoch} -> {lease.epoch}"
            raise LockedError(f"{what}, taken over by {lease.owner or 'somebody who has ended'}")

    def load_state(self) -> str | None:
        """Return the state, or None; bytes that are no text are marked as such."""
        with raising_damaged("ledger", self._state):
            content = read_bounded(self._state)
            return content.decode(errors="replace") if content or self._state.exists() else None

    def read(self, *, series: bool = True) -> RolloutRecord:
        """Return the record as it stands; what a crash cut short is left out."""
        events, damage = self._read_events()
        if not series:
            return RolloutRecord(events=events, damage=damage)
        with raising_damaged("ledger", self._points):
            points, damaged = self._series()
        return RolloutRecord(events=events, series=points, damage=(*damage, *_describe_damage(self._points, damaged)))

    def read_events(self) -> tuple[Event, ...]:
        """Return the events alone."""
        return self._read_events()[0]

    def _read_events(self) -> tuple[tuple[Event, ...], tuple[str, ...]]:
        with raising_damaged("ledger", self._events):
            events, damaged = readable_events(_lines(self._events))
        return events, _describe_damage(self._events, damaged)

    def _series(self) -> tuple[dict[str, tuple[SeriesPoint, ...]], tuple[int, ...]]:
        series, damaged = dict[str, list[SeriesPoint]](), list[int]()
        lines = _lines(self._points)
        for number, line in enumerate(lines, 1):
            if point := _point(line):
                series.setdefault(point.series, []).append(point)
            elif line.strip() and number < len(lines):
                damaged.append(number)
        return {name: thinned(points) for name, points in series.items()}, tuple(damaged)

    def _compact(self) -> None:
        series, damaged = self._series()
        if damaged:
            set_aside(self._points, f"{len(damaged)} lines cannot be read")
        remaining = [point for points in series.values() for point in points]
        write_atomically(self._points, "".join(point.model_dump_json() + "\n" for point in remaining))
        self._lines = 0


def _point(line: bytes) -> SeriesPoint | None:
    try:
        return SeriesPoint.model_validate_json(line)
    except ValidationError:
        return None


def _lines(file: Path) -> list[bytes]:
    """Return the lines; the last one is empty unless it was cut short."""
    return read_bounded(file).split(b"\n")


def _describe_damage(file: Path, lines: Sequence[int]) -> tuple[str, ...]:
    named = tuple(f"{file} line {line}: cannot be read" for line in lines[:MOST_DAMAGE])
    more = len(lines) - MOST_DAMAGE
    return (*named, f"{file}: {more} more lines cannot be read") if more > 0 else named


def _is_json(content: bytes) -> bool:
    try:
        json.loads(content or b"null")
    except (ValueError, RecursionError):
        return False
    return True


def _append(file: Path, text: str, *, sync: bool) -> None:
    make_writable(file)
    with file.open("a+b", buffering=0) as stream:
        _end_torn_line(stream.fileno(), file)
        stream.write(text.encode())
        if sync:
            os.fsync(stream.fileno())


def _end_torn_line(descriptor: int, file: Path) -> None:
    """Cut off what a crash left without an end, or the next line would be spoilt too; it is kept beside the file."""
    if ends_with_newline(descriptor):
        return
    size = os.fstat(descriptor).st_size
    begin = max(size - _LONGEST_CUT, 0)
    tail = os.pread(descriptor, size - begin, begin)
    cut = tail.rfind(b"\n") + 1
    if cut == 0 and begin:  # no crash leaves so much of one line: it stays, and is a damaged one from now on
        os.write(descriptor, b"\n")
        return
    with suppress(OSError), file.with_name(f"{file.name}.torn").open("ab") as torn:  # a full disk may be why it is torn
        torn.write(tail[cut:] + b"\n")
    os.ftruncate(descriptor, begin + cut)
