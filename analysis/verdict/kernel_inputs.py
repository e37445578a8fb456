"""What goes into the kernel: a plan's limits, its scrapes as a block, and which of them its own ratios can use."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from analysis.evidence.blocks import CANARY, Block, Bools, Floats, Limits
from analysis.evidence.judge_state import JudgeState
from analysis.scrapes.increments import Scrapes
from rollout.answers import COMPARED
from rollout.criteria import RatioCriterion, WhenDifferent, Worse
from rollout.plan import RolloutPlan


def limits_of(plan: RolloutPlan) -> Limits:
    """Return the plan's limits as numbers."""
    criteria, ms = plan.criteria, timedelta(milliseconds=1)
    return Limits(
        error_healthy=criteria.errors.healthy_below,
        error_rollback=criteria.errors.rollback_above,
        success_healthy=criteria.success.healthy_above,
        latency_healthy=criteria.latency.healthy_below / ms,
        latency_rollback=criteria.latency.rollback_above / ms,
        timeout=plan.timeout / ms,
        minimum_effect=plan.minimum_effect.latency,
        warm_up=plan.warm_up.total_seconds(),
        answers=len(COMPARED) if criteria.answers.when_different is not WhenDifferent.IGNORE else 0,
        answers_decide=criteria.answers.when_different is WhenDifferent.ROLLBACK,
        alpha=plan.alpha,
        beta=plan.beta,
    )


def block_of(ratios: tuple[RatioCriterion, ...], scrapes: Scrapes, shares: Floats, *, answers: int) -> Block:
    """Return the scrapes of one service as a block for the kernel, without what is impossible in its further ratios."""
    events, totals = [scrapes.errors], [scrapes.requests]
    possible = ~impossible_scrapes(ratios, scrapes)
    for index, ratio in enumerate(ratios):
        total = scrapes.extra[..., 2 * index + 1] * possible[:, index, None]
        occurred = scrapes.extra[..., 2 * index] * possible[:, index, None]
        events.append(total - occurred if ratio.worse is Worse.LOWER else occurred)
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


def impossible_scrapes(ratios: tuple[RatioCriterion, ...], scrapes: Scrapes) -> Bools:
    """Return which scrapes (T, K) counted more events of a ratio than there could have been, on either track."""
    if not ratios:
        return np.zeros((len(scrapes), 0), dtype=bool)
    events, totals = scrapes.extra[..., 0 : 2 * len(ratios) : 2], scrapes.extra[..., 1 : 2 * len(ratios) : 2]
    return np.asarray((events > totals).any(axis=1))


def are_counted(state: JudgeState, totals: Floats) -> Bools:
    """Return whether every ratio has been counted on both tracks by the end of each scrape (T,).

    Parameters
    ----------
    state
        What was known before.
    totals
        (T, K, 2) what errors and each of the user's own ratios is taken of.
    """
    if totals.shape[1] == 1:  # errors alone
        return np.ones(len(totals), dtype=bool)
    own = slice(1, totals.shape[1])
    canary, stable = state.evidence.total_ratios[0, own, 1, CANARY], state.evidence.stable_ratios[0, own, 1]
    counted = np.cumsum(totals[:, own], axis=0) + np.stack([canary, stable], axis=-1)
    return np.asarray((counted > 0).all(axis=(1, 2)))
