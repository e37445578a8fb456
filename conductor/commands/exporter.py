"""The pipeline's own metrics, made from the ledger alone: whoever serves them may die and come back at any time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from prometheus_client.core import GaugeMetricFamily

from conductor.commands.commands import Begun
from conductor.commands.last_drill import LastDrill, last_drill
from conductor.commands.status import Standing
from rollout.decide import DecisionKind
from rollout.events import (
    DecisionMade,
    DriftDetected,
    EndState,
    StepStarted,
    TakenOver,
)
from rollout.model import Basis, Outcome, Track
from rollout.plan import WhenOrphaned
from rollout.record import Event, RolloutRecord
from rollout.verdict_entries import VerdictEntry

STATES = ("none", "under way", "orphaned", *(str(state) for state in EndState))
BASELINE = "baseline"
"""The phase before the first step."""
Gauge = GaugeMetricFamily
_TRACKS = (Track.STABLE, Track.CANARY)


def metrics(found: Standing, history: Sequence[Begun]) -> Iterator[Gauge]:
    """Yield what is to be exported of a service.

    Parameters
    ----------
    found
        Where the service stands.
    history
        All its rollouts and drills on record, oldest first.
    """
    if last := last_drill(history):
        yield from _drill(history[-1].started.plan.service, last)
    if found.latest is None:
        return
    service = found.latest.started.plan.service
    yield from _whole(service, found, history)
    yield from _traffic(service, found)
    verdict = found.latest.record.last_verdict()
    yield from _verdict(service, verdict)
    yield from _evidence(service, found.latest.record, verdict)
    yield from _findings(service, verdict)
    yield from _decisions(service, found.latest)


def _whole(service: str, found: Standing, history: Sequence[Begun]) -> Iterator[Gauge]:
    assert found.latest
    plan, record = found.latest.started.plan, found.latest.record
    versions = {"rollout": found.latest.name, "stable": plan.stable.version, "canary": plan.canary.version}
    yield _one("canary_rollout_info", "The latest rollout and its versions.", {"service": service} | versions, 1)
    yield _which(service, "canary_rollout_state", "How the latest rollout stands.", "state", STATES, found.state)
    phases = (BASELINE, *(step.name for step in plan.steps))
    phase = (found.step or BASELINE) if record.ended is None else ""
    yield _which(service, "canary_rollout_phase", "Which phase goes on.", "phase", phases, phase)
    left = found.bake_left.total_seconds() if found.bake_left else 0.0
    told = {
        "canary_rollout_bake_left_seconds": ("How long the present step bakes on; 0 where none does.", max(left, 0.0)),
        "canary_rollout_started_timestamp_seconds": ("When the latest began.", found.latest.started.at.timestamp()),
        "canary_rollout_held": ("Whether a person is waited for.", float(is_held(found))),
    }
    if found.position and found.position.seen_at:
        words = "When its owner watched it last, while it has not ended."
        told["canary_rollout_watched_timestamp_seconds"] = (words, found.position.seen_at.timestamp())
    for name, (words, value) in told.items():
        yield _one(name, words, {"service": service}, value)
    # A drill that was rolled back has done what it was for: it is none of the rollouts' ends.
    yield from _history(service, [one for one in history if not one.started.drill])


def _history(service: str, history: Sequence[Begun]) -> Iterator[Gauge]:
    ends = [one.record.ended for one in history if one.record.ended]
    counts = {str(state): sum(end.state is state for end in ends) for state in EndState}
    yield _each(service, "canary_rollouts", "Rollouts on record by how they ended.", "state", counts)
    last = {str(end.state): end.at.timestamp() for end in ends}
    words = "When a rollout ended like this last; 0: none on record did."
    moments = {str(state): last.get(str(state), 0.0) for state in EndState}
    yield _each(service, "canary_rollout_ended_timestamp_seconds", words, "state", moments)
    taken = [event.policy for one in history for event in one.record.of(TakenOver)]
    policies = {str(policy): taken.count(policy) for policy in WhenOrphaned}
    words = "Rollouts on record that were taken over from an owner that was gone, by what was done."
    yield _each(service, "canary_takeovers", words, "policy", policies)


def _drill(service: str, last: LastDrill) -> Iterator[Gauge]:
    labels, drilled = {"service": service}, last.drilled
    yield _one("canary_drill_timestamp_seconds", "When the rollback was drilled last.", labels, drilled.at.timestamp())
    yield _one("canary_drill_proven", "Whether the whole chain fired, and touched nobody.", labels, drilled.proven)
    words = "When each part of the chain was done, since the first bad answer."
    yield _each(service, "canary_drill_seconds", words, "part", drilled.seconds)


def _traffic(service: str, found: Standing) -> Iterator[Gauge]:
    assert found.latest
    record = found.latest.record
    asked = found.position.asked if found.position else found.weights.canary if found.weights else None
    share = record.latest("share") if record.ended is None else None
    shares = {
        "canary_weight_asked_percent": ("The split that is asked for.", asked),
        "canary_weight_in_force_percent": (
            "The split that the gateway has.",
            found.weights.canary if found.weights else None,
        ),
        "canary_weight_observed_percent": (
            "The split that was counted in the traffic last.",
            None if share is None else 100 * share,
        ),
    }
    for name, (words, canary) in shares.items():
        if canary is not None:
            yield _each(service, name, words, "track", {Track.STABLE: 100 - canary, Track.CANARY: canary})
    drifts = len(record.of(DriftDetected))
    words = "Times that somebody else changed the split during the latest rollout."
    yield _one("canary_rollout_drifts", words, {"service": service}, drifts)
    if found.pods is not None:
        ready: dict[str, float] = {
            track: sum(pod.ready for pod in found.pods if pod.track is track) for track in _TRACKS
        }
        yield _each(service, "canary_pods_ready", "Ready pods.", "track", ready)


def _verdict(service: str, verdict: VerdictEntry | None) -> Iterator[Gauge]:
    said = str(verdict.outcome) if verdict else ""
    yield _which(service, "canary_verdict", "What the judge says.", "outcome", [str(one) for one in Outcome], said)
    against = [finding for finding in (verdict.findings if verdict else ()) if finding.outcome is not Outcome.PASS]
    bases = {finding.basis for finding in against} - {Basis.NOTE}
    words = "What the judge's findings rest on that do not speak for the canary."
    yield _each(service, "canary_findings_against", words, "basis", {one: float(one in bases) for one in Basis})


def _evidence(service: str, record: RolloutRecord, verdict: VerdictEntry | None) -> Iterator[Gauge]:
    """What was gathered for either decision, as natural logs of odds, beside the lines that decide."""
    gauge = _family("canary_evidence_log", "Log odds gathered; `all` decides.", ("for", "criterion"))
    for decision in ("promotion", "rollback"):
        for criterion, series in record.evidence_series(decision).items():
            _add(gauge, [service, decision, criterion or "all"], record.latest(series))
    if gauge.samples:
        yield gauge
    if verdict:
        needed = {"rollback": verdict.rollback_needed, "promotion": verdict.promotion_needed}
        yield _each(service, "canary_evidence_needed_log", "Log odds at which it is decided.", "for", needed)


def _findings(service: str, verdict: VerdictEntry | None) -> Iterator[Gauge]:
    """Each metric's estimate, and both its limits: the one that condemns, the one below which it is healthy."""
    keys = ("criterion", "basis", "answers", "unit")
    estimates = _family("canary_finding_estimate", "What a metric is thought to be.", keys)
    limits = _family("canary_finding_limit", "Limit: `harm` condemns, `health` has to be met.", keys)
    gathered = _family("canary_finding_evidence_log", "Log odds of one finding.", keys)
    needed = _family("canary_finding_needed_log", "Log odds at which a finding is decisive.", keys)
    seen = set()
    for finding in verdict.findings if verdict else ():
        labels = [service, finding.criterion, str(finding.basis), str(finding.answers), finding.unit]
        if tuple(labels) in seen:  # the most telling comes first
            continue
        seen.add(tuple(labels))
        _add(estimates, labels, finding.estimate)
        _add(limits, labels, finding.limit)
        if finding.log_needed is not None:
            _add(gathered, labels, finding.log_evidence)
            _add(needed, labels, finding.log_needed)
    yield from (gauge for gauge in (estimates, limits, gathered, needed) if gauge.samples)


def _decisions(service: str, one: Begun) -> Iterator[Gauge]:
    made = one.record.of(DecisionMade)
    counts = {str(kind): sum(event.decision is kind for event in made) for kind in DecisionKind}
    words = "Decisions of the latest rollout; going on holding is counted once."
    yield _each(service, "canary_decisions", words, "decision", counts)
    at = _family("canary_decision_timestamp_seconds", "When a step was decided.", ("step", "decision"))
    took = _family("canary_time_to_decision_seconds", "From a step's split to its decision.", ("step", "decision"))
    for (step, decision), (moment, seconds) in times_to_decision(one.record.events).items():
        _add(at, [service, step, decision], moment)
        _add(took, [service, step, decision], seconds)
    yield from (gauge for gauge in (at, took) if gauge.samples)


def times_to_decision(events: Sequence[Event]) -> Mapping[tuple[str, str], tuple[float, float]]:
    """Return by step and decision when it was made, and how many seconds after the step had begun; holds left out."""
    began, found = dict[str, float](), dict[tuple[str, str], tuple[float, float]]()
    for event in events:
        match event:
            case StepStarted():
                began[event.step] = event.at.timestamp()
            case DecisionMade(decision="advance" | "promote" | "roll back"):
                moment = event.at.timestamp()
                found[event.step, event.decision] = moment, moment - began.get(event.step, moment)
            case _:
                pass
    return found


def is_held(found: Standing) -> bool:
    """Return whether the latest rollout waits for a person, or ended by waiting for one."""
    return found.state == EndState.HELD or bool(found.waits)


def _family(name: str, words: str, labels: Sequence[str]) -> Gauge:
    return Gauge(name, words, labels=["service", *labels])


def _add(gauge: Gauge, labels: Sequence[str], value: float | None) -> None:
    if value is not None and not math.isnan(value):
        gauge.add_metric(labels, value)


def _one(name: str, words: str, labels: Mapping[str, str], value: float) -> Gauge:
    gauge = Gauge(name, words, labels=list(labels))
    gauge.add_metric(list(labels.values()), value)
    return gauge


def _each(service: str, name: str, words: str, label: str, values: Mapping[str, float]) -> Gauge:
    gauge = _family(name, words, (label,))
    for key, value in values.items():
        _add(gauge, [service, str(key)], value)
    return gauge


def _which(service: str, name: str, words: str, label: str, choices: Sequence[str], chosen: str) -> Gauge:
    return _each(service, name, words, label, {choice: float(choice == chosen) for choice in choices})
