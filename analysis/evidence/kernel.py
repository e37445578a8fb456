"""The judge's arithmetic: a block of T scrapes of N services in, their evidence out.

One code path for everything: a live tick is T = 1 and N = 1, a recorded day T = 86,400, a fleet N = 1000. Arrays have
the axes time, service, and then what they hold; tables have the canary in row 0 and stable in row 1. All evidence is
in natural logs. What is added at a scrape depends on it and on earlier ones only, and the state carries all that the
next scrape needs, so that cutting a block anywhere changes nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import fields, replace

import numpy as np

from analysis.evidence import dispersion, latency, non_inferiority, pod_differences, regression
from analysis.evidence.blocks import CANARY, NEVER, STABLE, Block, Bools, Evidence, Floats, Limits, Path
from analysis.evidence.error_caps import EPOCH, capped_errors, learn_dispersion, with_overdispersion
from analysis.evidence.latency import Edges
from analysis.evidence.stable_distribution import decayed_counts, keeps_limits
from analysis.scrapes.increments import GROUPS


def blank(services: int, edges: Edges, ratios: int = 1) -> Evidence:
    """Return the evidence before anything was seen."""
    n, bins = services, len(edges)
    zeros = np.zeros
    return Evidence(
        age=zeros(n),
        step_age=zeros(n),
        weight=zeros(n),
        mixture_weights=np.tile(np.log(1 / (ratios + 3)), (n, ratios + 3)),
        prior_left=np.ones(n),
        step_prior=zeros(n),
        stable_ratios=zeros((n, ratios, 2)),
        stable_histogram=zeros((n, bins)),
        latency_moments=zeros((n, len(regression.GATE_HALF_LIVES), 2, 3)),
        group_latency=zeros((n, len(regression.GATE_HALF_LIVES), GROUPS, 2)),
        group_variance=zeros((n, len(regression.GATE_HALF_LIVES), 2)),
        ratio_path=np.full((n, ratios, len(regression.ODDS)), NEVER),
        latency_path=np.full((n, len(latency.PRIOR)), NEVER),
        error_limit_path=np.full((n, len(regression.WORSE)), NEVER),
        latency_limit_path=np.full((n, 3), NEVER),
        promotion=zeros((n, non_inferiority.PARTS)),
        pending=zeros((n, non_inferiority.PARTS)),
        within_limits=np.ones((n, 2, 2), dtype=bool),
        step_requests=zeros((n, 2)),
        step_errors=zeros((n, 2)),
        step_sums=zeros((n, 2)),
        step_latency=zeros((n, 2, bins)),
        total_requests=zeros((n, 2)),
        total_errors=zeros((n, 2)),
        total_ratios=zeros((n, ratios, 2, 2)),
        reference=zeros((n, bins)),
        tail=np.tile([0.0, non_inferiority.TAIL_MARGIN], (n, 1)),
        frozen=np.full((n, 2), np.nan),
        dispersion_sums=dispersion.blank(n, len(dispersion.CAPS) + ratios),
        dispersion_bucket=np.full(n, np.nan),
        epoch=np.full(n, np.nan),
        cap=np.full(n, dispersion.UNKNOWN_CAP),
        phi=np.full((n, ratios + 1), dispersion.UNKNOWN_PHI),
        raw_phi=np.ones((n, ratios + 1)),
        lasting_phi=np.ones(n),
    )


def advance(limits: Limits, state: Evidence, block: Block) -> tuple[Evidence, Path]:
    """Return the evidence after a block of scrapes, and on the way there.

    Parameters
    ----------
    limits
        What the plan asks.
    state
        The evidence before the block.
    block
        One scrape or more.
    """
    paths = []
    for part in _steps(state, block):
        state = with_overdispersion(_begin_step(limits, state, part), part)
        state, path = _advance(limits, state, part)
        paths.append(path)
    if len(paths) == 1:
        return state, paths[0]
    return state, Path(**{f.name: np.concatenate([getattr(path, f.name) for path in paths]) for f in fields(Path)})


def learn(state: Evidence, block: Block) -> Evidence:
    """Return the evidence after a block in which stable was alone: its distribution is learnt, nothing is judged."""
    stable_ratios, stable_histogram = decayed_counts(state, block, block.events[..., STABLE])
    dispersion_sums, tail = learn_dispersion(state, block, stable_histogram)
    group_latency, group_variance = pod_differences.compare_groups(
        state, block, stable_histogram[1:], regression.GATE_HALF_LIVES
    )
    return replace(
        state,
        stable_ratios=stable_ratios[-1],
        stable_histogram=stable_histogram[-1],
        dispersion_sums=dispersion_sums,
        dispersion_bucket=tail,
        group_latency=group_latency[-1],
        group_variance=group_variance[-1],
    )


def _steps(state: Evidence, block: Block) -> list[Block]:
    """Return the block cut where the canary's traffic begins, a share changes, and overdispersion is looked at anew."""
    if len(block.time) == 1:
        return [block]
    changes = (np.diff(block.weight, axis=0) != 0).any(axis=1) | (np.diff(block.time // EPOCH) != 0)
    changes |= np.diff(_has_begun(state, block), axis=0).any(axis=1)
    cuts = [0, *(np.flatnonzero(changes) + 1).tolist(), len(block.time)]
    return [block[start:end] for start, end in itertools.pairwise(cuts)]


def _begin_step(limits: Limits, state: Evidence, block: Block) -> Evidence:
    """Return the state with a new step begun for each service whose configured share is new."""
    new = block.weight[0] != state.weight
    if not new.any():
        return state

    def fresh(old: Floats, start: Floats | float = 0.0) -> Floats:
        chosen: Floats = np.where(new.reshape(-1, *[1] * (old.ndim - 1)), start, old)
        return chosen

    tail = non_inferiority.tail_choice(state.stable_histogram, block.edges, limits.minimum_effect)
    atom = np.where(new & (state.age > 0), regression.STEP_START, 0.0)
    return replace(
        state,
        weight=np.where(new, block.weight[0], state.weight),
        step_prior=np.where(new, atom, state.step_prior),
        epoch=fresh(state.epoch, np.nan),
        frozen=fresh(state.frozen, non_inferiority.frozen_limits(state)),
        reference=fresh(state.reference, state.stable_histogram),
        tail=fresh(state.tail, tail),
        step_age=fresh(state.step_age),
        promotion=fresh(state.promotion),
        pending=fresh(state.pending),
        step_requests=fresh(state.step_requests),
        step_errors=fresh(state.step_errors),
        step_sums=fresh(state.step_sums),
        step_latency=fresh(state.step_latency),
    )


def _advance(limits: Limits, state: Evidence, block: Block) -> tuple[Evidence, Path]:
    """Return the evidence after a block within one step."""
    state, started, age, step_age = _ages(limits, state, block)
    entering, prior_left = regression.onset_prior(state, started, step_age)
    events = np.concatenate([capped_errors(state, block)[:, :, None], block.events[:, :, 1:]], axis=2)
    stable_ratios, stable_histogram = decayed_counts(state, block, events[..., STABLE])
    latency_moments = regression.decayed_moments(state, block)
    warm = step_age > limits.warm_up
    within_limits = keeps_limits(block, limits.error_rollback, limits.latency_rollback)
    against = regression.paths(
        limits, state, block, events, entering, warm, within_limits, stable_ratios[:-1], stable_histogram[:-1]
    )
    group_latency, group_variance = pod_differences.compare_groups(
        state, block, stable_histogram[1:], regression.GATE_HALF_LIVES
    )
    known = np.concatenate([state.group_variance[None], group_variance[:-1]])
    allowed = pod_differences.allowance(known, (block.pods[..., 1] > 0).sum(axis=-1))
    slow, alone = regression.is_slow(limits, latency_moments, age, allowed), regression.is_alone(block, latency_moments)
    mixture, parts, raw_latency = regression.mixture(state, against, slow, alone, warm)
    sums, pending, was_fine = non_inferiority.promotion_sums(limits, state, block, warm)
    reached, by_limit = non_inferiority.criterion_evidence(sums)
    path = Path(mixture, parts, raw_latency, slow, alone, reached, by_limit, np.asarray(~within_limits.all(axis=-1)))
    dispersion_sums, dispersion_bucket = learn_dispersion(state, block, stable_histogram)
    state = replace(
        state,
        age=age[-1],
        step_age=step_age[-1],
        prior_left=prior_left[-1],
        step_prior=np.zeros_like(state.step_prior),
        stable_ratios=stable_ratios[-1],
        stable_histogram=stable_histogram[-1],
        dispersion_sums=dispersion_sums,
        dispersion_bucket=dispersion_bucket,
        latency_moments=latency_moments[-1],
        group_latency=group_latency[-1],
        group_variance=group_variance[-1],
        ratio_path=against[0][-1],
        latency_path=against[1][-1],
        error_limit_path=against[2][-1],
        latency_limit_path=against[3][-1],
        promotion=sums[-1],
        pending=pending,
        within_limits=was_fine,
    )
    return _counted(state, block, started), path


def _ages(limits: Limits, state: Evidence, block: Block) -> tuple[Evidence, Bools, Floats, Floats]:
    """Return whether the canary has had traffic, and for how many seconds in all and in this step (T, N)."""
    started = _has_begun(state, block)
    passed = np.cumsum(block.span[:, None] * started, axis=0)
    if (first := started.any(axis=0) & (state.age == 0)).any():
        mixture_weights = np.where(first[:, None], regression.starting_weights(limits, state), state.mixture_weights)
        state = replace(state, mixture_weights=mixture_weights)
    return state, started, state.age + passed, state.step_age + passed


def _has_begun(state: Evidence, block: Block) -> Bools:
    """Return whether the canary has had traffic (T, N)."""
    return np.asarray((state.age > 0) | (np.cumsum(block.requests[..., CANARY], axis=0) > 0))


def _counted(state: Evidence, block: Block, started: Bools) -> Evidence:
    """Return the state with what was counted of both tracks added."""
    requests, errors = block.requests.sum(axis=0), block.events[:, :, 0].sum(axis=0)
    ratios = np.stack([block.events.sum(axis=0), block.totals.sum(axis=0)], axis=2)
    since = started[-1][:, None]
    return replace(
        state,
        step_requests=state.step_requests + requests,
        step_errors=state.step_errors + errors,
        step_sums=state.step_sums + block.sums.sum(axis=0),
        step_latency=state.step_latency + block.latency.sum(axis=0),
        total_requests=state.total_requests + requests * since,
        total_errors=state.total_errors + errors * since,
        total_ratios=state.total_ratios + ratios * since[..., None, None],
    )
