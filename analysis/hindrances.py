"""What keeps the judge from judging: common mode, a wrong split, nothing to judge."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from analysis.counted import Counts
from analysis.evidence import Limits
from analysis.latency import bucket_warning
from analysis.words import count, odds, percent
from rollout.model import Basis, Finding, Outcome

_NOTHING = 0.05
"""Part of the share asked for below which the canary gets as good as nothing."""
_STRAY = 20
"""Requests by which two counts of the same time may differ at its ends."""
_FEWEST_OWN = 200
"""Requests of our own from which on their share says something."""
_SIGMAS = 3.29


def common_mode(now: Counts, limits: Limits) -> Finding:
    """Return that both tracks break a rollback limit in the present scrape."""
    if now.stable_ratio > limits.error_rollback:
        figures = (
            f"errors {percent(now.canary_ratio)} on the canary and {percent(now.stable_ratio)} on {now.other}, "
            f"limit {percent(limits.error_rollback)}"
        )
    else:
        figures = (
            f"mean latency {now.canary_latency:.3g} ms on the canary and {now.stable_latency:.3g} ms on {now.other}, "
            f"limit {limits.latency_rollback:g} ms"
        )
    return Finding(
        criterion="common mode",
        basis=Basis.COMMON_MODE,
        outcome=Outcome.INCONCLUSIVE,
        reason=f"common mode: {figures}; both tracks suffer, so it is not the canary's fault",
    )


def sample_ratio(observed: float, asked: float, requests: float, log_evidence: float, needed: float) -> Finding:
    """Return that the observed share is not the weight that was asked for."""
    return Finding(
        criterion="traffic",
        basis=Basis.SAMPLE_RATIO,
        outcome=Outcome.INCONCLUSIVE,
        reason=(
            f"sample ratio mismatch: the canary got {percent(observed)} of {count(requests)} requests, "
            f"{percent(asked)} was asked for {odds(log_evidence, needed)}; "
            f"likely cause: {likely_cause(observed, asked)}"
        ),
        estimate=observed,
        limit=asked,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
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
    """The rollout's own clients' requests in the step: those that the canary answered, and all that a pod did."""
    refused: int = 0
    """Of their requests, those that no pod answered."""


def with_clues(finding: Finding, clues: Clues) -> Finding:
    """Return the finding of a wrong split with the cause that the clues point to, where they point to one."""
    observed, asked = finding.estimate or 0.0, finding.limit or 0.0
    told = cause_of(observed, asked, clues)
    if not told:
        return finding
    return replace(finding, reason=finding.reason.removesuffix(likely_cause(observed, asked)) + told)


def cause_of(observed: float, asked: float, clues: Clues) -> str:
    """Return the cause that the clues point to, with what points to it; empty where nothing does.

    >>> cause_of(0.5, 0.2, Clues(by_pods=900, by_gateway=200))
    "a mirror that copies requests to the canary: its pods counted 900, the gateway sent them 200"
    """
    canary, all_own = clues.own
    if observed < _NOTHING * asked or clues.refused > 0.5 * asked * max(all_own + clues.refused, _FEWEST_OWN):
        return _no_pods(clues)
    if clues.by_pods > clues.by_gateway + max(0.1 * clues.by_gateway, _STRAY):
        counted = f"its pods counted {clues.by_pods:,}, the gateway sent them {clues.by_gateway:,}"
        return f"a mirror that copies requests to the canary: {counted}"
    if all_own < _FEWEST_OWN:
        return ""
    share = f"{percent(canary / all_own)} of the rollout's own {all_own:,} requests"
    if abs(canary - all_own * asked) <= _SIGMAS * math.sqrt(all_own * asked * (1 - asked)):
        kept = "stable" if observed < asked else "the canary"
        kinds = "sticky sessions, long-lived connections or a testers' header"
        return f"{kinds} that keep clients on {kept}: {share}, which keep to nothing, reached the canary as asked"
    whose = "another route before it, a subset that selects other pods, or clients told apart by their address"
    return f"the gateway itself splits otherwise ({whose}): {share}, which keep to nothing, reached the canary"


def _no_pods(clues: Clues) -> str:
    if clues.ready == 0:
        return "the subset of the canary has no pods: none is ready"
    parts = []
    if clues.refused:
        parts.append(f"{clues.refused:,} of the rollout's own requests got no pod")
    if clues.ready:
        parts.append(f"its labels may match none of the {clues.ready} that are ready")
    return f"the subset of the canary has no pods: {', and '.join(parts)}" if parts else ""


def likely_cause(observed: float, asked: float) -> str:
    """Return what most often makes a split like this one, by its size alone, both shares 0-1.

    A mirror sends the canary a copy of all that stable gets, on top of its own: 1 of 2 - w.

    >>> likely_cause(0.0, 0.2), likely_cause(0.55, 0.2), likely_cause(0.12, 0.2)[:15]
    ('the subset of the canary has no pods', 'a mirror that copies requests to the canary', 'sticky sessions')
    """
    if observed == 0:
        return "the subset of the canary has no pods"
    if observed == 1:
        return "the subset of stable has no pods"
    if abs(observed * (2 - asked) - 1) <= 0.1:
        return "a mirror that copies requests to the canary"
    kept = "stable" if observed < asked else "the canary"
    return f"sticky sessions or long-lived connections that keep clients on {kept}"


def missing(basis: Basis, reason: str, criterion: str = "traffic") -> Finding:
    """Return that there is nothing to judge, and why."""
    return Finding(criterion=criterion, basis=basis, outcome=Outcome.INCONCLUSIVE, reason=reason)


def note(criterion: str, reason: str) -> Finding:
    """Return something worth knowing that is no evidence of anything."""
    return Finding(criterion=criterion, basis=Basis.NOTE, outcome=Outcome.INCONCLUSIVE, reason=reason)


def bucket_notes(edges: tuple[float, ...], limits: Limits) -> list[Finding]:
    """Return what the buckets cannot show of the plan's latency limits."""
    asked = dict.fromkeys((limits.latency_healthy, limits.latency_rollback))
    warnings = [warning for limit in asked if (warning := bucket_warning(edges, limit))]
    return [note("latency", warning) for warning in warnings]
