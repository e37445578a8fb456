"""From the judge's evidence to a verdict: which findings there are, and which of them comes first."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np

from analysis.evidence import non_inferiority
from analysis.evidence.blocks import CANARY, Limits
from analysis.evidence.gauges import canary_levels, is_broken
from analysis.evidence.judge_state import JudgeState, Shown
from analysis.evidence.sequential import log_sum
from analysis.evidence.split import NEEDED, mismatch
from analysis.verdict import blockers, evidence_against, evidence_for
from analysis.verdict.counts import counts, last, ratio_counts
from analysis.verdict.evidence_for import Need
from analysis.verdict.own_metric_gaps import odd_notes, uncounted
from analysis.verdict.wording import percent
from rollout.answers import COMPARED
from rollout.criteria import WhenDifferent
from rollout.model import Basis, Finding, Outcome, Question, Verdict
from rollout.plan import RolloutPlan

READY_FOR = timedelta(minutes=5)
"""How long all pods have to have been ready, unless the bake is shorter."""
SILENT_SCRAPES = 3
"""Scrapes without a canary request that are an alarm, and scrapes without any sample."""
UNTROUBLED = 1.0
"""Log evidence for a rollback below which a promotion is allowed."""
_SUSPICIOUS = math.log(10)


def verdict_of(
    plan: RolloutPlan, limits: Limits, state: JudgeState, *, canary_share: float, now: float, replayed: bool
) -> Verdict:
    """Return what the evidence so far says; `replayed` leaves out what only a live rollout knows.

    Parameters
    ----------
    plan, limits
        What was asked.
    state
        What is known.
    canary_share
        The configured weight of the canary, 0-1.
    now
        Unix time.
    replayed
        Whether the samples are those of a recording.
    """
    shown = state.shown
    against, promoting = _against(plan, limits, state), _promoting(plan, limits, state)
    blocking = [*uncounted(plan, state), *_different_answers(plan, limits, state)]
    condemned, common, measured = _gauges(plan, state)
    against, promoting, blocking = [*condemned, *against], [*promoting, *measured], [*blocking, *common]
    if not replayed:
        promoting.append(_pods(plan, state, canary_share, now))
        blocking += _silence(plan, state, canary_share, now)
    if shown.common:
        blocking.append(blockers.common_mode(last(shown, plan.compare_with), limits))
    against, promoting = _answering(Question.HARM, against), _answering(Question.HEALTH, promoting)
    blocking += _mismatch(state)
    outcome = Outcome.INCONCLUSIVE
    if condemned or shown.peak >= limits.rollback_needed:
        outcome = Outcome.FAIL
    elif not blocking and shown.rollback < UNTROUBLED and all(f.outcome is Outcome.PASS for f in promoting):
        outcome = Outcome.PASS
    findings = _ordered(outcome, blocking, against, promoting)
    return _told(limits, state, outcome, (*findings, *notes_of(plan, limits, state)))


def notes_of(plan: RolloutPlan, limits: Limits, state: JudgeState) -> tuple[Finding, ...]:
    """Return what is worth knowing and no evidence of anything."""
    return (*blockers.bucket_notes(state.edges, limits), *odd_notes(plan.criteria, state))


def _answering(question: Question, findings: list[Finding]) -> list[Finding]:
    return [replace(finding, answers=question) for finding in findings]


def no_data(limits: Limits, state: JudgeState, basis: Basis, reason: str) -> Verdict:
    """Return the verdict when there was nothing to read: inconclusive, with that as its reason."""
    return _told(limits, state, Outcome.INCONCLUSIVE, (blockers.missing(basis, reason),))


def _told(limits: Limits, state: JudgeState, outcome: Outcome, findings: tuple[Finding, ...]) -> Verdict:
    return Verdict(
        outcome=outcome,
        findings=findings,
        rollback_evidence=_finite(_decisive(limits, state.shown)),
        rollback_needed=limits.rollback_needed,
        promotion_evidence=_finite(min(state.shown.promotion)),
        promotion_needed=limits.promotion_needed,
    )


def _decisive(limits: Limits, shown: Shown) -> float:
    """Return the evidence against the canary: the present one, unless only an earlier one condemned it."""
    condemned_before = shown.rollback < limits.rollback_needed <= shown.peak
    return shown.peak if condemned_before else shown.rollback


def _mismatch(state: JudgeState) -> list[Finding]:
    """Return that the observed share is not the configured one: no reason to roll back, and none to go on."""
    wrong = mismatch(state.split)
    if wrong is None:
        return []
    return [blockers.sample_ratio(wrong.observed, wrong.asked, wrong.requests, wrong.log_evidence, NEEDED)]


def _against(plan: RolloutPlan, limits: Limits, state: JudgeState) -> list[Finding]:
    counted, shown, needed = counts(state, plan.compare_with, whole=True), state.shown, limits.rollback_needed
    ratios = plan.criteria.ratios
    own = [_finite(part) for part in shown.parts] or [_finite(-math.inf)] * (4 + len(ratios) + limits.answers)
    # The mixture condemns as a whole: when it does, its strongest part is what is named.
    if shown.peak >= needed:
        own[int(np.argmax(own))] = _decisive(limits, shown)
    findings = [
        evidence_against.relative_errors(counted, own[0], needed),
        *(
            evidence_against.relative_ratio(
                ratio.name, ratio_counts(state, 1 + index), own[1 + index], needed, plan.compare_with
            )
            for index, ratio in enumerate(ratios)
        ),
        *_answers(plan, limits, state, own[1 + len(ratios) :]),
        evidence_against.relative_latency(counted, own[-3], shown.raw_latency, needed, limits.minimum_effect),
        evidence_against.error_limit(counted, own[-2], needed, limits),
        evidence_against.latency_limit(counted, own[-1], needed, limits),
    ]
    return sorted((f for f in findings if f is not None), key=lambda f: -f.log_evidence)


def _answers(plan: RolloutPlan, limits: Limits, state: JudgeState, logs: list[float]) -> list[Finding]:
    """Return how each kind of answer that was given compares with stable's."""
    first, needed = 1 + len(plan.criteria.ratios), limits.rollback_needed
    kinds = [(kind, ratio_counts(state, first + index)) for index, kind in enumerate(COMPARED[: limits.answers])]
    return [
        evidence_against.relative_ratio(kind, counted, log, needed, plan.compare_with)
        for (kind, counted), log in zip(kinds, logs, strict=False)
        if counted[0] or counted[2]
    ]


def _different_answers(plan: RolloutPlan, limits: Limits, state: JudgeState) -> list[Finding]:
    """Return the kinds of answers that are shown to differ, where the plan holds for that and does not roll back."""
    if plan.criteria.answers.when_different is not WhenDifferent.HOLD:
        return []
    first = 1 + len(plan.criteria.ratios)
    logs = [_finite(float(log)) for log in log_sum(state.evidence.ratio_path[0, first:])]
    needed = limits.rollback_needed + math.log(limits.answers)
    held = [found for found in _answers(plan, limits, state, logs) if found.log_evidence >= needed]
    return [replace(found, outcome=Outcome.INCONCLUSIVE, log_needed=needed) for found in held]


def _promoting(plan: RolloutPlan, limits: Limits, state: JudgeState) -> list[Finding]:
    counted, shown, needed = counts(state, plan.compare_with, whole=False), state.shown, limits.promotion_needed
    logs = [_finite(one) for one in shown.promotion]
    needs = [_need(limits, state, name) for name in non_inferiority.PROMOTION]
    bucket = int(state.evidence.tail[0, 0])
    unhealthy = 1 - limits.success_healthy
    errors, requests = non_inferiority.kept_counts(state.evidence)
    kept = replace(counted, canary_errors=errors, canary_requests=requests)
    return [
        evidence_for.healthy_errors(
            kept if shown.by_limit else counted,
            *(logs[0], needed, needs[0], limits.error_healthy),
            by_limit=shown.by_limit,
            name="errors",
        ),
        evidence_for.healthy_errors(kept, logs[1], needed, needs[1], unhealthy, by_limit=True, name="success"),
        evidence_for.healthy_latency_ratio(counted, logs[2], needed, needs[2], state.edges[bucket]),
        evidence_for.healthy_latency(counted, logs[3], needed, needs[3], limits),
    ]


def _need(limits: Limits, state: JudgeState, name: str) -> Need:
    """Return how many more canary requests a criterion needs, if they are like those so far."""
    evidence = state.evidence
    done = float(evidence.step_requests[0, CANARY])
    rate = done / max(float(evidence.step_age[0]), 1e-9)
    lacks = [
        (limits.promotion_needed - prior - log) / (log / done)
        for prior, log in non_inferiority.alternatives_of(evidence, name)
        if log > 0 and done > 0
    ]
    return Need(max(min(lacks, default=math.inf), 0.0), rate)


def _gauges(plan: RolloutPlan, state: JudgeState) -> tuple[list[Finding], list[Finding], list[Finding]]:
    """Return what a gauge condemns the canary for, what it shares with the others, and how the other gauges stand."""
    condemned: list[Finding] = []
    common: list[Finding] = []
    measured: list[Finding] = []
    for gauge in plan.criteria.gauges:
        levels, breach = canary_levels(state.gauges, gauge), state.gauges.breach
        if breach is not None and breach.gauge == gauge.name:
            condemned.append(evidence_against.gauge_limit(gauge, breach, outcome=Outcome.FAIL))
        elif levels:
            worst = max(levels, key=lambda level: (level.time - level.since >= 0, level.value))
            is_common = is_broken(gauge, worst)
            outcome = Outcome.PASS if worst.value <= gauge.rollback_above else Outcome.INCONCLUSIVE
            found = evidence_against.gauge_limit(gauge, worst, outcome=outcome, common=is_common)
            (common if is_common else measured).append(found)
    return condemned, common, measured


def _pods(plan: RolloutPlan, state: JudgeState, canary_share: float, now: float) -> Finding:
    bakes = [step.bake for step in plan.steps if step.canary == round(100 * canary_share)]
    needed = min([READY_FOR, *bakes]).total_seconds() * 0.9  # the first look comes a little after the step began
    return evidence_for.ready_pods(0.0 if math.isnan(state.ready_since) else now - state.ready_since, needed)


def _silence(plan: RolloutPlan, state: JudgeState, canary_share: float, now: float) -> list[Finding]:
    patience = SILENT_SCRAPES * plan.scrape.total_seconds()
    last_sample = state.cursor.time
    if math.isinf(last_sample):
        return [blockers.missing(Basis.SERIES_ABSENT, "no samples of stable or canary yet")]
    if now - last_sample > patience:
        return [blockers.missing(Basis.STALE, f"the last sample is {now - last_sample:.0f} s old")]
    if canary_share > 0 and not math.isnan(state.heard) and last_sample - state.heard >= patience:
        asked = percent(canary_share)
        silent = f"no canary request for {last_sample - state.heard:.0f} s though {asked} of the traffic was asked for"
        return [blockers.missing(Basis.NO_TRAFFIC, silent)]
    return []


def _ordered(
    outcome: Outcome, blockers: list[Finding], against: list[Finding], promoting: list[Finding]
) -> tuple[Finding, ...]:
    """Return all findings, the one that matters most for this outcome first."""
    lacking = sorted((f for f in promoting if f.outcome is not Outcome.PASS), key=_wait, reverse=True)
    shown = sorted((f for f in promoting if f.outcome is Outcome.PASS), key=lambda f: -f.log_evidence)
    if outcome is Outcome.FAIL:
        return (*against, *blockers, *lacking, *shown)
    if outcome is Outcome.PASS:
        return (*shown, *against)
    grave = [f for f in against if f.log_evidence >= _SUSPICIOUS]
    light = [f for f in against if f.log_evidence < _SUSPICIOUS]
    return (*blockers, *grave, *lacking, *shown, *light)


def _wait(finding: Finding) -> timedelta:
    return finding.time_needed if finding.time_needed is not None else timedelta.max


def _finite(log_evidence: float) -> float:
    """Return the log evidence with no evidence at all as a number that JSON and charts can hold."""
    return max(float(log_evidence), -100.0)
