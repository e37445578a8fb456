"""How much pods of one version differ in latency: a placebo test of parts of stable against the rest of it.

A pod may be slower than its neighbours through no fault of its version: a busy node, a hot key. A canary of two pods
then is slower than stable for minutes, and no number of requests makes that an accident. So stable's own pods are
set against each other all the time, a group of them against the others, and the canary is held to be slower only
where it is so by more than they are.
"""

from __future__ import annotations

import numpy as np

from analysis.evidence.blocks import Block, Evidence, Floats
from analysis.evidence.latency import bucket_midpoints
from analysis.evidence.sequential import decayed_sums

HALF_LIFE = 3600.0
"""Half-life, in seconds, of what is known of their differences."""
SIGMAS = 2.5
"""Standard deviations of such a difference that the canary has to be slower by."""
_ENOUGH = 20.0
"""Requests of a group, and of the others, without which nothing is learnt."""
_FARTHEST = np.log(1.5)
"""A difference beyond this counts as this: one answer that took a minute shall not speak for an hour."""


def compare_groups(state: Evidence, block: Block, histogram: Floats, half_lives: Floats) -> tuple[Floats, Floats]:
    """Return the groups' decayed latency (T, N, W, G, 2) after each scrape, and its variance between them (T, N, W, 2).

    Parameters
    ----------
    state, block
        The evidence before the block, and the block.
    histogram
        (T, N, B) stable's decayed requests a bucket.
    half_lives
        (W,) of the groups' latency, in seconds.
    """
    if not (
        block.groups.any() or state.group_latency.any()
    ):  # no pods are recorded: there is nothing to learn or to forget
        still = (
            np.broadcast_to(old, (len(block.time), *old.shape)) for old in (state.group_latency, state.group_variance)
        )
        return next(still), next(still)
    decay = np.exp2(-block.span[:, None, None] / half_lives)[..., None, None]
    group_latency = decayed_sums(block.groups[:, :, None, :, :2], decay, state.group_latency)
    learnt = _learnt(
        group_latency, block.groups[:, :, None, :, 2], _relative_variance(histogram, bucket_midpoints(block.edges))
    )
    span = block.span[:, None, None, None]
    return group_latency, decayed_sums(learnt * span, np.exp2(-span / HALF_LIFE), state.group_variance)


def _learnt(group_latency: Floats, pods: Floats, relative_variance: Floats) -> Floats:
    """Return the squared log differences between groups beyond chance, and what one unit of variance adds to them."""
    others, other_pods = (
        group_latency.sum(axis=-2, keepdims=True) - group_latency,
        pods.sum(axis=-1, keepdims=True) - pods,
    )
    known = (np.minimum(group_latency, others)[..., 0] > _ENOUGH) & (np.minimum(pods, other_pods) > 0)
    counts, times = (np.where(known, np.stack([group_latency[..., k], others[..., k]]), 1.0) for k in (0, 1))
    apart = np.log(np.maximum(times / counts, 1e-9))
    apart = np.clip(apart[0] - apart[1], -_FARTHEST, _FARTHEST)
    chance = relative_variance[..., None, None] * (1 / counts).sum(axis=0) / 2
    units = (1 / np.where(known, np.stack(np.broadcast_arrays(pods, other_pods)), 1.0)).sum(axis=0)
    parts = (np.where(known, part, 0.0).sum(axis=-1) for part in (apart**2 - chance, units))
    return np.stack(list(parts), axis=-1)


def _relative_variance(histogram: Floats, centres: Floats) -> Floats:
    """Return the squared coefficient of variation of one answer's latency (T, N)."""
    first, second = histogram @ centres, histogram @ centres**2
    return np.asarray(np.maximum(second * histogram.sum(axis=-1) / np.maximum(first, 1e-9) ** 2 - 1, 0.0))


def allowance(learnt: Floats, pods: Floats) -> Floats:
    """Return the log factor by which a canary of so many pods may be slower by chance of its pods alone (T, N, W).

    Parameters
    ----------
    learnt
        (T, N, W, 2) how groups of pods differ, as `compared` returns it.
    pods
        (T, N, 2) pods of canary and stable that answered.
    """
    between = np.divide(learnt[..., 0], learnt[..., 1], out=np.zeros(learnt.shape[:-1]), where=learnt[..., 1] > 0)
    units = (1 / np.maximum(pods, 1.0)).sum(axis=-1)[..., None]
    return np.asarray(SIGMAS * np.sqrt(np.maximum(between, 0.0) * units))
