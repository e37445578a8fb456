"""From the judge's evidence to a verdict: all findings, what they come to, and which of them is named first."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta

from analysis.evidence.blocks import Limits
from analysis.evidence.judge_state import JudgeState
from analysis.verdict import blockers, criteria
from analysis.verdict.counts import last_scrape
from analysis.verdict.measurements import Comparison
from analysis.verdict.own_metrics import gauge_findings, missing_metrics, skipped_notes
from rollout.formatting import format_span
from rollout.model import Basis, Finding, Outcome, Question, Verdict
from rollout.plan import RolloutPlan

READY_FOR = timedelta(minutes=5)
"""How long all pods have to have been ready, unless the bake is shorter."""
UNTROUBLED = 1.0
"""Log evidence against the canary below which a promotion is allowed."""
_SUSPICIOUS = math.log(10)
"""Log evidence against the canary from which it is named before what is lacking for a promotion."""


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
    comparison, gauges = Comparison.of(plan, limits, state), list(gauge_findings(plan, state))
    broken = [finding for finding in gauges if finding.outcome is Outcome.FAIL]
    common = [finding for finding in gauges if finding.basis is Basis.COMMON_MODE]
    against = [*broken, *criteria.against(comparison)]
    promoting = [*criteria.promoting(comparison), *(f for f in gauges if f not in broken and f not in common)]
    blocking = [*missing_metrics(plan, state), *criteria.different_answers(comparison), *common]
    if not replayed:
        promoting.append(_pods(plan, state, canary_share, now))
        blocking += blockers.silence(plan, state, canary_share, now)
    if state.latest.common:
        blocking.append(blockers.common_mode(last_scrape(state.latest, plan.compare_with), limits))
    blocking += blockers.split_mismatch(state)
    outcome = Outcome.INCONCLUSIVE
    if broken or state.latest.peak >= limits.rollback_needed:
        outcome = Outcome.FAIL
    elif not blocking and state.latest.rollback < UNTROUBLED and all(f.outcome is Outcome.PASS for f in promoting):
        outcome = Outcome.PASS
    against, promoting = _answering(Question.HARM, against), _answering(Question.HEALTH, promoting)
    findings = _ordered(outcome, blocking, against, promoting)
    return _verdict(limits, state, outcome, (*findings, *notes_of(plan, limits, state)))


def notes_of(plan: RolloutPlan, limits: Limits, state: JudgeState) -> tuple[Finding, ...]:
    """Return what is worth knowing and no evidence of anything."""
    return (*blockers.bucket_notes(state.edges, limits), *skipped_notes(plan.criteria, state))


def no_data(limits: Limits, state: JudgeState, basis: Basis, reason: str) -> Verdict:
    """Return the verdict when there was nothing to read: inconclusive, with that as its reason."""
    return _verdict(limits, state, Outcome.INCONCLUSIVE, (blockers.missing(basis, reason),))


def _verdict(limits: Limits, state: JudgeState, outcome: Outcome, findings: tuple[Finding, ...]) -> Verdict:
    return Verdict(
        outcome=outcome,
        findings=findings,
        rollback_evidence=criteria.finite(criteria.decisive(limits, state)),
        rollback_needed=limits.rollback_needed,
        promotion_evidence=criteria.finite(min(state.latest.promotion)),
        promotion_needed=limits.promotion_needed,
    )


def _pods(plan: RolloutPlan, state: JudgeState, canary_share: float, now: float) -> Finding:
    """Return whether all wanted pods have been ready for long enough."""
    bakes = [step.bake for step in plan.steps if step.canary == round(100 * canary_share)]
    needed = min([READY_FOR, *bakes]).total_seconds() * 0.9  # the first look comes a little after the step began
    ready_for = 0.0 if math.isnan(state.ready_since) else now - state.ready_since
    is_ready = ready_for >= needed
    limit = format_span(timedelta(seconds=round(needed, 3)))
    reason = f"all pods ready for {format_span(timedelta(seconds=round(max(ready_for, 0.0))))}, needed {limit}"
    return Finding(
        criterion="pods",
        basis=Basis.ABSOLUTE,
        outcome=Outcome.PASS if is_ready else Outcome.INCONCLUSIVE,
        reason=reason if ready_for > 0 or is_ready else "not all pods are ready",
        time_needed=None if is_ready else timedelta(seconds=needed - max(ready_for, 0.0)),
    )


def _answering(question: Question, findings: list[Finding]) -> list[Finding]:
    return [replace(finding, answers=question) for finding in findings]


def _ordered(
    outcome: Outcome, blockers: list[Finding], against: list[Finding], promoting: list[Finding]
) -> tuple[Finding, ...]:
    """Return all findings, the one that matters most for this outcome first."""
    lacking = sorted((f for f in promoting if f.outcome is not Outcome.PASS), key=_wait, reverse=True)
    passed = sorted((f for f in promoting if f.outcome is Outcome.PASS), key=lambda f: -f.log_evidence)
    if outcome is Outcome.FAIL:
        return (*against, *blockers, *lacking, *passed)
    if outcome is Outcome.PASS:
        return (*passed, *against)
    grave = [f for f in against if f.log_evidence >= _SUSPICIOUS]
    light = [f for f in against if f.log_evidence < _SUSPICIOUS]
    return (*blockers, *grave, *lacking, *passed, *light)


def _wait(finding: Finding) -> timedelta:
    return finding.time_needed if finding.time_needed is not None else timedelta.max
