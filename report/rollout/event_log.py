"""The event log: what happened, in one or two sentences each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from report.charts.timeline import Clock
from rollout.decide import DecisionKind
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
from rollout.formatting import (
    format_count,
    format_elapsed,
    format_ms,
    format_odds,
    format_plural,
    format_ratio,
    format_span,
    format_time,
    to_sentence,
)
from rollout.record import Event, RolloutRecord
from rollout.signals import SignalKind

MOST_LINES = 400
"""Lines of the log: a day of changing verdicts would make the page too big to send."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """An event as a line of the log."""

    time: str
    since: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class EventLog:
    """The lines of the log, and how many more the record has."""

    rows: tuple[LogLine, ...]
    left_out: int


def event_log(record: RolloutRecord, clock: Clock) -> EventLog:
    """Return the log; when it is long, verdict changes and holds give way first, then the middle."""
    events = record.events if len(record.events) <= MOST_LINES else _without_routine(record.events)
    if len(events) > MOST_LINES:
        events = (*events[: MOST_LINES // 2], *events[-MOST_LINES // 2 :])
    return EventLog(tuple(_line(event, clock) for event in events), len(record.events) - len(events))


def _without_routine(events: Sequence[Event]) -> tuple[Event, ...]:
    return tuple(event for event in events if not _is_routine(event))


def _is_routine(event: Event) -> bool:
    is_hold = isinstance(event, DecisionMade) and event.decision is DecisionKind.HOLD
    return is_hold or isinstance(event, VerdictChanged)


def _line(event: Event, clock: Clock) -> LogLine:
    return LogLine(format_time(event.at), format_elapsed(clock.read(event.at)), event.kind, describe_event(event))


def describe_event(event: Event) -> str:
    """Return what happened, in one or two sentences."""
    match event:
        case Started() | BaselineChecked() | StepStarted() | StepEnded() | StableChanged() | TakenOver() | Ended():
            return _describe_progress(event)
        case Scaled() | WeightsSet() | WeightsObserved() | TrafficMirrored() | DriftDetected():
            return _describe_traffic(event)
        case VerdictChanged() | DecisionMade() | SignalReceived() | ApprovalRequested() | ComparisonRestarted():
            return _describe_decision(event)
        case Fault() | Alarm() | HookEnded() | LoadSummary() | DrillEnded():
            return _describe_incident(event)
        case _:
            assert_never(event)


def _describe_progress(
    event: Started | BaselineChecked | StepStarted | StepEnded | StableChanged | TakenOver | Ended,
) -> str:
    match event:
        case Started():
            return _describe_start(event)
        case BaselineChecked():
            return _describe_baseline(event)
        case StepStarted():
            return (
                f"Step {event.step}: {event.canary} % of the traffic goes to the canary, and the judge's clock starts."
            )
        case StepEnded():
            return _describe_step_end(event)
        case StableChanged():
            return f"Stable now means {event.version}; {event.former} keeps its pods."
        case TakenOver():
            return f"{event.who} takes over, to {event.policy}: {to_sentence(event.before)} {to_sentence(event.found)}"
        case Ended():
            return f"{event.state.capitalize()}. {to_sentence(event.reason)}"
        case _:
            assert_never(event)


def _describe_start(event: Started) -> str:
    plan = event.plan
    return (
        f"{event.who} begins to roll {plan.service} from {plan.stable.version} to {plan.canary.version} "
        f"on {event.backend}. {to_sentence(event.note)}"
    ).strip()


def _describe_baseline(event: BaselineChecked) -> str:
    requests, errors = format_plural(event.requests, "request"), format_ratio(event.error_ratio)
    latency = "" if event.latency_ms is None else f", mean latency {format_ms(event.latency_ms)}"
    history = format_span(event.history_seconds)
    learnt = f" The judge has learnt from {history} before it." if event.history_seconds else ""
    return f"Stable alone: {requests}, {errors} errors{latency}. {to_sentence(event.reason)}{learnt}"


def _describe_step_end(event: StepEnded) -> str:
    share = "" if event.observed is None else f", {format_ratio(event.observed)} of them to the canary"
    return (
        f"Step {event.step}: {event.verdict.outcome} after {format_plural(event.requests, 'request')}{share}. "
        f"{to_sentence(event.verdict.reason)}"
    )


def _describe_traffic(event: Scaled | WeightsSet | WeightsObserved | TrafficMirrored | DriftDetected) -> str:
    match event:
        case Scaled(replicas=0):
            return f"{event.track.capitalize()} now has no pods."
        case Scaled():
            pods = format_plural(event.replicas, "pod")
            return f"{event.track.capitalize()} now has {pods}, ready after {format_span(event.seconds)}."
        case WeightsSet():
            applied = format_span(event.milliseconds / 1000)
            split = f"{event.stable} % stable, {event.canary} % canary"
            return f"{split}, in force after {applied}. {to_sentence(event.reason)}"
        case WeightsObserved():
            return (
                f"{format_ratio(event.observed)} of {format_plural(event.requests, 'request')} went to the canary "
                f"({event.canary} % asked), counted in {format_span(event.seconds)}."
            )
        case TrafficMirrored():
            return _describe_mirror(event)
        case DriftDetected():
            return f"{event.who} set canary {event.found} % where {event.asked} % was asked for: {event.handled}."
        case _:
            assert_never(event)


def _describe_mirror(event: TrafficMirrored) -> str:
    copies = f"{format_plural(event.requests, 'copy', 'copies')}, {format_count(event.errors)} failed"
    counted = copies if event.requests else "its pods counted none of them, only the pods themselves were watched"
    share, span = f"{event.share} % of the live requests", format_span(event.seconds)
    return f"{share} were copied to the canary for {span}: {counted}."


def _describe_decision(
    event: VerdictChanged | DecisionMade | SignalReceived | ApprovalRequested | ComparisonRestarted,
) -> str:
    match event:
        case VerdictChanged(verdict=verdict):
            evidence = f"Evidence against the canary {format_odds(verdict.rollback_evidence)}."
            return f"{verdict.outcome.capitalize()}: {to_sentence(verdict.reason)} {evidence}"
        case DecisionMade():
            return f"{event.decision.capitalize()}. {to_sentence(event.reason)}"
        case SignalReceived():
            is_counted = event.word is SignalKind.COMPLAINT
            signal = format_plural(event.count, "complaint") if is_counted else str(event.word)
            return f"{event.who} says: {signal}. {to_sentence(event.reason)}".strip()
        case ApprovalRequested():
            until = f"until {event.until:%Y-%m-%d %H:%M} UTC, else: {event.otherwise}"
            return f"Step {event.step} waits for approval {until}. {to_sentence(event.reason)}"
        case ComparisonRestarted():
            return f"The comparison begins again: {event.reason}."
        case _:
            assert_never(event)


def _describe_incident(event: Fault | Alarm | HookEnded | LoadSummary | DrillEnded) -> str:
    match event:
        case Fault():
            return to_sentence(event.what)
        case Alarm():
            return to_sentence(event.text)
        case HookEnded():
            moment = f"{event.when} {event.step}".strip()
            policy = "" if event.ok else f" What the plan says to that: {event.on_failure}."
            return f"Hook {event.hook} ({moment}) {event.reason} after {format_span(event.seconds)}.{policy}"
        case LoadSummary():
            requests, failed = format_plural(event.requests, "request"), format_count(event.failures)
            return f"Clients sent {requests}, {failed} of them failed."
        case DrillEnded():
            result = f"stopped, {event.stopped}" if event.stopped else "the whole chain fired"
            marked, strays = format_count(event.marked), format_count(event.strays)
            return f"Drill: {result}; {marked} marked requests reached the failing canary, and {strays} others."
        case _:
            assert_never(event)
