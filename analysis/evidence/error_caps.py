"""How many errors of one pod count, and what is learnt of how stable's counts scatter."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analysis.evidence import dispersion
from analysis.evidence.blocks import CANARY, STABLE, Block, Bools, Evidence, Floats
from analysis.evidence.dispersion import DispersionSums, capped
from analysis.evidence.stable_distribution import tail_bucket

EPOCH = 300.0
"""Seconds after which the overdispersion is looked at anew."""
_SHAPE_REQUESTS = 200.0
"""Requests after which stable's latency is known well enough to choose an edge."""


def with_overdispersion(state: Evidence, block: Block) -> Evidence:
    """Return the state with the cap and the overdispersion that stable's counts so far suggest."""
    epoch = block.time[0] // EPOCH
    if (state.epoch == epoch).all():
        return state
    cap, errors, errors_uncapped = dispersion.choose(state.dispersion_sums, block.weight[0])
    others = dispersion.fano(state.dispersion_sums)[:, len(dispersion.CAPS) :]
    untimed = np.isnan(state.dispersion_bucket) | (state.dispersion_sums.events[:, -1] < dispersion.FEW)
    cautious = others.copy()
    cautious[:, -1] = np.where(untimed, dispersion.UNKNOWN_PHI, others[:, -1])
    return replace(
        state,
        epoch=np.full_like(state.epoch, epoch),
        cap=cap,
        phi=np.concatenate([errors[:, None], cautious], axis=-1),
        raw_phi=np.concatenate([errors_uncapped[:, None], others], axis=-1),
        lasting_phi=dispersion.lasting_phi(state.dispersion_sums),
    )


def learn_dispersion(state: Evidence, block: Block, stable_histogram: Floats) -> tuple[DispersionSums, Floats]:
    """Return the dispersion of stable's counts with the block added, and the bucket above which latencies count."""
    tail, watched = _watched_tail(state, stable_histogram)
    counts = block.latency[..., STABLE, :]
    above = (counts * (np.arange(counts.shape[-1]) > tail[:, None])).sum(axis=-1)
    slow = np.where(watched[..., None], np.stack([above, counts.sum(axis=-1)], axis=-1), 0.0)
    errors, pods = block.events[:, :, 0, STABLE], block.pods[..., STABLE, :, 0]
    total = block.totals[:, :, 0, STABLE]
    under = capped(errors[..., None], pods[..., None, :], dispersion.CAPS)
    under = np.stack(np.broadcast_arrays(under, total[..., None]), axis=-1)
    others = np.stack([block.events[:, :, 1:, STABLE], block.totals[:, :, 1:, STABLE]], axis=-1)
    series = np.concatenate([under, others, slow[:, :, None]], axis=2)
    units = np.maximum((block.pods[..., STABLE, :, 1] > 0).sum(axis=-1), 1).astype(np.float64)
    return dispersion.learn(state.dispersion_sums, block.time, series, units), tail


def _watched_tail(state: Evidence, stable_histogram: Floats) -> tuple[Floats, Bools]:
    """Return the bucket (N,) above which latencies are watched, and from which scrape on (T, N)."""
    known = ~np.isnan(state.dispersion_bucket)
    size = len(stable_histogram) - 1
    if known.all():
        return state.dispersion_bucket, np.ones((size, len(known)), dtype=bool)
    enough = stable_histogram.sum(axis=-1) >= _SHAPE_REQUESTS
    first = enough.argmax(axis=0)
    chosen = tail_bucket(stable_histogram[first, np.arange(len(first))])
    tail = np.where(known, state.dispersion_bucket, np.where(enough.any(axis=0), chosen, np.nan))
    return tail, known | (enough.any(axis=0) & (np.arange(size)[:, None] >= first))


def capped_errors(state: Evidence, block: Block) -> Floats:
    """Return the errors that count when no pod counts for more than the cap (T, N, 2).

    Stable's pods may count for as much more as they have more traffic: a cap that bends stable's counts more than the
    canary's would be evidence of its own making.
    """
    errors = block.events[:, :, 0]
    if np.isinf(state.cap).all():
        return errors
    pods = block.pods
    units = np.maximum((pods[..., 1] > 0).sum(axis=-1), 1)
    each = block.totals[:, :, 0] / units
    more = np.maximum(each[..., STABLE] / np.maximum(each[..., CANARY], 1.0), 1.0)
    caps = np.stack([np.broadcast_to(state.cap, more.shape), state.cap * more], axis=-1)
    return capped(errors, pods[..., 0], caps)
