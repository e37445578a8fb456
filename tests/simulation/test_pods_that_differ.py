"""Pods of one version that wander in latency, each on its own: no fault of the canary's version."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from analysis.evidence import kernel
from analysis.evidence.blocks import CANARY, STABLE, Block
from analysis.scrapes.increments import GROUPS, group_of
from benchmarks.simulated.simulator import ISTIO_EDGES_MS
from tests.simulation.many import JUDGE, LIMITS

pytestmark = pytest.mark.simulation

Floats = npt.NDArray[np.float64]

RUNS, SCRAPE, HISTORY, WATCHED = 40, 5.0, 720, 1440
PODS = {CANARY: 2, STABLE: 5}
MEDIAN_MS, SPREAD = 60.0, 0.5
PATHS_MEMORY, PATHS_SPREAD = 300.0, 0.1


def wandering(rng: np.random.Generator, pods: int) -> Floats:
    """Log factors of each pod's latency (T, R, P): an Ornstein-Uhlenbeck path each."""
    keep = np.exp(-SCRAPE / PATHS_MEMORY)
    path = np.zeros((HISTORY + WATCHED, RUNS, pods))
    path[0] = rng.standard_normal((RUNS, pods))
    for now in range(1, len(path)):
        path[now] = keep * path[now - 1] + np.sqrt(1 - keep**2) * rng.standard_normal((RUNS, pods))
    return PATHS_SPREAD * path


def answers(rng: np.random.Generator, rate: Floats, slower: Floats) -> tuple[Floats, Floats]:
    """Buckets (T, R, P, B) and ms (T, R, P) of lognormal latencies."""
    counts = rng.poisson(np.broadcast_to(rate[:, None, None] * SCRAPE, slower.shape))
    buckets = np.zeros((*slower.shape, len(ISTIO_EDGES_MS)))
    sums = np.zeros(slower.shape)
    which = np.repeat(np.arange(counts.size), counts.ravel())
    for part in np.array_split(which, 20):
        ms = MEDIAN_MS * np.exp(SPREAD * rng.standard_normal(len(part)) + slower.ravel()[part])
        bucket = np.searchsorted(ISTIO_EDGES_MS, ms)
        np.add.at(buckets.reshape(-1, len(ISTIO_EDGES_MS)), (part, bucket), 1.0)
        sums += np.bincount(part, weights=ms, minlength=counts.size).reshape(slower.shape)
    return buckets, sums


def block(seed: int, *, canary_slower: float = 0.0) -> Block:
    """Return healthy or slow canaries of two pods beside five stable ones, at half of 40 requests a second."""
    rng = np.random.default_rng(seed)
    share = np.where(np.arange(HISTORY + WATCHED) < HISTORY, 0.0, 0.5)
    latency, sums, pods = [], [], np.zeros((len(share), RUNS, 2, max(PODS.values()), 2))
    groups = np.zeros((len(share), RUNS, GROUPS, 3))
    for track, count in PODS.items():
        rate = 40.0 * (share if track == CANARY else 1 - share) / count
        slower = wandering(rng, count) + (np.log1p(canary_slower) if track == CANARY else 0.0)
        buckets, ms = answers(rng, rate, slower)
        answered = buckets.sum(axis=-1)
        pods[:, :, track, :count, 1] = answered
        if track == STABLE:
            for pod in range(count):
                counted = (answered[..., pod], ms[..., pod], answered[..., pod] > 0)
                groups[:, :, group_of(f"stable-{pod}")] += np.stack(counted, axis=-1)
        latency.append(buckets.sum(axis=-2))
        sums.append(ms.sum(axis=-1))
    requests = np.stack([one.sum(axis=-1) for one in latency], axis=-1)
    return Block(
        time=SCRAPE * np.arange(1 - HISTORY, WATCHED + 1),
        span=np.full(len(share), SCRAPE),
        requests=requests,
        events=np.zeros_like(requests)[:, :, None],
        totals=requests[:, :, None],
        pods=pods,
        groups=groups,
        latency=np.stack(latency, axis=2),
        sums=np.stack(sums, axis=-1),
        weight=np.repeat(share[:, None], RUNS, axis=1),
        edges=tuple(ISTIO_EDGES_MS),
    )


def condemned(recorded: Block) -> Floats:
    """Return after how many scrapes each canary is condemned (R,), infinite where it never is."""
    state = kernel.learn(kernel.blank(RUNS, recorded.edges), recorded[:HISTORY])
    _, path = kernel.advance(LIMITS, state, recorded[HISTORY:])
    fails = path.rollback >= JUDGE.rollback_needed
    return np.where(fails.any(axis=0), fails.argmax(axis=0), np.inf)


def without_pods(recorded: Block) -> Block:
    return Block(**{name: getattr(recorded, name) for name in Block.__slots__} | {"groups": 0 * recorded.groups})


def test_what_pods_say_of_each_other_keeps_a_healthy_canary_in_service() -> None:
    recorded = block(11)

    assert np.isfinite(condemned(recorded)).sum() <= 2  # alpha and three standard errors of 40
    assert np.isfinite(condemned(without_pods(recorded))).sum() >= 5


def test_a_canary_that_is_slower_than_pods_differ_is_still_found() -> None:
    assert np.isfinite(condemned(block(12, canary_slower=0.5))).mean() >= 0.95
