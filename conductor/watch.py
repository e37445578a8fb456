"""Watching: read, judge, decide, until something has to be done."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import assert_never

from analysis.judge import no_data
from analysis.scrapes.samples import Samples
from conductor.checks.drift import look_for_drift
from conductor.checks.pod_inputs import look_at_footing
from conductor.checks.split_mismatch import with_cause
from conductor.load.topup import steer_load, with_clients
from conductor.routing import go_home, note_weights
from conductor.state.rollout_run import Run
from rollout.decide import (
    Advance,
    Decision,
    Hold,
    Promote,
    RollBack,
    decide,
)
from rollout.errors import NoSamplesError, UnavailableError
from rollout.events import DecisionMade, StepEnded
from rollout.model import (
    Basis,
    Finding,
    Outcome,
    Pod,
    Track,
    Trouble,
    Verdict,
)
from rollout.signals import Signal
from rollout.triggers import complaints, find_triggers, observe
from rollout.verdict_entries import verdict_entry

log = logging.getLogger(__name__)

_POLL = timedelta(milliseconds=100)
_UNJUDGED = Verdict(outcome=Outcome.INCONCLUSIVE, findings=())
_OVERLAP_SCRAPES = 3
"""Scrapes that are read again, because a sample can arrive after its neighbours; the judge drops what it has seen."""
_LONGEST_LOOK_BACK = timedelta(minutes=5)


def bake(run: Run, *, waits_for_person: bool) -> RollBack | Hold | None:
    """Watch the step that the run is at until it is decided.

    Parameters
    ----------
    run
        At a step whose split is in force and was seen.
    waits_for_person
        Whether to go on watching past the deadline when the plan says to pause there; if not, that hold is returned.

    Returns
    -------
    None when the step has passed, also before somebody else took the rollout over, else the reason not to go on.
    """
    while not run.passed:
        decision = tick(run)
        match decision:
            case Advance() | Promote():
                run.passed, run.asked_since = decision.reason, None
                _note_step_end(run)
                run.save()
                return None
            case RollBack():
                _note_step_end(run)
                return decision
            case Hold(needs_person=True):
                _note_held(run, decision)
                if not waits_for_person:
                    return decision
            case Hold(asks_approval=True):
                run.ask_approval(_now(run))
            case Hold():
                pass
            case _:
                assert_never(decision)
        _sleep_to_next_tick(run)
    return None


def watch_until(
    run: Run, condition: Callable[[], bool], *, timeout: timedelta, every: timedelta = _POLL
) -> RollBack | bool:
    """Go on watching while something else is under way, such as pods that start.

    Parameters
    ----------
    run
        At any phase.
    condition
        What is waited for; asked every so often.
    timeout
        When to give up.
    every
        How often to ask.

    Returns
    -------
    True once the condition holds, False when the time is up, or the reason to roll back if that comes first.
    """
    deadline = _now(run) + timeout
    while True:
        if run.next_tick is None or _now(run) >= run.next_tick:
            decision = tick(run)
            if isinstance(decision, RollBack):
                return decision
        if condition():
            return True
        if _now(run) >= deadline:
            return False
        run.rest(every)


def tick(run: Run) -> Decision:
    """Look once at signals, pods and metrics, and return what is to be done; all of it goes to the record.

    When that is a rollback, the gateway has been told before this returns, and before anything is written.
    """
    now = _now(run)
    run.next_tick = now + run.plan.scrape
    run.beat()
    if run.journal.trouble and not run.journal.flush():
        run.note_alarm(Trouble.RECORD_NOT_WRITTEN, f"the record cannot be written: {run.journal.trouble}", now)
    for lost in run.ports.notices.undelivered():
        run.note_alarm(Trouble.NOTICES_UNDELIVERED, lost.text, now, subject=lost.receiver)
    triggers, pods_ready = look_at_pods(run, now)
    run.record_heartbeat(now)
    held = ""
    if not triggers:
        triggers, held = look_for_drift(run, now)
    if run.step_index is None:
        learn(run, now)
        run.held = held or run.words.paused
        run.save()
        return RollBack(triggers[0].reason) if triggers else Hold("no canary traffic yet")
    # A trigger does not wait for Prometheus: a slow query must never delay an abort.
    verdict = _UNJUDGED if triggers else judged(run, now, pods_ready=pods_ready)
    triggers = triggers or _complained(run, now)
    decision = decide(run.progress(now), verdict, triggers, now, held=held, signals=run.words)
    run.held = _held(decision, held or run.words.paused)
    is_watched = run.step_since is not None and not run.passed
    if not is_watched and not isinstance(decision, RollBack):  # its split has still to be seen, or it is over
        run.save()
        return Hold(decision.reason)
    decided = _now(run)
    routed = go_home(run, decision.reason) if isinstance(decision, RollBack) else None
    run.note_decision(
        DecisionMade(at=decided, step=run.progress(now).step.name, decision=decision.kind, reason=decision.reason)
    )
    if routed:
        note_weights(run, routed)
    run.save()
    return decision


def look_at_pods(run: Run, now: datetime) -> tuple[tuple[Finding, ...], bool]:
    """Return the triggers, and whether every wanted pod of both tracks is ready."""
    signals, pods = _signals(run, now), _pods(run, now)
    if pods is not None:
        trouble = look_at_footing(run, now)
        run.pods = observe(run.pods, pods, now=now, within=run.plan.criteria.pods.within, trouble=trouble)
    return find_triggers(run.pods, signals, run.plan.criteria, now), pods is not None and _all_ready(run, pods)


def _signals(run: Run, now: datetime) -> tuple[Signal, ...]:
    try:
        signals = run.ports.signals.read()
    except UnavailableError as error:
        run.note_alarm(Trouble.SIGNALS_UNSEEN, f"cannot hear signals: {error}", now)
        return ()
    run.hear(signals, now)
    return signals


def _pods(run: Run, now: datetime) -> tuple[Pod, ...] | None:
    try:
        return run.ports.workloads.pods()
    except UnavailableError as error:
        run.note_alarm(Trouble.PODS_UNSEEN, f"cannot see pods: {error}", now)
        return None


def _complained(run: Run, now: datetime) -> tuple[Finding, ...]:
    """Return the trigger that the plan's own counter of complaints is; asked last, as Prometheus may be slow."""
    limit, counters = run.plan.criteria.complaints, run.ports.counters
    if limit.counter is None or counters is None:
        return ()
    try:
        counted = counters.increase(limit.counter, max(run.began or now, now - limit.within))
    except UnavailableError as error:
        run.note_alarm(Trouble.COMPLAINTS_UNCOUNTED, f"cannot count complaints: {error}", now)
        return ()
    return complaints(run.said, run.plan.criteria, now, counted=round(counted))


def learn(run: Run, now: datetime) -> None:
    """Take what stable alone did as the judge's history."""
    try:
        samples = run.ports.metrics.read(_unread_since(run, now))
    except UnavailableError as error:
        return run.note_alarm(Trouble.METRICS_SOURCE_DOWN, f"nothing to learn from: {error}", now)
    except NoSamplesError as error:
        return run.note_alarm(Trouble.SERIES_ABSENT, f"nothing to learn from: {error}", now)
    run.last_read = now
    _note_warnings(run, samples, now)
    steer_load(run, None, now)
    run.evidence, readings = run.judge.learn(run.evidence, samples)
    run.note_readings(readings | {"weight_asked": 0.0}, now)
    return None


def judged(run: Run, now: datetime, *, pods_ready: bool) -> Verdict:
    """Read what is new, add it to the evidence, and return the verdict."""
    verdict = with_clients(run, with_cause(run, _verdict(run, now, pods_ready), now))
    steer_load(run, verdict, now)
    if run.step_since is not None or verdict.outcome is Outcome.FAIL:  # before that, the step's clock does not run
        run.note_verdict(verdict_entry(verdict), now)
    return verdict


def _verdict(run: Run, now: datetime, pods_ready: bool) -> Verdict:
    try:
        samples = run.ports.metrics.read(_unread_since(run, now))
    except UnavailableError as error:
        return _blind(run, Basis.SOURCE_DOWN, Trouble.METRICS_SOURCE_DOWN, f"metrics source down: {error}", now)
    except NoSamplesError as error:
        return _blind(run, Basis.SERIES_ABSENT, Trouble.SERIES_ABSENT, f"series absent: {error}", now)
    run.last_read = now
    _note_warnings(run, samples, now)
    look = run.judge.look(run.evidence, samples, canary_share=run.asked.canary / 100, now=now, pods_ready=pods_ready)
    run.evidence = look.state
    run.note_readings(look.readings | {"weight_asked": float(run.asked.canary)}, now)
    run.count(look.readings)
    return look.verdict


def _note_warnings(run: Run, samples: Samples, now: datetime) -> None:
    if samples.warnings:
        run.note_alarm(Trouble.METRICS_PARTIAL, f"the metrics may be partial: {'; '.join(samples.warnings)}", now)


def _blind(run: Run, basis: Basis, trouble: Trouble, reason: str, now: datetime) -> Verdict:
    run.note_alarm(trouble, reason, now)
    return no_data(run.judge, run.evidence, basis, reason)


def _unread_since(run: Run, now: datetime) -> datetime:
    # After a long silence the counters still tell all that happened; old samples would only make the answer late.
    # A clock that was set back has read at a moment to come.
    return max(min(run.last_read or now, now), now - _LONGEST_LOOK_BACK) - _OVERLAP_SCRAPES * run.plan.scrape


def _all_ready(run: Run, pods: tuple[Pod, ...]) -> bool:
    wanted = {Track.STABLE: run.plan.stable.replicas, Track.CANARY: run.step.replicas if run.step else 0}
    return all(sum(pod.ready for pod in pods if pod.track is track) >= count for track, count in wanted.items())


def _held(decision: Decision, by: str) -> str:
    waits = isinstance(decision, Hold) and (decision.needs_person or decision.asks_approval)
    return by or (decision.reason if waits else "")


def _note_held(run: Run, decision: Hold) -> None:
    trouble = Trouble.APPROVAL_OVERDUE if run.asked_since else Trouble.HELD
    step = run.step.name if run.step else ""
    run.note_alarm(trouble, f"held: {decision.reason}", _now(run), subject=step, needs_person=True)


def _note_step_end(run: Run) -> None:
    if run.step is None or run.last_verdict is None:
        return
    requests = run.step_requests
    observed = run.step_canary_requests / requests if requests else None
    run.note(
        StepEnded(at=_now(run), step=run.step.name, verdict=run.last_verdict, observed=observed, requests=requests)
    )


def _sleep_to_next_tick(run: Run) -> None:
    if run.next_tick is not None and (left := run.next_tick - _now(run)) > timedelta(0):
        run.rest(left)


def _now(run: Run) -> datetime:
    return run.ports.clock.now()
