"""How much pods of one version differ in latency: what would be said of a part of stable, had it been the canary.

A pod may be slower than its neighbours through no fault of its version: a busy node, a hot key. A canary of two pods
then is slower than stable for minutes, and no number of requests makes that an accident. So stable's own pods are
set against each other all the time, a group of them against the others, and the canary is held to be slower only
where it is so by more than they are.
"""

from __future__ import annotations

import numpy as np

from analysis.evidence.blocks import Block, Evidence, Floats
from analysis.evidence.latency import middles
from analysis.evidence.sequential import decayed_sums

MEMORY = 3600.0
"""Half-life, in seconds, of what is known of their differences."""
SIGMAS = 2.5
"""Standard deviations of such a difference that the canary has to be slower by."""
_ENOUGH = 20.0
"""Requests of a group, and of the others, without which nothing is learnt."""
_FARTHEST = np.log(1.5)
"""A difference beyond this counts as this: one answer that took a minute shall not speak for an hour."""


def compared(state: Evidence, block: Block, law: Floats, memory: Floats) -> tuple[Floats, Floats]:
    """Return what is known after each scrape: the groups' paces (T, N, W, G, 2), and how they differ (T, N, W, 2).

    Parameters
    ----------
    state, block
        The evidence before the block, and the block.
    law
        (T, N, B) stable's decayed requests a bucket.
    memory
        (W,) half-lives of the paces, in seconds.
    """
    if not (block.groups.any() or state.paces.any()):  # no pods are recorded: there is nothing to learn or to forget
        still = (np.broadcast_to(old, (len(block.time), *old.shape)) for old in (state.paces, state.differences))
        return next(still), next(still)
    keep = np.exp2(-block.span[:, None, None] / memory)[..., None, None]
    paces = decayed_sums(block.groups[:, :, None, :, :2], keep, state.paces)
    learnt = _learnt(paces, block.groups[:, :, None, :, 2], _scatter(law, middles(block.edges)))
    span = block.span[:, None, None, None]
    return paces, decayed_sums(learnt * span, np.exp2(-span / MEMORY), state.differences)


def _learnt(paces: Floats, pods: Floats, scatter: Floats) -> Floats:
    """Return squared log differences beyond chance, and what one unit of them is, summed over the groups."""
    others, other_pods = paces.sum(axis=-2, keepdims=True) - paces, pods.sum(axis=-1, keepdims=True) - pods
    known = (np.minimum(paces, others)[..., 0] > _ENOUGH) & (np.minimum(pods, other_pods) > 0)
    counts, times = (np.where(known, np.stack([paces[..., k], others[..., k]]), 1.0) for k in (0, 1))
    apart = np.log(np.maximum(times / counts, 1e-9))
    apart = np.clip(apart[0] - apart[1], -_FARTHEST, _FARTHEST)
    chance = scatter[..., None, None] * (1 / counts).sum(axis=0) / 2
    units = (1 / np.where(known, np.stack(np.broadcast_arrays(pods, other_pods)), 1.0)).sum(axis=0)
    parts = (np.where(known, part, 0.0).sum(axis=-1) for part in (apart**2 - chance, units))
    return np.stack(list(parts), axis=-1)


def _scatter(law: Floats, centres: Floats) -> Floats:
    """Return the squared coefficient of variation of one answer's latency (T, N)."""
    first, second = law @ centres, law @ centres**2
    return np.asarray(np.maximum(second * law.sum(axis=-1) / np.maximum(first, 1e-9) ** 2 - 1, 0.0))


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
