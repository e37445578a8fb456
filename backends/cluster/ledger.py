"""A rollout's record and state in one ConfigMap, within the megabyte that such an object may have."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from pydantic import TypeAdapter

from backends.cluster.api.config_map_store import ConfigMapStore, Texts, compressed
from backends.cluster.api.kube_events import EventRecorder
from rollout.events import DecisionMade, VerdictChanged
from rollout.record import MAX_POINTS, Event, RolloutRecord, SeriesPoint, dump_event, parse_events, thinned

EVENTS, SERIES, STATE = "events", "series", "state"
EVENT_BYTES: Final = 500_000
"""Compressed events that are stored, of the 1,048,576 bytes that a ConfigMap may hold."""
KEPT_POINTS: Final = 200
"""Points of a series that the ConfigMap keeps; the process that writes them has more."""
_SERIES_EVERY_SECONDS: Final = 30.0
_LATEST: Final = 100
_POINTS = TypeAdapter(dict[str, tuple[SeriesPoint, ...]])


class ClusterLedger:
    """One rollout's record. Any process may append events; only the owner adds points.

    An event is in the cluster once `append` returns. Points are charts, not evidence: they are written along with
    an event, or at most half a minute later, so that a scrape costs no write of its own.
    """

    def __init__(self, store: ConfigMapStore, recorder: EventRecorder) -> None:
        self._store = store
        self._recorder = recorder
        self._points: dict[str, list[SeriesPoint]] | None = None
        self._written_at = time.monotonic()

    def append(self, event: Event) -> None:
        """Add an event, after all that others may have added."""
        line = dump_event(event) + "\n"
        self._store.write(lambda texts: {EVENTS: with_line(texts.get(EVENTS, ""), line)} | self._series_text())
        self._recorder.record(event)

    def add_points(self, points: Sequence[SeriesPoint]) -> None:
        """Add points to the series."""
        if self._points is None:
            self._points = {name: list(points_before) for name, points_before in _series(self._store.read()).items()}
        for point in points:
            series = self._points.setdefault(point.series, [])
            series.append(point)
            if len(series) > 2 * MAX_POINTS:
                series[:] = thinned(series)
        if time.monotonic() - self._written_at > _SERIES_EVERY_SECONDS:
            self._store.write(lambda _: self._series_text())

    def save_state(self, state: str) -> None:
        """Replace the state."""
        self._store.write(lambda _: {STATE: state})

    def load_state(self) -> str | None:
        """Return the state, or None."""
        return self._store.read().get(STATE)

    def read(self, *, series: bool = True) -> RolloutRecord:
        """Return the record as it stands, with every point that this process knows of."""
        texts = self._store.read()
        if not series:
            return RolloutRecord(events=_events(texts))
        own_series = {name: thinned(points) for name, points in (self._points or {}).items()}
        return RolloutRecord(events=_events(texts), series=_series(texts) | own_series)

    def read_events(self) -> tuple[Event, ...]:
        """Return the events alone."""
        return _events(self._store.read())

    def _series_text(self) -> dict[str, str]:
        if self._points is None:
            return {}
        self._written_at = time.monotonic()
        few = {name: thinned(points, KEPT_POINTS) for name, points in self._points.items()}
        return {SERIES: _POINTS.dump_json(few).decode()}


def _events(texts: Texts) -> tuple[Event, ...]:
    return parse_events(texts.get(EVENTS, "").splitlines())


def _series(texts: Texts) -> dict[str, tuple[SeriesPoint, ...]]:
    return _POINTS.validate_json(texts[SERIES]) if SERIES in texts else {}


def with_line(lines: str, line: str) -> str:
    """Return an event's line after the others; one whose answer was lost may stand there already."""
    return lines if line in lines else bounded(lines + line)


def bounded(lines: str, most: int = EVENT_BYTES) -> str:
    """Return the events' lines, so many of the earlier verdicts and decisions left out that they fit.

    What was done to the world is never left out, nor is anything of the latest hundred events.
    """
    while len(lines) > most and len(compressed(lines)) > most:
        events = parse_events(lines.splitlines())
        early = [event for event in events[:-_LATEST] if isinstance(event, VerdictChanged | DecisionMade)]
        dropped = {id(event) for event in early[: max(len(early) // 4, 1)]}
        if not dropped:
            return lines
        lines = "".join(dump_event(event) + "\n" for event in events if id(event) not in dropped)
    return lines
