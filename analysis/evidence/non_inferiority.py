"""Evidence for the canary: every criterion has to reach its line in every step."""

from __future__ import annotations

import numpy as np
from scipy.special import betaincinv

from analysis.evidence import latency
from analysis.evidence.blocks import CANARY, STABLE, Block, Bools, Evidence, Floats, Limits
from analysis.evidence.latency import Edges
from analysis.evidence.regression import ALONE
from analysis.evidence.sequential import limit_log_ratio, log_sum, margin_log_ratio, mean_log_ratio
from analysis.evidence.stable_distribution import LATENCY_GUESS, above, keeps_limits, survival, tail_bucket

ERROR_MARGIN, BY_RATIO, BY_LIMIT = 1.5, np.log(0.1), np.log(0.9)
"""Promotion on errors: by the ratio to stable, or by the healthy limit, with these weights."""
BETTER = np.array([0.0, 0.2, 0.5])
BETTER_PRIOR = np.log([0.5, 0.1, 0.4])
"""Error ratios that a healthy canary may have, as parts of the limit, and their weights."""
EQUAL = np.array([0.3, 0.7, 1.0])
"""Ratios to stable that a healthy canary may have."""
TAIL_MARGIN = 1.25
PROMOTION = ("errors", "success", "latency ratio", "latency")
"""What each promotion criterion is called."""
_BY_RATIO, _BY_LIMIT, _SUCCESS, _TAIL, _MEAN = (
    slice(0, 3),
    slice(3, 6),
    slice(6, 9),
    slice(9, 12),
    slice(12, 15),
)
_COUNTED = slice(15, 17)
"""Behind the evidence: the canary's errors and requests in the scrapes that count for the absolute criteria."""
PARTS = 17


def promotion_sums(limits: Limits, state: Evidence, block: Block, warm: Bools) -> tuple[Floats, Floats, Bools]:
    """Return the sums of log e-values for promotion after each scrape (T, N, P), what is pending, and stable's health.

    A scrape counts for the absolute criteria when stable kept its limits in it and in both its neighbours: a choice
    made on stable's counts alone, so the canary's evidence stays valid. It is therefore one scrape late.
    """
    by_ratio, tail = _against_stable(state, block)
    by_limit, success, mean = _against_limits(limits, block)
    tail = np.where(warm[..., None], tail, 0.0)
    counted = np.stack([block.events[:, :, 0, CANARY], block.totals[:, :, 0, CANARY]], axis=-1)
    now = np.concatenate([by_ratio, 0 * by_ratio, 0 * by_ratio, tail, 0 * tail, 0 * counted], axis=-1)
    later = np.concatenate([0 * by_ratio, by_limit, success, 0 * tail, mean, counted], axis=-1)
    healthy = keeps_limits(block, limits.error_healthy, limits.latency_healthy)
    healthy = np.concatenate([np.moveaxis(state.within_limits, 1, 0), healthy])
    counts = (healthy[:-2] & healthy[1:-1] & healthy[2:])[..., [0] * 9 + [1] * 6 + [0] * 2]
    later = np.concatenate([state.pending[None], later])
    phi = np.stack([state.lasting_phi, state.raw_phi[:, -1], np.ones_like(state.lasting_phi)], axis=-1)
    phi = np.repeat(phi, [9, 6, 2], axis=-1)
    added = (now + np.where(counts, later[:-1], 0.0)) / phi
    return state.promotion + np.cumsum(added, axis=0), later[-1], np.moveaxis(healthy[-2:], 0, 1)


def _against_stable(state: Evidence, block: Block) -> tuple[Floats, Floats]:
    """Return the evidence of each scrape that errors and slow answers are no more than stable's (T, N, G) each.

    Where stable has no traffic its limits of the step before stand in for it.
    """
    k, n = block.events[:, :, 0], block.totals[:, :, 0]
    slow, timed = above(block.latency, state.tail[:, 0]), block.latency.sum(axis=-1)
    total = n.sum(axis=-1)
    share = n[..., CANARY] / np.where(total > 0, total, 1.0)
    compared = block.weight < 1 - ALONE
    margins = np.full((len(state.tail), 1), ERROR_MARGIN), state.tail[:, 1:]
    parts = []
    for index, (events, requests, margin) in enumerate(zip((k, slow), (n, timed), margins, strict=True)):
        logs = margin_log_ratio(events, share, EQUAL, margin)
        if not compared.all():
            frozen = _against_frozen(events[..., CANARY], requests[..., CANARY], state.frozen[:, [index]], margin)
            logs = np.where(compared[..., None], logs, frozen)
        parts.append(logs)
    return parts[0], parts[1]


def _against_limits(limits: Limits, block: Block) -> tuple[Floats, Floats, Floats]:
    """Return the evidence of each scrape that errors, successes and mean latency keep the healthy limits."""
    k, n = block.events[:, :, 0, CANARY], block.totals[:, :, 0, CANARY]
    by_limit, success = (
        limit_log_ratio(k, n, BETTER * limit, np.array(limit))
        for limit in (limits.error_healthy, 1 - limits.success_healthy)
    )
    bets = latency.mean_bets(block.edges, limits.latency_healthy, limits.timeout, below=True)
    mean = mean_log_ratio(block.latency[..., CANARY, :], block.sums[..., CANARY], bets.payoff, bets.slope, bets.edges)
    return by_limit, success, mean


def _against_frozen(events: Floats, requests: Floats, frozen: Floats, margin: Floats) -> Floats:
    """Return the evidence that one track keeps below a margin over limits that stable left behind."""
    level = np.clip(np.nan_to_num(frozen), 1e-9, 0.9 / margin)
    logs = limit_log_ratio(events, requests, EQUAL * level, margin * level)
    return np.where(np.isnan(frozen), 0.0, logs)


def frozen_limits(state: Evidence) -> Floats:
    """Return the upper 95 % limits of stable's error ratio and tail as the step before showed them (N, 2)."""
    has = state.step_requests[:, STABLE] > 0
    errors = np.where(has, state.step_errors[:, STABLE], state.stable_ratios[:, 0, 0])
    requests = np.where(has, state.step_requests[:, STABLE], state.stable_ratios[:, 0, 1])
    histogram = np.where(has[:, None], state.step_latency[:, STABLE], state.stable_histogram)
    counted = histogram.sum(axis=-1)
    slow = above(histogram[:, None, :], state.tail[:, 0])[:, 0]
    upper = [
        np.where(n > 0, betaincinv(k + 1, np.maximum(n - k, 1e-9), 0.95), np.nan)
        for k, n in ((errors, requests), (slow, counted))
    ]
    return np.stack(upper, axis=-1)


def tail_choice(histogram: Floats, edges: Edges, minimum_effect: float) -> Floats:
    """Return the bucket above which latencies are best compared, and the margin there (N, 2)."""
    if len(edges) < 2:
        return np.tile([0.0, TAIL_MARGIN], (len(histogram), 1))
    guess = histogram + LATENCY_GUESS
    moved = survival((guess[:, None] @ latency.shifted(edges, guess, 1 + minimum_effect))[:, 0])
    bucket, row = tail_bucket(histogram), np.arange(len(histogram))
    margin = np.clip(moved[row, bucket] / survival(guess)[row, bucket], TAIL_MARGIN, 2.0)
    return np.stack([bucket, margin], axis=-1)


def criterion_evidence(promotion: Floats) -> tuple[Floats, Bools]:
    """Return the four promotion criteria (T, N, 4), and whether errors rest on the limit."""
    equal = np.full(3, -np.log(3.0))
    by_ratio = log_sum(promotion[..., _BY_RATIO] + BY_RATIO + equal)
    by_limit = log_sum(promotion[..., _BY_LIMIT] + BY_LIMIT + BETTER_PRIOR)
    success = log_sum(promotion[..., _SUCCESS] + BETTER_PRIOR)
    tail, mean = (log_sum(promotion[..., part] + equal) for part in (_TAIL, _MEAN))
    return np.stack([np.logaddexp(by_ratio, by_limit), success, tail, mean], axis=-1), by_limit > by_ratio


def absolute_counts(state: Evidence) -> tuple[float, float]:
    """Return the first service's canary errors and requests of this step, as far as the absolute criteria count them.

    Scrapes in which stable itself broke its limits are left out, and the last one still waits for its neighbour.
    """
    errors, requests = state.promotion[0, _COUNTED]
    return float(errors), float(requests)


def alternatives_of(state: Evidence, name: str) -> list[tuple[float, float]]:
    """Return the log prior and log evidence of each alternative behind a promotion criterion, of the first service."""
    equal = np.full(3, -np.log(3.0))
    groups = {
        "errors": [(BY_RATIO + equal, _BY_RATIO), (BY_LIMIT + BETTER_PRIOR, _BY_LIMIT)],
        "success": [(BETTER_PRIOR, _SUCCESS)],
        "latency ratio": [(equal, _TAIL)],
        "latency": [(equal, _MEAN)],
    }
    return [
        (float(prior), float(log))
        for priors, part in groups[name]
        for prior, log in zip(priors, state.promotion[0, part], strict=True)
    ]
