"""Who is compared: rules that watch the same simulated scrapes, and say when they would have rolled back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from analysis.evidence import kernel
from analysis.evidence.blocks import Block
from analysis.judge import Judge
from analysis.offline.peer_replay import PeerSettings, replay
from analysis.scrapes.increments import GROUPS, Scrapes
from benchmarks.simulated.simulator import CANARY, ISTIO_EDGES_MS, STABLE, Runs, scrapes_of

Floats = npt.NDArray[np.float64]

NEVER = np.inf
_AT_ONCE = 360
"""Scrapes of all runs that go through the kernel together."""
PEERS = PeerSettings(flagger_advances=None, kayenta_interval=600.0, kayenta_lifetime=1800.0)
"""Flagger and Argo watch on as long as our judge does; Kayenta judges every 10 min, for it has but 30."""


@dataclass(frozen=True, slots=True)
class Decisions:
    """When each of R runs was rolled back, and first could have been promoted; in seconds, infinite for never."""

    rollback_at: Floats
    promote_at: Floats


def first_time(time: Floats, holds: npt.NDArray[np.bool_]) -> Floats:
    """Return the first of the times (T,) at which each run's condition (R, T) holds; infinite where it never does."""
    return np.where(holds.any(axis=1), time[holds.argmax(axis=1)], NEVER)


def sequential_judge(runs: Runs, judge: Judge) -> Decisions:
    """Return what our judge does: stable's history is learnt, then every scrape is judged."""
    if runs.present.all():
        return _together(runs, judge)
    parts = [_alone(runs, index, judge) for index in range(len(runs))]
    return Decisions(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _together(runs: Runs, judge: Judge) -> Decisions:
    """Return what the judge does when all runs have the same scrapes: they are judged as a fleet, which is faster."""
    state, rollback_at, promote_at = kernel.blank(len(runs), tuple(ISTIO_EDGES_MS)), *np.full((2, len(runs)), NEVER)
    began = int((runs.time <= 0).sum())
    for start in range(0, began, _AT_ONCE):
        state = kernel.learn(state, _block(runs, slice(start, min(start + _AT_ONCE, began))))
    for start in range(began, len(runs.time), _AT_ONCE):
        block = _block(runs, slice(start, start + _AT_ONCE))
        state, path = kernel.advance(judge.without_ratios().limits, state, block)
        fails = path.rollback >= judge.rollback_needed
        rollback_at = np.minimum(rollback_at, first_time(block.time, fails.T))
        promote_at = np.minimum(promote_at, first_time(block.time, judge.allows(path).T))
    return Decisions(rollback_at, np.where(promote_at < rollback_at, promote_at, NEVER))


def _block(runs: Runs, part: slice) -> Block:
    requests, errors, pods, latency, sums = (
        np.ascontiguousarray(np.moveaxis(table[:, part], 0, 1))
        for table in (runs.requests, runs.errors, runs.pods, runs.latency, runs.sums)
    )
    time = runs.time[part]
    return Block(
        time=time,
        span=np.full(len(time), runs.family.scrape),
        requests=requests,
        events=errors[:, :, None],
        totals=requests[:, :, None],
        pods=pods,
        groups=np.zeros((len(time), len(runs), GROUPS, 3)),
        latency=latency,
        sums=sums,
        weight=np.tile(runs.share[part][:, None], (1, len(runs))),
        edges=tuple(ISTIO_EDGES_MS),
    )


def _alone(runs: Runs, index: int, judge: Judge) -> tuple[Floats, Floats]:
    scrapes = scrapes_of(runs, index)
    began = int(np.searchsorted(scrapes.time, 0.0, side="right"))
    state = judge.learn_scrapes(judge.begin(), scrapes[:began])
    _, said = judge.replay(state, scrapes[began:], np.interp(scrapes.time[began:], runs.time, runs.share))
    return first_time(said.time, said.fails[None]), first_time(said.time, said.passes[None])


def peeked_z_test(runs: Runs, *, alpha: float) -> Decisions:
    """Return what a one-sided two-proportion z-test on the errors so far does when looked at with every scrape."""
    since = runs.time > 0
    n = np.cumsum(runs.requests[:, since], axis=1)
    k = np.cumsum(runs.errors[:, since], axis=1)
    pooled = k.sum(-1) / np.maximum(n.sum(-1), 1)
    variance = pooled * (1 - pooled) * (1 / np.maximum(n, 1)).sum(-1)
    difference = k[..., CANARY] / np.maximum(n[..., CANARY], 1) - k[..., STABLE] / np.maximum(n[..., STABLE], 1)
    z = np.divide(difference, np.sqrt(variance), out=np.zeros_like(difference), where=variance > 0)
    seen = (n > 0).all(-1)
    return Decisions(first_time(runs.time[since], seen & (z > -ndtri(alpha))), np.full(len(runs), NEVER))


def peers(runs: Runs) -> dict[str, Decisions]:
    """Return what Flagger, Argo Rollouts and Kayenta do, by name."""
    verdicts = [replay(_watched(scrapes_of(runs, index)), settings=PEERS) for index in range(len(runs))]
    return {
        column[0].rule: Decisions(
            np.array([NEVER if each.rollback_at is None else each.rollback_at for each in column]),
            np.array([NEVER if each.promote_at is None else each.promote_at for each in column]),
        )
        for column in zip(*verdicts, strict=True)
    }


def _watched(scrapes: Scrapes) -> Scrapes:
    """Return the scrapes up to the end of the peers' watch."""
    return scrapes[: int(np.searchsorted(scrapes.time, PEERS.kayenta_lifetime, side="right"))]
