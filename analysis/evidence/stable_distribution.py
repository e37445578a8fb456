"""What is known of stable: its decayed counts, the edge in its tail, and whether it keeps the limits itself."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.evidence.blocks import STABLE, Block, Bools, Evidence, Floats
from analysis.evidence.sequential import decayed_sums

HALF_LIFE, HALF_LIFE_REQUESTS = 60.0, 5000.0
"""Half-life of the guess of stable's distribution: in seconds, or in requests where that takes longer."""
TAIL = 0.1
"""The part of stable's answers above the edge at which latencies are compared for promotion."""
SKIP_SIGMA = 3.0
LATENCY_GUESS = 0.1
"""Requests in each bucket that the guess of stable's latency starts from."""


def decayed_counts(state: Evidence, block: Block, events: Floats) -> tuple[Floats, Floats]:
    """Return the decayed counts of stable, before the block and after each scrape (T + 1, ...)."""
    counted = block.requests[..., STABLE]
    decay = np.exp2(-np.minimum(block.span[:, None] / HALF_LIFE, counted / HALF_LIFE_REQUESTS))
    ratios = np.stack([events, block.totals[..., STABLE]], axis=-1)
    stable_ratios = decayed_sums(ratios, decay[..., None, None], state.stable_ratios)
    stable_histogram = decayed_sums(block.latency[..., STABLE, :], decay[..., None], state.stable_histogram)
    return np.concatenate([state.stable_ratios[None], stable_ratios]), np.concatenate(
        [state.stable_histogram[None], stable_histogram]
    )


def tail_bucket(histogram: Floats) -> npt.NDArray[np.int64]:
    """Return the bucket (N,) whose upper edge about one request in ten is above."""
    if histogram.shape[-1] < 2:
        return np.zeros(len(histogram), dtype=np.int64)
    return np.asarray(np.abs(np.log(survival(histogram + LATENCY_GUESS) / TAIL)).argmin(axis=-1))


def survival(histogram: Floats) -> Floats:
    """Return the part of the requests above each finite edge."""
    return np.asarray(1 - np.cumsum(histogram, axis=-1)[..., :-1] / histogram.sum(axis=-1, keepdims=True))


def above(counts: Floats, bucket: Floats) -> Floats:
    """Return how many requests (..., N, 2) of the histograms (..., N, 2, B) are above the bucket (N,)."""
    chosen = np.arange(counts.shape[-1]) > bucket[:, None, None]
    return np.asarray((counts * chosen).sum(axis=-1))


def keeps_limits(block: Block, error_limit: float, latency_limit: float) -> Bools:
    """Return whether stable keeps its limits on errors and on latency in each scrape (T, N, 2)."""
    k, n = block.events[:, :, 0, STABLE], block.totals[:, :, 0, STABLE]
    expected = n * error_limit
    counted = block.latency[..., STABLE, :].sum(axis=-1)
    mean = block.sums[..., STABLE] / np.where(counted > 0, counted, 1.0)
    return np.stack([k <= expected + SKIP_SIGMA * np.sqrt(expected) + 1, mean <= latency_limit], axis=-1)
