"""A plan, its scrapes and its evidence in the kernel's terms, and back."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from analysis.evidence.blocks import Block, Floats, Limits, Path
from analysis.evidence.judge_state import Shown
from analysis.scrapes.increments import Scrapes
from analysis.verdict.own_metric_gaps import odd_scrapes
from rollout.answers import COMPARED
from rollout.criteria import RatioCriterion, WhenDifferent, Worse
from rollout.plan import RolloutPlan


def limits_of(plan: RolloutPlan) -> Limits:
    """Return what the plan asks, as numbers."""
    asked, ms = plan.criteria, timedelta(milliseconds=1)
    return Limits(
        error_healthy=asked.errors.healthy_below,
        error_rollback=asked.errors.rollback_above,
        success_healthy=asked.success.healthy_above,
        latency_healthy=asked.latency.healthy_below / ms,
        latency_rollback=asked.latency.rollback_above / ms,
        timeout=plan.timeout / ms,
        minimum_effect=plan.minimum_effect.latency,
        warm_up=plan.warm_up.total_seconds(),
        answers=len(COMPARED) if asked.answers.when_different is not WhenDifferent.IGNORE else 0,
        answers_decide=asked.answers.when_different is WhenDifferent.ROLLBACK,
        alpha=plan.alpha,
        beta=plan.beta,
    )


def block_of(ratios: tuple[RatioCriterion, ...], scrapes: Scrapes, shares: Floats, *, answers: int) -> Block:
    """Return the scrapes of one service as a block for the kernel, without what is odd in its further ratios."""
    events, totals = [scrapes.errors], [scrapes.requests]
    sound = ~odd_scrapes(ratios, scrapes)
    for index, ratio in enumerate(ratios):
        total = scrapes.extra[..., 2 * index + 1] * sound[:, index, None]
        happened = scrapes.extra[..., 2 * index] * sound[:, index, None]
        events.append(total - happened if ratio.worse is Worse.LOWER else happened)
        totals.append(total)
    events += [scrapes.answers[..., kind] for kind in range(answers)]
    totals += [scrapes.answers[..., -1]] * answers
    return Block(
        time=scrapes.time,
        span=scrapes.span,
        requests=scrapes.requests[:, None],
        events=np.stack(events, axis=1)[:, None],
        totals=np.stack(totals, axis=1)[:, None],
        pods=scrapes.pods[:, None],
        groups=scrapes.groups[:, None],
        latency=scrapes.latency[:, None],
        sums=scrapes.sums[:, None],
        weight=shares[:, None],
        edges=scrapes.edges,
    )


def shown_of(path: Path, scrapes: Scrapes, peak: float) -> Shown:
    """Return the evidence after the last scrape, given the greatest one before."""
    means = scrapes.sums[-1] / np.maximum(scrapes.latency[-1].sum(axis=-1), 1.0)
    last = np.stack([scrapes.requests[-1], scrapes.errors[-1], means], axis=-1)
    return Shown(
        rollback=float(path.rollback[-1, 0]),
        peak=max(peak, float(path.rollback[:, 0].max())),
        parts=tuple(path.parts[-1, 0].tolist()),
        raw_latency=float(path.raw_latency[-1, 0]),
        slow=bool(path.slow[-1, 0]),
        alone=bool(path.alone[-1, 0]),
        promotion=tuple(path.promotion[-1, 0].tolist()),
        by_limit=bool(path.by_limit[-1, 0]),
        common=bool(path.common[-1, 0]),
        last=tuple(last.ravel().tolist()),
    )
