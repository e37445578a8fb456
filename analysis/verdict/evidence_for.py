"""Evidence for the canary: one function a criterion, each with the sentence that a person reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta

from analysis.evidence.blocks import Limits
from analysis.verdict.counts import Counts
from analysis.verdict.wording import count, duration, interval, milliseconds, odds, percent
from rollout.model import Basis, Finding, Outcome
from rollout.quantities import format_duration


@dataclass(frozen=True, slots=True)
class Need:
    """What a promotion criterion still lacks."""

    requests: float
    """Canary requests, infinite when more of the same would not do."""
    rate: float
    """Canary requests a second."""


def healthy_errors(
    counts: Counts, log_evidence: float, needed: float, need: Need, limit: float, *, by_limit: bool, name: str
) -> Finding:
    """Return the evidence that the canary's error ratio is below a limit, or no worse than stable's."""
    what = f"below {percent(limit)}" if by_limit else f"less than 1.5 times {counts.other}'s"
    shown = (
        f"errors {percent(counts.canary_ratio)} shown {what}: {count(counts.canary_errors)} of "
        f"{count(counts.canary_requests)} canary requests failed {odds(log_evidence, needed)}"
    )
    finding = Finding(
        criterion=name,
        basis=Basis.ABSOLUTE if by_limit else Basis.RELATIVE,
        outcome=_for(log_evidence, needed),
        reason=shown if log_evidence >= needed else f"{_lacking(counts, need)} to show errors {what}{_so_far(counts)}",
        estimate=counts.canary_ratio,
        interval=interval(counts.canary_errors, counts.canary_requests),
        limit=limit,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
    )
    return _with_need(finding, need)


def healthy_latency_ratio(counts: Counts, log_evidence: float, needed: float, need: Need, edge: float) -> Finding:
    """Return the evidence that the canary's slow answers are not notably more than stable's."""
    if math.isnan(counts.canary_latency):
        return _unmeasured("latency ratio", needed)
    what = f"answers above {edge:,g} ms to be about as rare as {counts.other}'s"
    shown = f"latency no worse than {counts.other}'s: {what.replace('to be', 'are')} {odds(log_evidence, needed)}"
    finding = Finding(
        criterion="latency ratio",
        basis=Basis.RELATIVE,
        outcome=_for(log_evidence, needed),
        reason=shown if log_evidence >= needed else f"{_lacking(counts, need)} to show {what}",
        estimate=None if math.isnan(counts.stable_latency) else counts.canary_latency / counts.stable_latency,
        unit="x",
        log_evidence=log_evidence,
        log_needed=needed,
    )
    return _with_need(finding, need)


def healthy_latency(counts: Counts, log_evidence: float, needed: float, need: Need, limits: Limits) -> Finding:
    """Return the evidence that the canary's mean latency is below the healthy limit."""
    if math.isnan(counts.canary_latency):
        return _unmeasured("latency", needed)
    what = f"mean latency below {limits.latency_healthy:,g} ms"
    finding = Finding(
        criterion="latency",
        basis=Basis.ABSOLUTE,
        outcome=_for(log_evidence, needed),
        reason=(
            f"mean latency {milliseconds(counts.canary_latency)} shown below {limits.latency_healthy:,g} ms "
            f"{odds(log_evidence, needed)}"
            if log_evidence >= needed
            else f"{_lacking(counts, need)} to show {what} (it is {milliseconds(counts.canary_latency)})"
        ),
        estimate=counts.canary_latency,
        limit=limits.latency_healthy,
        unit="ms",
        log_evidence=log_evidence,
        log_needed=needed,
    )
    return _with_need(finding, need)


def ready_pods(ready_for: float, needed: float) -> Finding:
    """Return whether all wanted pods have been ready for long enough; times in seconds."""
    is_ready = ready_for >= needed
    asked = format_duration(timedelta(seconds=round(needed, 3)))
    been = format_duration(timedelta(seconds=round(max(ready_for, 0.0))))
    return Finding(
        criterion="pods",
        basis=Basis.ABSOLUTE,
        outcome=Outcome.PASS if is_ready else Outcome.INCONCLUSIVE,
        reason=f"all pods ready for {been}, needed {asked}" if ready_for > 0 or is_ready else "not all pods are ready",
        time_needed=None if is_ready else timedelta(seconds=needed - max(ready_for, 0.0)),
    )


def _for(log_evidence: float, needed: float) -> Outcome:
    return Outcome.PASS if log_evidence >= needed else Outcome.INCONCLUSIVE


def _unmeasured(criterion: str, needed: float) -> Finding:
    return Finding(
        criterion=criterion,
        basis=Basis.SERIES_ABSENT,
        outcome=Outcome.INCONCLUSIVE,
        reason="no latency has been measured on the canary",
        log_needed=needed,
    )


def _with_need(finding: Finding, need: Need) -> Finding:
    """Return the finding with what it still needs, where more of the same traffic would do."""
    if finding.outcome is Outcome.PASS or math.isinf(need.requests):
        return finding
    finding = replace(finding, requests_needed=math.ceil(need.requests))
    if need.rate <= 0 or need.requests / need.rate > 1e8:
        return finding
    return replace(finding, time_needed=timedelta(seconds=need.requests / need.rate))


def _lacking(counts: Counts, need: Need) -> str:
    done = count(counts.canary_requests)
    if math.isinf(need.requests):
        return f"{done} canary requests are not enough"
    text = f"{done} of about {count(counts.canary_requests + need.requests)} canary requests needed"
    return f"{text}, {duration(need.requests / need.rate)} more," if need.rate > 0 else text


def _so_far(counts: Counts) -> str:
    return f" ({count(counts.canary_errors)} failed so far)" if counts.canary_errors else ""
