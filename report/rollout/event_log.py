"""The event log, told in words."""

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
from rollout.formatting import clock as time_of_day
from rollout.formatting import (
    count,
    odds,
    percent,
    plural,
    quantity,
    sentence,
    since,
    span,
)
from rollout.record import Event, RolloutRecord
from rollout.signals import SignalKind

MOST_TOLD = 400
"""Rows of the log: a day of changing verdicts would make the page too big to send."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the log."""

    time: str
    since: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Log:
    """The lines of the log, and how many more the record has."""

    rows: tuple[Row, ...]
    left_out: int


def log(record: RolloutRecord, clock: Clock) -> Log:
    """Return the log; when it is long, verdict changes and holds give way first, then the middle."""
    kept = record.events if len(record.events) <= MOST_TOLD else _telling(record.events)
    if len(kept) > MOST_TOLD:
        kept = (*kept[: MOST_TOLD // 2], *kept[-MOST_TOLD // 2 :])
    return Log(tuple(_row(event, clock) for event in kept), len(record.events) - len(kept))


def _telling(events: Sequence[Event]) -> tuple[Event, ...]:
    return tuple(event for event in events if not _is_routine(event))


def _is_routine(event: Event) -> bool:
    return isinstance(event, VerdictChanged) or (
        isinstance(event, DecisionMade) and event.decision is DecisionKind.HOLD
    )


def _row(event: Event, clock: Clock) -> Row:
    return Row(time_of_day(event.at), since(clock.read(event.at)), event.kind, told(event))


def told(event: Event) -> str:
    """Return what happened, in one or two sentences."""
    match event:
        case Started():
            return _started(event)
        case BaselineChecked():
            return _baseline(event)
        case StepStarted():
            return (
                f"Step {event.step}: {event.canary}% of the traffic goes to the canary, and the judge's clock starts."
            )
        case Scaled():
            return _scaled(event)
        case WeightsSet():
            return (
                f"{event.stable}% stable, {event.canary}% canary, in force after {span(event.milliseconds / 1000)}. "
                f"{sentence(event.reason)}"
            )
        case TrafficMirrored():
            return _mirrored(event)
        case DriftDetected():
            return f"{event.who} set canary {event.found}% where {event.asked}% was asked for: {event.handled}."
        case WeightsObserved():
            return (
                f"{percent(event.observed)} of {plural(event.requests, 'request')} went to the canary "
                f"({event.canary}% asked), counted in {span(event.seconds)}."
            )
        case VerdictChanged():
            return (
                f"{event.verdict.outcome.capitalize()}: {sentence(event.verdict.reason)} "
                f"Evidence against the canary {odds(event.verdict.rollback_evidence)}."
            )
        case DecisionMade():
            return f"{event.decision.capitalize()}. {sentence(event.reason)}"
        case SignalReceived():
            return _said(event)
        case ApprovalRequested():
            until = f"{event.until:%Y-%m-%d %H:%M} UTC"
            return (
                f"Step {event.step} waits for approval until {until}, else: {event.otherwise}. {sentence(event.reason)}"
            )
        case ComparisonRestarted():
            return f"The comparison begins again: {event.reason}."
        case StepEnded():
            return _step_ended(event)
        case StableChanged():
            return f"Stable now means {event.version}; {event.former} keeps its pods."
        case Fault():
            return sentence(event.what)
        case Alarm():
            return sentence(event.text)
        case HookEnded():
            return _hook(event)
        case LoadSummary():
            return f"Clients sent {plural(event.requests, 'request')}, {count(event.failures)} of them failed."
        case DrillEnded():
            shown = f"Drill: {f'stopped, {event.stopped}' if event.stopped else 'the whole chain fired'}"
            return f"{shown}; {event.marked} marked requests reached the failing canary, and {event.strays} others."
        case TakenOver():
            return f"{event.who} takes over, to {event.policy}: {sentence(event.before)} {sentence(event.found)}"
        case Ended():
            return f"{event.state.capitalize()}. {sentence(event.reason)}"
        case _:
            assert_never(event)


def _mirrored(event: TrafficMirrored) -> str:
    seen = f"{plural(event.requests, 'copy', 'copies')}, {count(event.errors)} failed" if event.requests else ""
    return (
        f"{event.share}% of the live requests were copied to the canary for {span(event.seconds)}: "
        f"{seen or 'its pods counted none of them, only the pods themselves were watched'}."
    )


def _hook(event: HookEnded) -> str:
    about = f"{event.when} {event.step}".strip()
    handled = "" if event.ok else f" What the plan says to that: {event.on_failure}."
    return f"Hook {event.hook} ({about}) {event.reason} after {span(event.seconds)}.{handled}"


def _started(event: Started) -> str:
    plan = event.plan
    return (
        f"{event.who} begins to roll {plan.service} from {plan.stable.version} to {plan.canary.version} "
        f"on {event.backend}. {sentence(event.note)}"
    ).strip()


def _baseline(event: BaselineChecked) -> str:
    latency = "" if event.latency_ms is None else f", mean latency {quantity(event.latency_ms, 'ms')}"
    past = f" The judge has learnt from {span(event.history_seconds)} before it." if event.history_seconds else ""
    return (
        f"Stable alone: {plural(event.requests, 'request')}, {percent(event.error_ratio)} errors{latency}. "
        f"{sentence(event.reason)}{past}"
    )


def _scaled(event: Scaled) -> str:
    if not event.replicas:
        return f"{event.track.capitalize()} now has no pods."
    return f"{event.track.capitalize()} now has {plural(event.replicas, 'pod')}, ready after {span(event.seconds)}."


def _said(event: SignalReceived) -> str:
    word = f"{plural(event.count, 'complaint')}" if event.word is SignalKind.COMPLAINT else str(event.word)
    return f"{event.who} says: {word}. {sentence(event.reason)}".strip()


def _step_ended(event: StepEnded) -> str:
    share = "" if event.observed is None else f", {percent(event.observed)} of them to the canary"
    return (
        f"Step {event.step}: {event.verdict.outcome} after {plural(event.requests, 'request')}{share}. "
        f"{sentence(event.verdict.reason)}"
    )
