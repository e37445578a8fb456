"""Evidence against the canary: a mixture over metrics, alternatives and the moment at which a fault begins."""

from __future__ import annotations

import numpy as np

from analysis.evidence import latency
from analysis.evidence.blocks import CANARY, NEVER, STABLE, Block, Bools, Evidence, Floats, Limits
from analysis.evidence.latency import Edges
from analysis.evidence.sequential import (
    change_point_path,
    decayed_sums,
    histogram_log_ratio,
    limit_log_ratio,
    log_sum,
    mean_log_ratio,
    split_log_ratio,
    sum_log_ratio,
)
from analysis.evidence.stable_distribution import LATENCY_GUESS

ODDS = np.array([2.0, 5.5, 25.0])
ODDS_PRIOR = np.log([0.20, 0.42, 0.38])
"""How many times as likely an error may be on the canary: as few as leave none between without a close neighbour."""
WORSE = np.array([2.0, 5.0, 20.0])
"""How far above an absolute limit an error ratio may be, as a factor."""
CAP = 6.0
"""Nats that one scrape may add at most: none decides alone."""
START, LATE, LATE_SCALE = 0.92, 2.0, 60.0
"""Prior of when a fault begins: this part with the canary, the rest with a hazard of 1 / (LATE (age + LATE_SCALE))."""
STEP_START = 0.25
"""The part of what is left that begins with each later step."""
GATE_HALF_LIVES = np.array([15.0, 35.0, 300.0])
"""Half-lives, in seconds, over which the canary's slowness is measured against the minimum effect."""
GATE_SIGMA, GATE_GRACE = np.array([2.5, 0.0, 0.0]), 8.0
"""Standard errors above the minimum effect that each asks for, and after how many half-lives it begins to ask more."""
LATENCY_WEIGHT, LIMIT_WEIGHT = 0.42, 0.01
"""Parts of latency and of each absolute limit in the mixture; the rest is errors and further ratios."""
ANSWERS_WEIGHT = 0.06
"""Part of the kinds of answers in that of the ratios: where stable has none of a kind, little is enough."""
SUSPECTED = np.log(20.0)
"""Relative evidence without which an absolute limit does not count while there is something to compare with."""
ALONE = 0.02
"""Stable's part of the canary's traffic below which there is nothing to compare with."""
_RATIO_GUESS = np.array([0.2, 200.0])
"""Events and requests that the guess of stable's event ratio starts from."""


def onset_prior(state: Evidence, started: Bools, step_age: Floats) -> tuple[Floats, Floats]:
    """Return the prior mass of faults that begin at each scrape, and what is left after it (T, N)."""
    before = np.concatenate([state.step_age[None], step_age[:-1]])
    stays = np.where(started, ((1 + step_age / LATE_SCALE) / (1 + before / LATE_SCALE)) ** (-1 / LATE), 1.0)
    first = started & ~np.concatenate([(state.age > 0)[None], started[:-1]])
    stays = stays * np.where(first, 1 - START, 1.0)
    stays[0] *= 1 - state.step_prior
    prior_left = state.prior_left * np.cumprod(stays, axis=0)
    return np.concatenate([state.prior_left[None], prior_left[:-1]]) - prior_left, prior_left


def decayed_moments(state: Evidence, block: Block) -> Floats:
    """Return decayed requests, ms and ms squared of both tracks (T, N, W, 2, 3)."""
    bucket_midpoints = latency.bucket_midpoints(block.edges)
    counted = block.latency.sum(axis=-1)
    squares = block.latency @ bucket_midpoints**2
    sums = np.where(block.sums > 0, block.sums, block.latency @ bucket_midpoints)
    moments = np.stack([counted, sums, squares], axis=-1)[:, :, None]
    decay = np.exp2(-block.span[:, None, None] / GATE_HALF_LIVES)[..., None, None]
    return decayed_sums(moments, decay, state.latency_moments)


def is_slow(limits: Limits, latency_moments: Floats, age: Floats, allowed: Floats) -> Bools:
    """Return whether the canary's mean latency is above stable's by at least the minimum effect (T, N).

    On top of it comes what is allowed for pods that differ (T, N, W), as a log factor.

    A gate, not a test: it can only take rollbacks away. It asks more the more often there was occasion to be wrong.
    """
    n, s, q = (np.maximum(latency_moments[..., k], 1e-9) for k in range(3))
    spread = np.maximum(q * n / s**2 - 1, 0.0) / (2 * n)
    excess = np.log((s / n)[..., CANARY] / (s / n)[..., STABLE]) - np.log1p(limits.minimum_effect) - allowed
    occasions = np.sqrt(2 * np.log(np.maximum(age[..., None] / (GATE_GRACE * GATE_HALF_LIVES), 1.0)))
    sigmas = np.maximum(occasions, GATE_SIGMA)
    is_measured = (latency_moments[..., 0] > 0).all(axis=-1)
    return np.asarray((is_measured & (excess > sigmas * np.sqrt(spread.sum(axis=-1)))).any(axis=-1))


def is_alone(block: Block, latency_moments: Floats) -> Bools:
    """Return whether stable has too little traffic to compare with (T, N)."""
    stable, canary = latency_moments[..., 0, STABLE, 0], latency_moments[..., 0, CANARY, 0]
    return np.asarray((block.weight >= 1 - ALONE) | (stable < ALONE * canary))


def paths(
    limits: Limits,
    state: Evidence,
    block: Block,
    events: Floats,
    entering: Floats,
    warm: Bools,
    within_limits: Bools,
    stable_ratios: Floats,
    stable_histogram: Floats,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the log evidence of each alternative of ratios, latency and both limits after each scrape."""
    with np.errstate(divide="ignore"):
        mass = np.log(entering)[..., None]
    phi = state.phi
    guess = stable_ratios + _RATIO_GUESS
    ratios = split_log_ratio(events, block.totals, ODDS, guess[..., 0] / guess[..., 1])
    p_stable = stable_histogram + LATENCY_GUESS
    shifts = _shifts(block.edges, state.reference)
    slower = histogram_log_ratio(block.latency, p_stable / p_stable.sum(axis=-1, keepdims=True), shifts)
    ends = latency.bucket_ends(block.edges, limits.timeout)
    longer = sum_log_ratio(block.latency, block.sums, ends, latency.LONGER_MEAN)
    slower = np.concatenate([slower, longer[..., None]], axis=-1)
    slower = np.where(warm[..., None], slower, 0.0)
    over = limit_log_ratio(
        block.events[:, :, 0, CANARY],
        block.totals[:, :, 0, CANARY],
        np.minimum(WORSE * limits.error_rollback, 0.9),
        np.array(limits.error_rollback),
    )
    bets = latency.mean_bets(block.edges, limits.latency_rollback, limits.timeout, below=False)
    late = mean_log_ratio(block.latency[..., CANARY, :], block.sums[..., CANARY], bets.payoff, bets.slope, bets.edges)
    over = np.where(within_limits[..., :1], over, 0.0)
    late = np.where(within_limits[..., 1:], late, 0.0)
    return (
        _mixed(ratios, mass[..., None, :] + ODDS_PRIOR, state.ratio_path, phi[:, :-1, None]),
        _mixed(slower, mass + latency.PRIOR, state.latency_path, phi[:, -1:]),
        _mixed(over, mass + _even(over), state.error_limit_path, np.maximum(phi, state.raw_phi)[:, :1]),
        _mixed(late, mass + _even(late), state.latency_limit_path, phi[:, -1:]),
    )


def _shifts(edges: Edges, reference: Floats) -> Floats:
    """Return the matrices of the latency alternatives (N, B, G, B); they change with a step only, so they are kept."""
    key = (edges, reference.shape, reference.tobytes())
    if key not in _SHIFTS:
        if len(_SHIFTS) >= 8:
            _SHIFTS.pop(next(iter(_SHIFTS)))
        _SHIFTS[key] = latency.alternatives(edges, reference + LATENCY_GUESS)
    return _SHIFTS[key]


_SHIFTS: dict[tuple[Edges, tuple[int, ...], bytes], Floats] = {}


def _mixed(log_ratios: Floats, mass: Floats, start: Floats, phi: Floats) -> Floats:
    return change_point_path(np.minimum(log_ratios, CAP) / phi, mass + np.zeros_like(log_ratios), start)


def _even(logs: Floats) -> float:
    """Return the log weight of each of several alternatives that are equally likely."""
    return -float(np.log(logs.shape[-1]))


def mixture(
    state: Evidence, logs: tuple[Floats, ...], slow: Bools, alone: Bools, warm: Bools
) -> tuple[Floats, Floats, Floats]:
    """Return the rollback mixture, its weighted parts, and weighted latency before the gate of the minimum effect."""
    ratios, raw, over, late = (log_sum(log) for log in logs)
    # Relative latency is silent in the warm-up, and the limit is not: there, being slower at all has to do beside it.
    suspected = (raw >= SUSPECTED) | ~warm
    parts = np.concatenate(
        [
            ratios,
            np.where(slow, raw, NEVER)[..., None],
            np.where(alone | (ratios[..., 0] >= SUSPECTED), over, NEVER)[..., None],
            np.where(alone | (slow & suspected), late, NEVER)[..., None],
        ],
        axis=-1,
    )
    parts = parts + state.mixture_weights
    return log_sum(parts), parts, raw + state.mixture_weights[:, -3]


def starting_weights(limits: Limits, state: Evidence) -> Floats:
    """Return the log weight of each part of the mixture (N, K + 3), by what stable's history holds.

    What the history never saw has nothing to be compared with, so its weight goes to the others. Of the ratios errors
    have half; kinds of answers share a small part.
    """
    counted = state.stable_ratios[..., 1] > 0
    own = counted.shape[1] - limits.answers
    seen = counted[:, :own]
    seen = np.where(seen.any(axis=-1, keepdims=True), seen, True)
    ratios = np.where(seen, 1.0, 0.0)
    ratios[:, 0] *= max(own - 1, 1)
    ratios /= ratios.sum(axis=-1, keepdims=True)
    answers = np.where(counted[:, own:] & limits.answers_decide, ANSWERS_WEIGHT / max(limits.answers, 1), 0.0)
    ratios = np.concatenate([ratios * (1 - answers.sum(axis=-1, keepdims=True)), answers], axis=-1)
    timed = (state.stable_histogram.sum(axis=-1) > 0) | ~(state.stable_ratios[..., 1] > 0).any(axis=-1)
    latency_weight = np.where(timed, LATENCY_WEIGHT, 0.0)
    ratio_weight = 1 - 2 * LIMIT_WEIGHT - latency_weight
    fixed = np.full((len(ratio_weight), 2), LIMIT_WEIGHT)
    with np.errstate(divide="ignore"):
        return np.asarray(
            np.log(np.concatenate([ratios * ratio_weight[:, None], latency_weight[:, None], fixed], axis=-1))
        )
