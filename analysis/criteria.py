"""From numbers to findings: one function a criterion, each with the sentence that a person reads."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import timedelta

from scipy.special import betaincinv

from analysis.evidence import Limits
from rollout.model import Basis, Finding, Outcome
from rollout.quantities import format_duration


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted of both tracks; latencies in ms, NaN where none was measured."""

    canary_requests: float
    canary_errors: float
    canary_latency: float
    stable_requests: float
    stable_errors: float
    stable_latency: float

    @property
    def canary_ratio(self) -> float:
        """The canary's error ratio, 0-1."""
        return self.canary_errors / max(self.canary_requests, 1.0)

    @property
    def stable_ratio(self) -> float:
        """Stable's error ratio, 0-1."""
        return self.stable_errors / max(self.stable_requests, 1.0)


@dataclass(frozen=True, slots=True)
class Need:
    """What a promotion criterion still lacks."""

    requests: float
    """Canary requests, infinite when more of the same would not do."""
    rate: float
    """Canary requests a second."""


def relative_errors(counts: Counts, log_evidence: float, needed: float) -> Finding:
    """Return the evidence that the canary fails more often than stable."""
    return Finding(
        criterion="errors",
        basis=Basis.RELATIVE,
        outcome=_against(log_evidence, needed),
        reason=(
            f"errors {percent(counts.canary_ratio)} against stable's {percent(counts.stable_ratio)}: "
            f"{count(counts.canary_errors)} of {count(counts.canary_requests)} canary requests failed, "
            f"{count(counts.stable_errors)} of {count(counts.stable_requests)} stable ones {odds(log_evidence, needed)}"
        ),
        estimate=counts.canary_ratio,
        interval=interval(counts.canary_errors, counts.canary_requests),
        limit=counts.stable_ratio,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def relative_ratio(
    name: str, counted: tuple[float, float, float, float], log_evidence: float, needed: float
) -> Finding:
    """Return the evidence that a further ratio is worse on the canary.

    Parameters
    ----------
    name
        What the ratio is called.
    counted
        Events and total of the canary, then of stable.
    log_evidence, needed
        Log of the e-value, and of the one that condemns.
    """
    canary, canary_total, stable, stable_total = counted
    ratio, usual = canary / max(canary_total, 1.0), stable / max(stable_total, 1.0)
    return Finding(
        criterion=name,
        basis=Basis.RELATIVE,
        outcome=_against(log_evidence, needed),
        reason=(
            f"{name} {percent(ratio)} against stable's {percent(usual)}: {count(canary)} of {count(canary_total)} on "
            f"the canary, {count(stable)} of {count(stable_total)} on stable {odds(log_evidence, needed)}"
        ),
        estimate=ratio,
        interval=interval(canary, canary_total),
        limit=usual,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def relative_latency(
    counts: Counts, log_evidence: float, ungated: float, needed: float, minimum_effect: float
) -> Finding | None:
    """Return the evidence that the canary is slower than stable; None where nothing was measured."""
    if math.isnan(counts.canary_latency) or math.isnan(counts.stable_latency) or counts.stable_latency <= 0:
        return None
    times = counts.canary_latency / counts.stable_latency
    reason = (
        f"latency {counts.canary_latency:.3g} ms against stable's {counts.stable_latency:.3g} ms, "
        f"{times:.2f} times as long over {count(counts.canary_requests)} canary requests"
    )
    let_pass = ungated >= needed and log_evidence < needed
    if let_pass:
        reason += f": real, but below the minimum effect of {percent(minimum_effect)}, so it is let pass"
    return Finding(
        criterion="latency",
        basis=Basis.RELATIVE,
        outcome=_against(log_evidence, needed),
        reason=reason if let_pass else f"{reason} {odds(log_evidence, needed)}",
        estimate=times,
        limit=1 + minimum_effect,
        unit="x",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def error_limit(counts: Counts, log_evidence: float, needed: float, limits: Limits) -> Finding:
    """Return the evidence that the canary's error ratio is above the rollback limit."""
    return Finding(
        criterion="errors",
        basis=Basis.ABSOLUTE,
        outcome=_against(log_evidence, needed),
        reason=(
            f"errors {percent(counts.canary_ratio)}, limit {percent(limits.error_rollback)}: "
            f"{count(counts.canary_errors)} of {count(counts.canary_requests)} canary requests failed "
            f"{odds(log_evidence, needed)}"
        ),
        estimate=counts.canary_ratio,
        interval=interval(counts.canary_errors, counts.canary_requests),
        limit=limits.error_rollback,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def latency_limit(counts: Counts, log_evidence: float, needed: float, limits: Limits) -> Finding | None:
    """Return the evidence that the canary's mean latency is above the rollback limit."""
    if math.isnan(counts.canary_latency):
        return None
    return Finding(
        criterion="latency",
        basis=Basis.ABSOLUTE,
        outcome=_against(log_evidence, needed),
        reason=(
            f"mean latency {counts.canary_latency:.3g} ms, limit {limits.latency_rollback:g} ms, over "
            f"{count(counts.canary_requests)} canary requests {odds(log_evidence, needed)}"
        ),
        estimate=counts.canary_latency,
        limit=limits.latency_rollback,
        unit="ms",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def healthy_errors(
    counts: Counts, log_evidence: float, needed: float, need: Need, limit: float, *, by_limit: bool, name: str
) -> Finding:
    """Return the evidence that the canary's error ratio is below a limit, or no worse than stable's."""
    what = f"below {percent(limit)}" if by_limit else "less than 1.5 times stable's"
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
    what = f"answers above {edge:g} ms to be about as rare as stable's"
    shown = f"latency no worse than stable's: {what.replace('to be', 'are')} {odds(log_evidence, needed)}"
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
    what = f"mean latency below {limits.latency_healthy:g} ms"
    finding = Finding(
        criterion="latency",
        basis=Basis.ABSOLUTE,
        outcome=_for(log_evidence, needed),
        reason=(
            f"mean latency {counts.canary_latency:.3g} ms shown below {limits.latency_healthy:g} ms "
            f"{odds(log_evidence, needed)}"
            if log_evidence >= needed
            else f"{_lacking(counts, need)} to show {what} (it is {counts.canary_latency:.3g} ms)"
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


def common_mode(now: Counts, limits: Limits) -> Finding:
    """Return that both tracks break a rollback limit in the present scrape."""
    if now.stable_ratio > limits.error_rollback:
        figures = (
            f"errors {percent(now.canary_ratio)} on the canary and {percent(now.stable_ratio)} on stable, "
            f"limit {percent(limits.error_rollback)}"
        )
    else:
        figures = (
            f"mean latency {now.canary_latency:.3g} ms on the canary and {now.stable_latency:.3g} ms on stable, "
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
            f"{percent(asked)} was asked for {odds(log_evidence, needed)}"
        ),
        estimate=observed,
        limit=asked,
        unit="ratio",
        log_evidence=log_evidence,
        log_needed=needed,
    )


def missing(basis: Basis, reason: str) -> Finding:
    """Return that there is nothing to judge, and why."""
    return Finding(criterion="traffic", basis=basis, outcome=Outcome.INCONCLUSIVE, reason=reason)


def interval(events: float, requests: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the exact interval for an event ratio.

    References
    ----------
    Clopper, Pearson (1934), Biometrika 26(4).

    >>> [round(end, 4) for end in interval(4, 20)]
    [0.0573, 0.4366]
    """
    if requests <= 0:
        return None
    tail = (1 - confidence) / 2
    low = float(betaincinv(events, requests - events + 1, tail)) if events > 0 else 0.0
    high = float(betaincinv(events + 1, requests - events, 1 - tail)) if events < requests else 1.0
    return low, high


def percent(ratio: float) -> str:
    """Return a ratio as percent, with digits enough to tell a small one from none."""
    value = 100 * ratio
    if value and value < 0.095:
        return f"{value:.2g} %"
    return f"{value:.2f} %" if value < 10 else f"{value:.1f} %"


def count(number: float) -> str:
    """Return a count with separators."""
    return f"{round(number):,}"


def odds(log_evidence: float, needed: float) -> str:
    """Return evidence as odds, beside what is needed."""
    return f"(evidence {_odds(log_evidence)} : 1, needed {_odds(needed)} : 1)"


def _odds(log_evidence: float) -> str:
    if log_evidence > math.log(1e6):
        return "over 1,000,000"
    value = math.exp(log_evidence)
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _against(log_evidence: float, needed: float) -> Outcome:
    return Outcome.FAIL if log_evidence >= needed else Outcome.INCONCLUSIVE


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
    return f"{text}, {_duration(need.requests / need.rate)} more," if need.rate > 0 else text


def _so_far(counts: Counts) -> str:
    return f" ({count(counts.canary_errors)} failed so far)" if counts.canary_errors else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"about {math.ceil(seconds)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
