"""Many simulated rollouts through the kernel at once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis import kernel
from analysis.evidence import Block
from analysis.judge import Judge
from analysis.placebo import GROUPS
from benchmarks.simulator import ISTIO_EDGES_MS, Runs
from rollout.plan import parse_plan

Floats = npt.NDArray[np.float64]

JUDGE = Judge.for_plan(parse_plan(Path("rollout.yaml").read_text(encoding="utf-8")))
LIMITS = replace(JUDGE.limits, warm_up=0.0)
"""A simulated canary needs no time to warm up."""
_CHUNK = 360


@dataclass(frozen=True)
class Said:
    """What was said of R rollouts after each of T scrapes."""

    time: Floats
    """(T,)"""
    rollback: Floats
    """(T, R)"""
    promotable: npt.NDArray[np.bool_]
    """(T, R)"""

    def rolled_back_at(self) -> Floats:
        """Return when each was condemned (R,), infinite where it never was."""
        return self._first(self.rollback >= JUDGE.rollback_needed)

    def promotable_at(self) -> Floats:
        """Return when each could first have been promoted (R,), infinite where it never could."""
        condemned = np.logical_or.accumulate(self.rollback >= JUDGE.rollback_needed, axis=0)
        return self._first(self.promotable & ~condemned)

    def _first(self, holds: npt.NDArray[np.bool_]) -> Floats:
        return np.where(holds.any(axis=0), self.time[holds.argmax(axis=0)], np.inf)


def watched(runs: Runs) -> Said:
    """Return what the judge says of simulated rollouts, all scrapes of which were taken."""
    began = int((runs.time <= 0).sum())
    state = kernel.blank(len(runs), tuple(ISTIO_EDGES_MS))
    for start in range(0, began, _CHUNK):
        state = kernel.learn(state, _block(runs, slice(start, min(start + _CHUNK, began))))
    rollback, promotable = [], []
    for start in range(began, len(runs.time), _CHUNK):
        state, path = kernel.advance(LIMITS, state, _block(runs, slice(start, start + _CHUNK)))
        rollback.append(path.rollback)
        promotable.append((path.promotion >= JUDGE.promotion_needed).all(axis=-1) & (path.rollback < 1))
    return Said(runs.time[began:], np.concatenate(rollback), np.concatenate(promotable))


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
