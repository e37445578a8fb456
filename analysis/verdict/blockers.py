"""What keeps the judge from judging: common mode, a wrong split, nothing to judge."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from analysis.evidence.blocks import Limits
from analysis.evidence.judge_state import JudgeState
from analysis.evidence.latency import bucket_warning
from analysis.evidence.split import NEEDED, mismatch
from analysis.verdict.counts import Counts
from rollout.formatting import format_count, format_evidence, format_limit, format_ms, format_ratio, format_span
from rollout.model import Basis, Finding, Outcome, SplitCause, SplitMismatch
from rollout.plan import RolloutPlan

SILENT_SCRAPES = 3
"""Scrapes without a canary request that are an alarm, and scrapes without any sample."""
_NOTHING = 0.05
"""Part of the share asked for below which the canary gets as good as nothing."""
_STRAY = 20
"""Requests by which two counts of the same time may differ at its ends."""
_FEWEST_OWN = 200
"""Requests of our own from which on their share says something."""
_SIGMAS = 3.29


def common_mode(now: Counts, limits: Limits) -> Finding:
    """Return that stable breaks a rollback limit itself in the present scrape."""
    if now.stable_ratio > limits.error_rollback:
        what, limit = "errors", format_ratio(limits.error_rollback)
        canary, stable = format_ratio(now.canary_ratio), format_ratio(now.stable_ratio)
        is_shared = now.canary_ratio > limits.error_rollback
    else:
        what, limit = "mean latency", format_limit(limits.latency_rollback, "ms")
        canary, stable = format_ms(now.canary_latency), format_ms(now.stable_latency)
        is_shared = now.canary_latency > limits.latency_rollback
    comparator, conclusion = now.comparator, "both tracks suffer, so it is not the canary's fault"
    if not is_shared:
        conclusion = f"{comparator} breaks the limit itself, so nothing is promoted until it does no more"
    return Finding(
        criterion="common mode",
        basis=Basis.COMMON_MODE,
        outcome=Outcome.INCONCLUSIVE,
        reason=f"common mode: {what} {canary} on the canary and {stable} on {comparator}, limit {limit}; {conclusion}",
    )


def split_mismatch(state: JudgeState) -> list[Finding]:
    """Return that the observed share is not the configured one: no reason to roll back, and none to go on."""
    if (wrong := mismatch(state.split)) is None:
        return []
    return [sample_ratio(wrong.observed, wrong.configured, wrong.requests, wrong.log_evidence, NEEDED)]


def sample_ratio(observed: float, configured: float, requests: float, log_evidence: float, needed: float) -> Finding:
    """Return that the observed share is not the weight that was asked for, with the cause that its size points to."""
    mismatch = SplitMismatch(observed, configured, requests, likely_cause(observed, configured))
    return Finding(
        criterion="traffic",
        basis=Basis.SAMPLE_RATIO,
        outcome=Outcome.INCONCLUSIVE,
        reason=_mismatch(mismatch, log_evidence, needed),
        estimate=observed,
        limit=configured,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
        mismatch=mismatch,
    )


def _mismatch(mismatch: SplitMismatch, log_evidence: float, needed: float, clue: str = "") -> str:
    return (
        f"sample ratio mismatch: the canary got {format_ratio(mismatch.observed)} of "
        f"{format_count(mismatch.requests)} requests, "
        f"{format_ratio(mismatch.asked)} was asked for {format_evidence(log_evidence, needed)}; "
        f"likely cause: {mismatch.cause}{f': {clue}' if clue else ''}"
    )


@dataclass(frozen=True, slots=True)
class Clues:
    """What tells one cause of a wrong split from another; each part may be unknown."""

    ready: int | None = None
    """The canary's ready pods."""
    by_pods: int = 0
    """Requests that the canary's pods counted themselves, over some time."""
    by_gateway: int = 0
    """Those that the gateway sent them over the same time."""
    own: tuple[int, int] = (0, 0)
    """The rollout's own clients' requests since the split was right: the canary's, and all that a pod answered."""
    refused: int = 0
    """Of their requests, those that no pod answered."""


@dataclass(frozen=True, slots=True)
class Suspect:
    """A cause of a wrong split, and what points to it."""

    cause: SplitCause
    clue: str


def with_clues(finding: Finding, clues: Clues) -> Finding:
    """Return the finding of a wrong split with the cause that the clues point to, where they point to one."""
    mismatch = finding.mismatch
    if mismatch is None or (suspect := suspect_of(mismatch.observed, mismatch.asked, clues)) is None:
        return finding
    named = replace(mismatch, cause=suspect.cause)
    reason = _mismatch(named, finding.log_evidence, finding.log_needed or 0.0, suspect.clue)
    return replace(finding, mismatch=named, reason=reason)


def suspect_of(observed: float, configured: float, clues: Clues) -> Suspect | None:
    """Return the cause that the clues point to, with what points to it; None where nothing does.

    >>> suspect_of(0.5, 0.2, Clues(by_pods=900, by_gateway=200)).clue
    'its pods counted 900, the gateway sent them 200'
    """
    canary, all_own = clues.own
    if observed < _NOTHING * configured or clues.refused > 0.5 * configured * max(all_own + clues.refused, _FEWEST_OWN):
        return _no_pods(clues)
    if clues.by_pods > clues.by_gateway + max(0.1 * clues.by_gateway, _STRAY):
        counted = f"its pods counted {clues.by_pods:,}, the gateway sent them {clues.by_gateway:,}"
        return Suspect(SplitCause.MIRROR, counted)
    if all_own < _FEWEST_OWN:
        return None
    share = (
        f"{format_ratio(canary / all_own)} of the rollout's own {all_own:,} requests, which keep to nothing, reached"
    )
    if abs(canary - all_own * configured) <= _SIGMAS * math.sqrt(all_own * configured * (1 - configured)):
        return Suspect(_sticky(observed, configured), f"{share} the canary as asked")
    return Suspect(SplitCause.OTHER_ROUTE, f"{share} the canary")


def _no_pods(clues: Clues) -> Suspect | None:
    if clues.ready == 0:
        return Suspect(SplitCause.NO_CANARY_PODS, "none is ready")
    parts = []
    if clues.refused:
        parts.append(f"{clues.refused:,} of the rollout's own requests got no pod")
    if clues.ready:
        parts.append(f"its labels may match none of the {clues.ready} that are ready")
    return Suspect(SplitCause.NO_CANARY_PODS, ", and ".join(parts)) if parts else None


def likely_cause(observed: float, configured: float) -> SplitCause:
    """Return what most often makes a split like this one, by its size alone, both shares 0-1.

    A mirror sends the canary a copy of all that stable gets, on top of its own: 1 of 2 - w.

    >>> likely_cause(0.0, 0.2).name, likely_cause(0.55, 0.2).name, likely_cause(0.12, 0.2).name
    ('NO_CANARY_PODS', 'MIRROR', 'KEPT_ON_STABLE')
    """
    if observed == 0:
        return SplitCause.NO_CANARY_PODS
    if observed == 1:
        return SplitCause.NO_STABLE_PODS
    if abs(observed * (2 - configured) - 1) <= 0.1:
        return SplitCause.MIRROR
    return _sticky(observed, configured)


def _sticky(observed: float, configured: float) -> SplitCause:
    return SplitCause.KEPT_ON_STABLE if observed < configured else SplitCause.KEPT_ON_CANARY


def silence(plan: RolloutPlan, state: JudgeState, canary_share: float, now: float) -> list[Finding]:
    """Return that there is no sample yet, no new one, or none with a canary request though it should have traffic."""
    patience, last_sample = SILENT_SCRAPES * plan.scrape.total_seconds(), state.cursor.time
    if math.isinf(last_sample):
        return [missing(Basis.SERIES_ABSENT, "no samples of stable or canary yet")]
    if now - last_sample > patience:
        return [missing(Basis.STALE, f"the last sample is {format_span(round(now - last_sample))} old")]
    silent_for = last_sample - state.last_canary_request
    if canary_share > 0 and silent_for >= patience:
        share = format_ratio(canary_share)
        reason = f"no canary request for {format_span(round(silent_for))} though {share} of the traffic was asked for"
        return [missing(Basis.NO_TRAFFIC, reason)]
    return []


def missing(basis: Basis, reason: str, criterion: str = "traffic") -> Finding:
    """Return that there is nothing to judge, and why."""
    return Finding(criterion=criterion, basis=basis, outcome=Outcome.INCONCLUSIVE, reason=reason)


def note(criterion: str, reason: str) -> Finding:
    """Return something worth knowing that is no evidence of anything."""
    return Finding(criterion=criterion, basis=Basis.NOTE, outcome=Outcome.INCONCLUSIVE, reason=reason)


def bucket_notes(edges: tuple[float, ...], limits: Limits) -> list[Finding]:
    """Return what the buckets cannot show of the plan's latency limits."""
    edges_needed = dict.fromkeys((limits.latency_healthy, limits.latency_rollback))
    warnings = [warning for limit in edges_needed if (warning := bucket_warning(edges, limit))]
    return [note("latency", warning) for warning in warnings]
