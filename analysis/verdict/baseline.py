"""How stable did alone, before the canary had traffic."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.evidence.blocks import Limits
from analysis.evidence.judge_state import JudgeState
from analysis.verdict.wording import count, interval, milliseconds


@dataclass(frozen=True, slots=True)
class Baseline:
    """How stable did alone."""

    requests: int
    error_ratio: float
    latency_ms: float | None
    healthy: bool
    reason: str


def baseline_of(limits: Limits, state: JudgeState) -> Baseline:
    """Return how stable did before the canary had traffic, held against the plan's healthy limits."""
    requests, errors, ms, timed = state.baseline
    ratio, latency = errors / max(requests, 1.0), ms / timed if timed else None
    reason = f"{count(errors)} of {count(requests)} requests failed"
    reason += f", mean latency {milliseconds(latency)}" if latency is not None else ""
    low = interval(errors, requests)
    broken = requests > 0 and low is not None and low[0] > limits.error_healthy
    slow = latency is not None and latency >= limits.latency_healthy
    reason = f"no requests: {reason}" if not requests else reason
    return Baseline(round(requests), ratio, latency, requests > 0 and not broken and not slow, reason)
