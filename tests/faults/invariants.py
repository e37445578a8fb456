"""What must hold after every cell, from the observer's two files and the record as plain JSON. Pure but for reading."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

Line = dict[str, Any]

HOME_SLACK_SECONDS = 0.35
"""Two looks of the observer: a request sent within it after the first look at home may have been split before."""
GATEWAY_SLACK_SECONDS = 10.0
"""Within it a gateway that was killed serves again."""
CANARY_SLACK_SECONDS = 6.0
"""A request that hung when the traffic came home ends by the route's timeout."""
PROMOTED, ROLLED_BACK, HELD, FAILED = "promoted", "rolled back", "held", "failed"


class Loss(StrEnum):
    """What requests a fault may cost by its own nature."""

    NOTHING = "nothing"
    CANARY = "the canary's"
    """Those that the canary answered, or that nobody did while it had a share."""
    GATEWAY = "the gateway's"
    """All, while there is no gateway or no pod."""
    BOTH = "both tracks'"
    """Both tracks answer with errors, or stable does."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a cell may come to."""

    ends: frozenset[str]
    loss: Loss = Loss.NOTHING
    keeps_record: bool = True
    """False where the fault destroys the record itself."""
    keeps_stable: bool = True
    """False where the fault ends stable's pods or the gateway's knowledge of them."""
    home_seconds: float | None = None
    """Longest time from the fault to all traffic on stable, by the gateway; None: as the end's deadline."""
    shares: tuple[int, ...] = (0, 20, 50, 100)


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that was seen of one cell."""

    struck_at: float
    healed_at: float
    looks: Sequence[Line]
    requests: Sequence[Line]
    record: bytes
    """As it lies on the disk; empty where there is none."""
    holder: str
    """Who holds the lock and lives; empty where nobody does."""
    left_behind: Sequence[str] = ()
    notes: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """A cell's numbers, and every invariant that it broke, in words."""

    end: str
    reason: str
    safe_seconds: float | None
    """From the fault to all traffic on stable for good; None where it stayed in service (promoted)."""
    requests: int
    lost: int
    """All that failed."""
    unexcused: int
    """Of them, those that the fault does not explain."""
    broken: tuple[str, ...] = field(default=())


def judge(evidence: Evidence, expected: Expected) -> Judged:
    """Return what a cell came to."""
    events, damaged = read_record(evidence.record)
    last = next((event for event in reversed(events) if event["kind"] == "ended"), None)
    end = str(last["state"]) if last else _end_by_gateway(evidence.looks)
    failed = [line for line in evidence.requests if is_failed(line)]
    unexcused = [line for line in failed if not _is_excused(line, evidence, expected.loss)]
    checks: list[Callable[[], Iterator[str]]] = [
        lambda: _check_end(end, expected),
        lambda: _check_weights(evidence, expected),
        lambda: _check_home(evidence, end),
        lambda: _check_stable(evidence, expected),
        lambda: _check_record(events, damaged, evidence, expected),
        lambda: _check_left_behind(evidence),
        lambda: _check_lost(unexcused),
        lambda: _check_home_time(evidence, end, expected),
        lambda: iter(evidence.notes),
    ]
    safe = None if end == PROMOTED else seconds_to_home(evidence)
    reason = str(last["reason"]) if last else ""
    broken = tuple(line for check in checks for line in check())
    return Judged(end, reason, safe, len(evidence.requests), len(failed), len(unexcused), broken)


def is_failed(request: Line) -> bool:
    """Return whether a client lost a request: no answer, or one of the server's errors."""
    return request["status"] == 0 or request["status"] >= 500


def read_record(content: bytes) -> tuple[list[Line], list[int]]:
    """Return the events that can be read, and the numbers of lines that cannot."""
    events, damaged = list[Line](), list[int]()
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line:
            continue
        try:
            event = json.loads(line)
            float(moment(event))
            events.append(event)
        except (ValueError, LookupError, TypeError):
            damaged.append(number)
    return events, damaged


def moment(event: Line) -> float:
    """Return when an event was, in seconds since the epoch."""
    return datetime.fromisoformat(event["at"]).timestamp()


def home_since(looks: Sequence[Line]) -> float | None:
    """Return since when the gateway was seen with all traffic on stable, for good; None where it was not."""
    since: float | None = None
    for look in looks:
        if look["canary"] == 0:
            since = look["at"] if since is None else since
        elif look["canary"] is not None:
            since = None
    return since


def seconds_to_home(evidence: Evidence) -> float | None:
    """Return the seconds from the fault to all traffic on stable for good; infinite where it never came."""
    home = home_since(evidence.looks)
    if home is None:
        return float("inf")
    return max(home - evidence.struck_at, 0.0)


def _end_by_gateway(looks: Sequence[Line]) -> str:
    return "no end on record, on stable" if home_since(looks) is not None else "no end"


def _check_end(end: str, expected: Expected) -> Iterator[str]:
    if end not in expected.ends:
        yield f"ended as {end!r}, allowed: {', '.join(sorted(expected.ends))}"


def _check_weights(evidence: Evidence, expected: Expected) -> Iterator[str]:
    """Only shares of the plan, in the plan's order; once home after the fault, never away again."""
    seen = [look["canary"] for look in evidence.looks if look["canary"] is not None]
    strange = sorted(set(seen) - set(expected.shares))
    if strange:
        yield f"the gateway had shares that nobody asked for: {strange}"
    steps = [share for index, share in enumerate(seen) if index == 0 or seen[index - 1] != share]
    fell = next((index for index in range(1, len(steps)) if steps[index] < steps[index - 1]), None)
    if fell is not None and (steps[fell] != 0 or len(steps) > fell + 1):
        yield f"the shares went {steps}, allowed: up by the plan's steps, then home for good"


def _check_home(evidence: Evidence, end: str) -> Iterator[str]:
    home = home_since(evidence.looks)
    if home is None or end == PROMOTED:
        return
    late = [
        line
        for line in evidence.requests
        if line["track"] == "canary" and line["at"] > home + HOME_SLACK_SECONDS and evidence.struck_at
    ]
    if late and any(look["canary"] for look in evidence.looks):
        yield f"{len(late)} requests reached the canary after all traffic was on stable"


def _check_stable(evidence: Evidence, expected: Expected) -> Iterator[str]:
    if not expected.keeps_stable:
        return
    counts = [look["hosts"].get("stable", 0) for look in evidence.looks if look["hosts"]]
    full = max(counts, default=0)
    begun = next((index for index, count in enumerate(counts) if count == full), 0)
    if least := [count for count in counts[begun:] if count < full]:
        yield f"stable had {min(least)} endpoints of {full}"


def _check_record(events: list[Line], damaged: list[int], evidence: Evidence, expected: Expected) -> Iterator[str]:
    if not expected.keeps_record:
        return
    if not events:
        yield "there is no record"
        return
    if damaged:
        yield f"record: lines {damaged} cannot be read"
    if evidence.record and not evidence.record.endswith(b"\n"):
        yield "record: its last line has no end"
    times = [moment(event) for event in events]
    if disorder := [index + 2 for index in range(len(times) - 1) if times[index + 1] < times[index]]:
        yield f"record: lines {disorder} are earlier than the ones before"
    ends = [event["state"] for event in events if event["kind"] == "ended"]
    if len(ends) > 1 and ends != [PROMOTED, ROLLED_BACK]:  # what was promoted may be taken back later
        yield f"record: ended {len(ends)} times: {ends}"
    yield from _check_agreement(events, evidence, ends)


def _check_agreement(events: list[Line], evidence: Evidence, ends: list[str]) -> Iterator[str]:
    """The record tells every share that the gateway had, and how it ended."""
    told = {event["canary"] for event in events if event["kind"] == "weights set"} | {0}
    seen = {look["canary"] for look in evidence.looks if look["canary"] is not None}
    if untold := sorted(seen - told):
        yield f"record: the gateway had {untold} % on the canary, of which it does not tell"
    if ends:
        last = next((look["canary"] for look in reversed(evidence.looks) if look["canary"] is not None), None)
        due = 100 if ends[-1] == PROMOTED else 0
        if last != due:
            yield f"record: {ends[-1]}, and the gateway has {last} % on the canary"
        if ends[-1] == HELD and not any(event["kind"] == "alarm" for event in events):
            yield "record: held without an alarm"


def _check_left_behind(evidence: Evidence) -> Iterator[str]:
    for line in evidence.left_behind:
        yield f"left behind: {line}"
    if evidence.holder:
        yield f"the lock is still held by {evidence.holder}"


def _check_lost(unexcused: Sequence[Line]) -> Iterator[str]:
    if unexcused:
        first = unexcused[0]
        what = first.get("error") or f"status {first['status']}"
        who = first["track"] or "no track"
        yield f"{len(unexcused)} requests lost that the fault does not explain, the first: {what}, {who}"


def _check_home_time(evidence: Evidence, end: str, expected: Expected) -> Iterator[str]:
    if expected.home_seconds is None or end == PROMOTED:
        return
    took = seconds_to_home(evidence)
    if took is None or took > expected.home_seconds:
        yield f"all traffic on stable after {took:.1f} s, allowed: {expected.home_seconds:g} s"


def _is_excused(request: Line, evidence: Evidence, loss: Loss) -> bool:
    at, begins, ends = request["at"], evidence.struck_at - CANARY_SLACK_SECONDS, evidence.healed_at or float("inf")
    if not evidence.struck_at or at < begins:
        return False
    match loss:
        case Loss.NOTHING:
            return False
        case Loss.BOTH:
            return bool(at < ends + CANARY_SLACK_SECONDS)
        case Loss.GATEWAY:
            return bool(at < (evidence.healed_at or evidence.struck_at) + GATEWAY_SLACK_SECONDS)
        case Loss.CANARY:
            home = home_since(evidence.looks) or float("inf")
            return request["track"] != "stable" and bool(at < home + HOME_SLACK_SECONDS)
