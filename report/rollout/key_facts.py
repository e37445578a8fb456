"""What a reader wants to know first: the outcome, and a handful of figures."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import assert_never

from report.charts.curves import Total, total
from report.charts.timeline import Clock
from rollout.decide import DecisionKind
from rollout.events import (
    DecisionMade,
    EndState,
    Fault,
    LoadSummary,
    StepEnded,
    StepStarted,
    WeightsSet,
)
from rollout.formatting import (
    format_count,
    format_moment,
    format_ratio,
    format_span,
    format_time,
    to_sentence,
)
from rollout.record import RolloutRecord


@dataclass(frozen=True, slots=True)
class Headline:
    """The outcome in a word and in a sentence."""

    word: str
    style: str
    """`good`, `bad` or `open`."""
    mark: str
    reason: str
    stands: str
    """Where the traffic is, when that is not obvious."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A number with what it means."""

    label: str
    value: str
    note: str = ""


def headline(record: RolloutRecord) -> Headline:
    """Return the outcome; a record without a last word is told as interrupted."""
    ended = record.ended
    if ended is None:
        return Headline("Interrupted", "open", "…", _last_seen(record), _traffic(record))
    word, style, mark = _outcome(ended.state)
    stands = "" if ended.state is EndState.PROMOTED else _traffic(record)
    return Headline(word, style, mark, to_sentence(ended.reason), stands)


def _outcome(state: EndState) -> tuple[str, str, str]:
    match state:
        case EndState.PROMOTED:
            return "Promoted", "good", "✓"
        case EndState.ROLLED_BACK:
            return "Rolled back", "bad", "↩"
        case EndState.HELD:
            return "Held", "open", "‖"
        case EndState.FAILED:
            return "Failed", "bad", "✕"
        case _:
            assert_never(state)


def _last_seen(record: RolloutRecord) -> str:
    if not record.events:
        return "The record holds no event."
    step = record.last(StepStarted)
    where = f"in step {step.step}" if step else "before the first step"
    return f"The record stops {where}, at {format_time(record.events[-1].at)} UTC, without saying how it ended."


def _traffic(record: RolloutRecord) -> str:
    last = record.last(WeightsSet)
    if last is None:
        return "The gateway's weights were not touched." if record.events else ""
    if last.canary == 0:
        return "All traffic is on stable."
    return f"The gateway's last known weights: {last.stable} % stable, {last.canary} % canary."


def particulars(record: RolloutRecord, clock: Clock) -> list[Figure]:
    """Return when, who and where."""
    started = record.started
    facts = []
    if started:
        facts += [Figure("Service", started.plan.service), Figure("Started", format_moment(started.at))]
    if record.events:
        facts.append(Figure("Took" if record.ended else "Recorded", format_span(clock.seconds)))
    if started:
        facts += [Figure("Begun by", started.who), Figure("On", started.backend), Figure("Rollout", started.rollout)]
    if started and started.note:
        facts.append(Figure("Note", to_sentence(started.note)))
    return facts


def figures(record: RolloutRecord, clock: Clock) -> list[Figure]:
    """Return the key figures that the record can give."""
    since_first = min((event.at for event in record.of(StepStarted)), default=None)
    if since_first is None:
        return list(_time(record, clock))
    decided = _rollback_decided(record)
    until = decided or clock.origin + timedelta(seconds=clock.seconds)
    stable, canary = total(record, "stable", since_first, until), total(record, "canary", since_first, until)
    return [
        *_judged(record, stable, canary, decided),
        *_errors("Errors, stable", stable),
        *_errors("Errors, canary", canary),
        *_reaction(record),
        *_time(record, clock),
    ]


def _judged(
    record: RolloutRecord, stable: Total | None, canary: Total | None, decided: datetime | None
) -> Iterator[Figure]:
    if stable and canary:
        window = "from the first step to the rollback's decision" if decided else "from the first step on"
        note = f"{format_count(stable.requests)} by stable, {format_count(canary.requests)} by the canary, {window}"
        yield Figure("Requests judged", format_count(stable.requests + canary.requests), note)
    elif counted := sum(event.requests for event in record.of(StepEnded)):
        yield Figure("Requests judged", format_count(counted))


def _errors(label: str, track: Total | None) -> Iterator[Figure]:
    if track is None or track.errors is None:
        return
    ratio = format_ratio(track.errors / track.requests) if track.requests > 0 else "no requests"
    yield Figure(
        label,
        ("" if track.exact else "about ") + format_count(track.errors),
        f"{ratio} of its answers that were judged",
    )


def _rollback_decided(record: RolloutRecord) -> datetime | None:
    return next((e.at for e in record.of(DecisionMade) if e.decision is DecisionKind.ROLL_BACK), None)


def _reaction(record: RolloutRecord) -> Iterator[Figure]:
    """How fast a rollback was: from the fault, where one was put in on purpose, else from the decision."""
    decided = _rollback_decided(record)
    if decided is None:
        return
    back = next((e.at for e in record.of(WeightsSet) if e.canary == 0 and e.at >= decided), None)
    fault = next((e.at for e in record.of(Fault) if e.at <= decided), None)
    if back is None:
        return
    gateway = f"{_between(decided, back)} from decision to gateway"
    if fault:
        yield Figure(
            "Fault to all on stable", _between(fault, back), f"{_between(fault, decided)} to decide, {gateway}"
        )
    else:
        yield Figure("Decision to gateway", _between(decided, back), "until all traffic was on stable")
    yield from _seen_by_clients(record)


def _seen_by_clients(record: RolloutRecord) -> Iterator[Figure]:
    load = record.last(LoadSummary)
    first, last = (load.first_failures.get("canary"), load.last_answers.get("canary")) if load else (None, None)
    if first and last and first <= last:
        yield Figure("Bad answers for", _between(first, last), "from the first to the canary's last, as clients saw it")


def _between(start: datetime, end: datetime) -> str:
    return format_span((end - start).total_seconds())


def _time(record: RolloutRecord, clock: Clock) -> Iterator[Figure]:
    if record.events:
        begun = len({event.step for event in record.of(StepStarted)})
        planned = f" of {len(record.started.plan.steps)}" if record.started else ""
        yield Figure("Total time", format_span(clock.seconds), f"{begun}{planned} steps begun")
