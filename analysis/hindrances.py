"""What keeps the judge from judging: common mode, a wrong split, nothing to judge."""

from __future__ import annotations

from analysis.counted import Counts
from analysis.evidence import Limits
from analysis.latency import bucket_warning
from analysis.words import count, odds, percent
from rollout.model import Basis, Finding, Outcome


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


def likely_cause(observed: float, asked: float) -> str:
    """Return what most often makes a split like this one, both shares 0-1.

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
