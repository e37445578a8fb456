"""What was counted of both tracks, for findings, for the record's series, and of stable alone as the baseline."""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.special import betaincinv

from analysis.evidence import non_inferiority
from analysis.evidence.blocks import CANARY, STABLE, Limits
from analysis.evidence.judge_state import JudgeState, LatestEvidence
from analysis.scrapes.increments import Scrapes
from rollout.answers import COMPARED
from rollout.criteria import RatioCriterion
from rollout.formatting import format_count, format_ms
from rollout.model import Track, Verdict


@dataclass(frozen=True, slots=True)
class Counts:
    """What was counted of both tracks; latencies in ms, NaN where none was measured."""

    canary_requests: float
    canary_errors: float
    canary_latency: float
    stable_requests: float
    stable_errors: float
    stable_latency: float
    comparator: str = "stable"
    """What the canary is compared with: `stable`, or `baseline`, whose counts then are those called stable's."""

    @property
    def canary_ratio(self) -> float:
        """The canary's error ratio, 0-1."""
        return self.canary_errors / max(self.canary_requests, 1.0)

    @property
    def canary_interval(self) -> tuple[float, float] | None:
        """The exact 95 % interval of the canary's error ratio; None without requests."""
        return interval(self.canary_errors, self.canary_requests)

    @property
    def stable_ratio(self) -> float:
        """Stable's error ratio, 0-1."""
        return self.stable_errors / max(self.stable_requests, 1.0)


def last_scrape(latest: LatestEvidence, comparator: str) -> Counts:
    """Return what the last scrape counted."""
    requests, errors, ms, stable_requests, stable_errors, stable_ms = latest.last
    return Counts(requests, errors, ms or math.nan, stable_requests, stable_errors, stable_ms or math.nan, comparator)


def _mean(ms: float, requests: float) -> float:
    return ms / requests if requests > 0 and ms > 0 else math.nan


def counts_of(state: JudgeState, comparator: str, *, whole: bool) -> Counts:
    """Return what was counted since the canary had traffic, or in this step; latencies are this step's."""
    evidence = state.evidence
    requests = (evidence.total_requests if whole else evidence.step_requests)[0]
    errors = (evidence.total_errors if whole else evidence.step_errors)[0]
    timed = evidence.step_latency[0].sum(axis=-1)
    ms = [_mean(float(evidence.step_sums[0, row]), float(timed[row])) for row in (CANARY, STABLE)]
    return Counts(
        float(requests[CANARY]),
        float(errors[CANARY]),
        ms[0],
        float(requests[STABLE]),
        float(errors[STABLE]),
        ms[1],
        comparator,
    )


def ratio_counts(state: JudgeState, index: int) -> tuple[float, float, float, float]:
    """Return events and total of a further ratio since the canary had traffic, the canary's first."""
    counted = state.evidence.total_ratios[0, index]
    return float(counted[0, 0]), float(counted[1, 0]), float(counted[0, 1]), float(counted[1, 1])


def scrape_readings(scrapes: Scrapes) -> dict[str, float]:
    """Return what some scrapes counted, without what there was nothing to measure of."""
    if not len(scrapes):
        return {}
    requests, errors, sums = scrapes.requests.sum(0), scrapes.errors.sum(0), scrapes.sums.sum(0)
    timed = scrapes.latency.sum(axis=(0, 2))
    readings = {}
    for row, track in ((CANARY, Track.CANARY), (STABLE, Track.STABLE)):
        readings[f"{track}.requests"] = float(requests[row])
        if requests[row] > 0:
            readings[f"{track}.error_ratio"] = float(errors[row] / requests[row])
        if timed[row] > 0 and sums[row] > 0:
            readings[f"{track}.latency_ms"] = float(sums[row] / timed[row])
    if requests.sum() > 0:
        readings["share"] = float(requests[CANARY] / requests.sum())
    return readings


def readings(
    limits: Limits, ratios: tuple[RatioCriterion, ...], state: JudgeState, scrapes: Scrapes, verdict: Verdict
) -> dict[str, float]:
    """Return one look's numbers for the record's series: what was counted, and the evidence of each criterion."""
    values = scrape_readings(scrapes)
    values |= {"evidence.rollback": verdict.rollback_evidence, "evidence.promotion": verdict.promotion_evidence}
    answers = (kind.replace(" ", "_") for kind in COMPARED[: limits.answers])
    names = ("errors", *(ratio.name for ratio in ratios), *answers, "latency", "error_limit", "latency_limit")
    first = 1 + len(ratios)
    answered = state.evidence.total_ratios[0, :, 0].sum(axis=-1) > 0
    silent = {first + kind for kind in range(limits.answers) if not answered[first + kind]}
    parts = enumerate(zip(names, state.latest.parts, strict=False))
    values |= {
        f"evidence.rollback.{name}": part
        for index, (name, part) in parts
        if math.isfinite(part) and index not in silent
    }
    promoting = zip(non_inferiority.PROMOTION, state.latest.promotion, strict=True)
    return values | {
        f"evidence.promotion.{name.replace(' ', '_')}": log for name, log in promoting if math.isfinite(log)
    }


@dataclass(frozen=True, slots=True)
class Baseline:
    """How stable did alone, before the canary had traffic."""

    requests: int
    error_ratio: float
    latency_ms: float | None
    healthy: bool
    reason: str


def baseline_of(limits: Limits, state: JudgeState) -> Baseline:
    """Return how stable did before the canary had traffic, held against the plan's healthy limits."""
    requests, errors, ms, timed = state.baseline
    ratio, latency = errors / max(requests, 1.0), ms / timed if timed else None
    reason = f"{format_count(errors)} of {format_count(requests)} requests failed"
    reason += f", mean latency {format_ms(latency)}" if latency is not None else ""
    if (bounds := interval(errors, requests)) is None:
        return Baseline(round(requests), ratio, latency, healthy=False, reason=f"no requests: {reason}")
    is_slow = latency is not None and latency >= limits.latency_healthy
    return Baseline(round(requests), ratio, latency, bounds[0] <= limits.error_healthy and not is_slow, reason)


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
