"""Deterministic reasons to roll back: states of pods and signals from outside. Pure, no statistics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rollout.criteria import Criteria
from rollout.formatting import format_span
from rollout.model import Basis, Finding, Outcome, Pod, Track
from rollout.signals import ENDING_SIGNALS, Signal, SignalKind

UNREADY_SCRAPES = 3
"""Scrapes in a row without any ready canary pod, or with one that cannot start, that are a reason to act."""


@dataclass(frozen=True, slots=True)
class PodHistory:
    """What has been seen of the pods so far; a value that is saved with the evidence."""

    restarts: dict[str, int] = field(default_factory=dict)
    """Restart counts by pod, as last seen."""
    falls: tuple[tuple[datetime, str, str], ...] = ()
    """Each restart seen: when, which track, which pod."""
    canary_was_ready: bool = False
    unready_scrapes: int = 0
    stuck: str = ""
    """Why a canary pod cannot start, as last seen."""
    stuck_scrapes: int = 0
    killed: tuple[tuple[datetime, str, str], ...] = ()
    """Of the falls, those for want of memory."""


def observe(
    history: PodHistory, pods: Sequence[Pod], *, now: datetime, within: timedelta, trouble: str = ""
) -> PodHistory:
    """Return the history with one more look at the pods; restarts older than `within` are dropped.

    `trouble` is why the platform cannot make the canary's pods, where it says so.
    """
    seen = {pod.name: pod.restarts for pod in pods}
    fresh = tuple(
        (now, str(pod.track), pod.name)
        for pod in pods
        for _ in range(pod.restarts - history.restarts.get(pod.name, pod.restarts))
    )
    ready = any(pod.ready for pod in pods if pod.track is Track.CANARY)
    stuck = trouble or _stuck(pods)
    starved = {pod.name for pod in pods if pod.out_of_memory}
    return PodHistory(
        restarts=seen,
        falls=tuple(fall for fall in history.falls if now - fall[0] <= within) + fresh,
        killed=tuple(fall for fall in history.killed if now - fall[0] <= within)
        + tuple(fall for fall in fresh if fall[2] in starved),
        canary_was_ready=history.canary_was_ready or ready,
        unready_scrapes=0 if ready or not history.canary_was_ready else history.unready_scrapes + 1,
        stuck=stuck,
        stuck_scrapes=history.stuck_scrapes + 1 if stuck else 0,
    )


def _stuck(pods: Sequence[Pod]) -> str:
    waiting = {pod.track: pod.waiting for pod in pods if pod.cannot_start}
    # Where stable's pods cannot start either, the registry or the platform is at fault.
    return "" if Track.STABLE in waiting else waiting.get(Track.CANARY, "")


def find_triggers(
    history: PodHistory, signals: Sequence[Signal], criteria: Criteria, now: datetime
) -> tuple[Finding, ...]:
    """Return the reasons to roll back at once, a person's word first; empty when there is none."""
    return (
        *_from_people(signals),
        *complaints(signals, criteria, now),
        *_out_of_memory(history),
        *_crash_loops(history, criteria),
        *_unready(history),
        *_cannot_start(history),
    )


def complaints(
    signals: Sequence[Signal], criteria: Criteria, now: datetime, *, counted: int = 0
) -> tuple[Finding, ...]:
    """Return the reason to roll back that users' complaints are; empty when there are too few.

    Parameters
    ----------
    signals
        All that the rollout has received.
    criteria
        Say how many in which time are too many.
    now
        The present moment.
    counted
        How many more the plan's own counter has counted in that time.
    """
    limit = criteria.complaints
    recent = [signal for signal in signals if signal.kind is SignalKind.COMPLAINT and now - signal.at <= limit.within]
    if (count := counted + sum(signal.count for signal in recent)) < limit.rollback_at:
        return ()
    notes = [signal.reason for signal in recent if signal.reason]
    last = f", the last note: {notes[-1]}" if notes else "" if recent else f", by {limit.counter}"
    return (_trigger("complaints", f"user complaints: {count} in {format_span(limit.within)}{last}"),)


def _from_people(signals: Sequence[Signal]) -> list[Finding]:
    return [
        _trigger(signal.kind, f"{ENDING_SIGNALS[signal.kind]} by {signal.who}: {signal.reason}")
        for signal in signals
        if signal.kind in ENDING_SIGNALS
    ]


def _out_of_memory(history: PodHistory) -> list[Finding]:
    if any(track == Track.STABLE for _, track, _ in history.killed):
        return []  # the nodes are short of memory, or both versions are
    pods = [pod for _, track, pod in history.killed if track == Track.CANARY]
    return [_trigger("pods", f"out of memory: pod {pod} was killed (OOMKilled)") for pod in pods[:1]]


def _crash_loops(history: PodHistory, criteria: Criteria) -> list[Finding]:
    if any(track == Track.STABLE for _, track, _ in history.falls):
        return []  # the node or the platform restarts pods: not the canary's fault
    pods = [pod for _, track, pod in history.falls if track == Track.CANARY]
    limit = criteria.pods.restarts
    return [
        _trigger(
            "pods",
            f"crash loop: pod {pod} restarted {pods.count(pod)} times in {format_span(criteria.pods.within)}",
        )
        for pod in dict.fromkeys(pods)
        if pods.count(pod) >= limit
    ]


def _unready(history: PodHistory) -> list[Finding]:
    if history.unready_scrapes < UNREADY_SCRAPES:
        return []
    return [_trigger("pods", f"canary unavailable: no pod ready for {history.unready_scrapes} scrapes")]


def _cannot_start(history: PodHistory) -> list[Finding]:
    if history.stuck_scrapes < UNREADY_SCRAPES:
        return []
    return [_trigger("pods", f"canary cannot start: {history.stuck} for {history.stuck_scrapes} scrapes")]


def _trigger(criterion: str, reason: str) -> Finding:
    return Finding(criterion=criterion, basis=Basis.TRIGGER, outcome=Outcome.FAIL, reason=reason)
