"""A rollout's record: its events in order, and its series. The report's only input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Annotated, Literal, TypeVar

from pydantic import AwareDatetime, Field, TypeAdapter, ValidationError

from rollout.errors import PlanError
from rollout.events import (
    Alarm,
    ApprovalRequested,
    BaselineChecked,
    ComparisonRestarted,
    DecisionMade,
    DriftDetected,
    DrillEnded,
    Ended,
    Fault,
    HookEnded,
    LoadSummary,
    RecordedEvent,
    Scaled,
    SignalReceived,
    StableChanged,
    Started,
    StepEnded,
    StepStarted,
    TakenOver,
    TrafficMirrored,
    VerdictChanged,
    WeightsObserved,
    WeightsSet,
)
from rollout.verdict_entries import Entry, VerdictEntry

MAX_POINTS = 2000
"""Points a series keeps: enough for a page-wide chart, and a bounded record after 24 h."""

Event = Annotated[
    Started
    | BaselineChecked
    | StepStarted
    | Scaled
    | WeightsSet
    | DriftDetected
    | TrafficMirrored
    | WeightsObserved
    | VerdictChanged
    | DecisionMade
    | SignalReceived
    | ApprovalRequested
    | ComparisonRestarted
    | StepEnded
    | StableChanged
    | Fault
    | Alarm
    | HookEnded
    | LoadSummary
    | DrillEnded
    | TakenOver
    | Ended,
    Field(discriminator="kind"),
]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)
Kind = TypeVar("Kind", bound=RecordedEvent)


class SeriesPoint(Entry):
    """One value of one series; after thinning, several with their extremes."""

    series: str
    at: AwareDatetime
    low: float
    mean: float
    high: float
    count: int = 1

    @classmethod
    def single(cls, series: str, at: datetime, value: float) -> SeriesPoint:
        """Return the point that one value makes."""
        return cls(series=series, at=at, low=value, mean=value, high=value)


class RolloutRecord(Entry):
    """Everything that happened, in order."""

    schema_version: Literal[1] = 1
    events: tuple[Event, ...] = ()
    series: dict[str, tuple[SeriesPoint, ...]] = Field(default_factory=dict)
    damage: tuple[str, ...] = ()
    """What of it could not be read and is left out, each with file and line."""

    def of(self, kind: type[Kind]) -> tuple[Kind, ...]:
        """Return the events of one kind, in order."""
        return tuple(event for event in self.events if isinstance(event, kind))

    def last(self, kind: type[Kind]) -> Kind | None:
        """Return the last event of one kind, or None."""
        return next((event for event in reversed(self.events) if isinstance(event, kind)), None)

    def verdicts(self) -> tuple[VerdictEntry, ...]:
        """Return what the judge said, at each change and at each step's end, in order."""
        return tuple(event.verdict for event in self.events if isinstance(event, VerdictChanged | StepEnded))

    def last_verdict(self) -> VerdictEntry | None:
        """Return the verdict that changed last, or None."""
        changed = self.last(VerdictChanged)
        return changed.verdict if changed else None

    def latest(self, series: str) -> float | None:
        """Return the last value of a series, or None."""
        points = self.series.get(series)
        return points[-1].mean if points else None

    def evidence_series(self, decision: str) -> dict[str, str]:
        """Return the names of a decision's series of evidence by criterion; that of all of them has an empty one."""
        prefix = f"evidence.{decision}"
        parts = ((name, name.removeprefix(prefix)) for name in sorted(self.series))
        return {part[1:]: name for name, part in parts if part != name and part[:1] in ("", ".")}

    def evidence(self) -> Iterator[tuple[str, float, float]]:
        """Yield what each decision could rest on: its name, the log evidence for it, and the line that decides."""
        if verdict := self.last_verdict():
            for name, needed in (("rollback", verdict.rollback_needed), ("promotion", verdict.promotion_needed)):
                if (value := self.latest(f"evidence.{name}")) is not None and needed > 0:
                    yield name, value, needed

    @property
    def started(self) -> Started | None:
        """The first event, once there is one."""
        return next(iter(self.of(Started)), None)

    @property
    def ended(self) -> Ended | None:
        """How it ended, once it has."""
        return self.last(Ended)


def thinned(points: Sequence[SeriesPoint], most: int = MAX_POINTS) -> tuple[SeriesPoint, ...]:
    """Return the points of one series, neighbours merged in pairs until at most `most` are left."""
    while len(points) > most:
        pairs = [points[i : i + 2] for i in range(0, len(points), 2)]
        points = [_merged(pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return tuple(points)


def _merged(pair: Sequence[SeriesPoint]) -> SeriesPoint:
    first, second = pair
    count = first.count + second.count
    return SeriesPoint(
        series=first.series,
        at=first.at,
        low=min(first.low, second.low),
        mean=(first.mean * first.count + second.mean * second.count) / count,
        high=max(first.high, second.high),
        count=count,
    )


def dump_event(event: Event) -> str:
    """Return an event as one line of JSON."""
    return event.model_dump_json()


def parse_events(lines: Iterable[str]) -> tuple[Event, ...]:
    """Return the events that JSON lines hold; a last line cut short by a crash is left out."""
    texts = [line for line in lines if line.strip()]
    events = []
    for number, text in enumerate(texts, 1):
        try:
            events.append(_EVENT.validate_json(text))
        except ValidationError as error:
            if number == len(texts):
                break
            raise PlanError(f"record line {number}: not an event of a rollout record") from error
    return tuple(events)


def readable_events(lines: Sequence[str | bytes]) -> tuple[tuple[Event, ...], tuple[int, ...]]:
    """Return the events that can be read, and the numbers of the lines that cannot; a last one cut short is neither.

    >>> readable_events([b"\\xff", b'{"kind": "al'])
    ((), (1,))
    """
    events, damaged = list[Event](), list[int]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(_EVENT.validate_json(line))
        except ValidationError:
            damaged.append(number)
    if damaged and damaged[-1] == len(lines) and lines[-1][:1] in ("{", b"{"):
        damaged.pop()
    return tuple(events), tuple(damaged)


def dump_record(record: RolloutRecord) -> str:
    """Return the record as JSON."""
    return record.model_dump_json(indent=1)


def parse_record(text: str, *, source: str = "record") -> RolloutRecord:
    """Return the record that JSON text holds.

    Raises
    ------
    PlanError
        Naming the first field that does not fit.
    """
    try:
        return RolloutRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise PlanError(f"{source}: not a rollout record: {field}: {first['msg']}") from error
