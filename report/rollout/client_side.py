"""What the load generator counted on its side."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from report.charts.timeline import Clock
from rollout.events import LoadSummary
from rollout.formatting import NOTHING, format_count, format_elapsed, format_ms, format_number, format_plural
from rollout.load import NOBODY, unanswered_kinds
from rollout.record import RolloutRecord


@dataclass(frozen=True, slots=True)
class ClientTrack:
    """What the load generator saw of one track."""

    name: str
    requests: str
    failures: str
    mean: str
    p99: str
    first_failure: str
    last_answer: str


@dataclass(frozen=True, slots=True)
class ClientSide:
    """What the load generator counted, as a sentence and as rows."""

    sentence: str
    tracks: tuple[ClientTrack, ...]


def client_side(record: RolloutRecord, clock: Clock) -> ClientSide | None:
    """Return the load generator's last count, or None."""
    load = record.last(LoadSummary)
    if load is None:
        return None
    failed = "none of them failed" if load.failures == 0 else f"{format_count(load.failures)} of them failed"
    text = (
        f"Clients sent {format_plural(load.requests, 'request')} at {format_number(load.rate)} a second "
        f"from before the first step until the end; {failed}."
    )
    if load.synthetic:
        text += " They were the rollout's own, beside the real traffic."
    names = sorted(load.tracks.keys() | load.failures_by_track.keys() | load.last_answers.keys())
    return ClientSide(_with_unanswered(load, text), tuple(_client_track(load, name, clock) for name in names))


def _with_unanswered(load: LoadSummary, text: str) -> str:
    """Add the errors that no pod can have counted: the gateway's own, and broken connections."""
    kinds = unanswered_kinds(load.kinds)
    if not kinds:
        return text
    named = ", ".join(f"{kind} ({format_count(number)})" for kind, number in kinds.items())
    return f"{text} No pod answered, and so none counted: {named}."


def _client_track(load: LoadSummary, name: str, clock: Clock) -> ClientTrack:
    return ClientTrack(
        name="no copy of the service" if name == NOBODY else name,
        requests=format_count(track.requests) if (track := load.tracks.get(name)) else NOTHING,
        failures=format_count(load.failures_by_track.get(name, 0)),
        mean=_ms(track.mean_ms if track else None),
        p99=_ms(track.p99_ms if track else None),
        first_failure=_at(load.first_failures.get(name), clock),
        last_answer=_at(load.last_answers.get(name), clock),
    )


def _ms(value: float | None) -> str:
    return NOTHING if value is None else format_ms(value)


def _at(moment: datetime | None, clock: Clock) -> str:
    return NOTHING if moment is None else format_elapsed(clock.read(moment))
