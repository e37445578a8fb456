"""The rollout's course: its clock, its steps and the moments worth a mark."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from string import ascii_uppercase

from report.charts.curves import Sample
from rollout.decide import DecisionKind
from rollout.events import (
    Alarm,
    ComparisonRestarted,
    DecisionMade,
    DriftDetected,
    Ended,
    EndState,
    Fault,
    SignalReceived,
    StepStarted,
    VerdictChanged,
    WeightsSet,
)
from rollout.formatting import format_elapsed, to_sentence
from rollout.model import Basis
from rollout.record import Event, RolloutRecord

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOST_MARKS = len(ascii_uppercase)


@dataclass(frozen=True, slots=True)
class Clock:
    """When the rollout began, and how long the record covers it."""

    origin: datetime
    seconds: float

    def read(self, at: datetime) -> float:
        """Return a moment on the rollout's own clock, in seconds."""
        return (at - self.origin).total_seconds()


@dataclass(frozen=True, slots=True)
class Stretch:
    """A part of the rollout: the baseline, a step, or what came after."""

    name: str
    share: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Mark:
    """A moment worth a letter on the charts."""

    letter: str
    seconds: float
    time: str
    style: str
    """`fault`, `alarm`, `held`, `forward` or `back`."""
    text: str


def clock_of(record: RolloutRecord) -> Clock:
    """Return the rollout's clock: from its first event to its end, or to the last moment that was recorded."""
    origin = record.started.at if record.started else min(_moments(record), default=_EPOCH)
    last = record.ended.at if record.ended else max(_moments(record), default=origin)
    return Clock(origin, max((last - origin).total_seconds(), 0.0))


def _moments(record: RolloutRecord) -> Iterator[datetime]:
    yield from (event.at for event in record.events)
    yield from (point.at for points in record.series.values() for point in points)


def stretches(record: RolloutRecord, clock: Clock) -> tuple[Stretch, ...]:
    """Return the parts of the rollout, in order of time."""
    starts = sorted(record.of(StepStarted), key=lambda event: event.at)
    over = _over(record, clock)
    edges = [min(clock.read(event.at), over) for event in starts] + [over]
    steps = [
        Stretch(event.step, f"{event.canary} %", start, end)
        for event, start, end in zip(starts, edges, edges[1:], strict=False)
    ]
    before = [Stretch("baseline", "", 0.0, edges[0])] if starts and edges[0] > 0 else []
    return (*before, *steps)


def _over(record: RolloutRecord, clock: Clock) -> float:
    """When the last step was over: its rollback, else its end."""
    backs = [clock.read(event.at) for event in record.events if _is_rollback(event)]
    return backs[0] if backs else clock.seconds


def _is_rollback(event: Event) -> bool:
    return isinstance(event, DecisionMade) and event.decision is DecisionKind.ROLL_BACK


def marks(record: RolloutRecord, clock: Clock) -> tuple[Mark, ...]:
    """Return the moments worth a letter, at most 26: faults and decisions before alarms."""
    styled = [(event, *style) for event in record.events if (style := _style(event))]
    weighty = [entry for entry in styled if entry[1] != "alarm"][:_MOST_MARKS]
    alarms = [entry for entry in styled if entry[1] == "alarm"][: _MOST_MARKS - len(weighty)]
    chosen = sorted((*weighty, *alarms), key=lambda entry: entry[0].at)
    return tuple(
        Mark(letter, clock.read(event.at), format_elapsed(clock.read(event.at)), style, text)
        for letter, (event, style, text) in zip(ascii_uppercase, chosen, strict=False)
    )


def _style(event: Event) -> tuple[str, str] | None:
    if isinstance(event, Fault):
        return "fault", to_sentence(f"fault: {event.what}")
    if isinstance(event, Alarm):
        return "alarm", to_sentence(f"alarm: {event.text}")
    if isinstance(event, SignalReceived):
        return "held", to_sentence(f"{event.who} says {event.word}: {event.reason}")
    if isinstance(event, ComparisonRestarted):
        return "held", to_sentence(f"comparison restarted: {event.reason}")
    if isinstance(event, DriftDetected):
        return "alarm", to_sentence(f"drift: {event.who} set canary {event.found} %: {event.handled}")
    if isinstance(event, DecisionMade) and event.decision is not DecisionKind.HOLD:
        style = "back" if event.decision is DecisionKind.ROLL_BACK else "forward"
        return style, to_sentence(f"decision: {event.decision}: {event.reason}")
    if isinstance(event, VerdictChanged) and _is_common(event):
        return "held", to_sentence(f"held: {event.verdict.reason}")
    if isinstance(event, Ended) and event.state in (EndState.HELD, EndState.FAILED):
        return "held", to_sentence(f"{event.state}: {event.reason}")
    return None


def _is_common(event: VerdictChanged) -> bool:
    return bool(event.verdict.findings) and event.verdict.findings[0].basis is Basis.COMMON_MODE


def weight_asked(record: RolloutRecord, clock: Clock, series: Sequence[Sample]) -> tuple[Sample, ...]:
    """Return the canary's weight as it was asked for, in percent: at rest before the first change, then to the end."""
    changes = [
        Sample(clock.read(event.at), event.canary, event.canary, event.canary)
        for event in sorted(record.events, key=lambda event: event.at)
        if isinstance(event, WeightsSet)
    ]
    idle = [Sample(0.0, 0.0, 0.0, 0.0)] if changes else []
    weights = [*idle, *changes] or list(series)
    return (*weights, *(Sample(clock.seconds, s.low, s.mean, s.high) for s in weights[-1:]))
