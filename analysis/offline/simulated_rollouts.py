"""Many simulated rollouts of one plan, judged at once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from analysis.evidence import kernel
from analysis.evidence.blocks import Block, Bools, Evidence, Floats
from analysis.evidence.dispersion import DispersionSums
from analysis.judge import Judge
from analysis.offline.traffic import Effect, Traffic, draw_counts
from analysis.scrapes.increments import GROUPS

Ints = npt.NDArray[np.int64]

COARSER = 0.02
"""Later scrapes are simulated in one as long as they are within this part of the time since the step began."""
_AT_ONCE = 4096
"""Scrapes of one rollout that are in memory at once."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """N rollouts under way."""

    evidence: Evidence
    effects: tuple[Effect, ...]
    """(N,) what is wrong with each canary."""
    rps: Floats
    """(N,) requests a second, both tracks together."""
    rolled_back: Bools
    """(N,)"""

    @classmethod
    def of(cls, evidence: Evidence, effects: tuple[Effect, ...], rps: Floats) -> Fleet:
        """Return rollouts that begin with this evidence: one line for all, or one for each."""
        lines = np.broadcast_to(np.arange(len(evidence.age)), len(effects))
        return cls(lines_of(evidence, lines), effects, rps, np.zeros(len(effects), dtype=bool))

    def __len__(self) -> int:
        return len(self.effects)

    def __getitem__(self, chosen: Bools) -> Fleet:
        """Return some of the rollouts."""
        indices = np.flatnonzero(chosen)
        effects = tuple(self.effects[index] for index in indices)
        return Fleet(lines_of(self.evidence, indices), effects, self.rps[indices], self.rolled_back[indices])


def lines_of(evidence: Evidence, lines: Ints) -> Evidence:
    """Return the evidence of some services, each as often as it is named."""
    dispersion_sums = replace(evidence.dispersion_sums, **_lines(evidence.dispersion_sums, lines))
    return replace(evidence, **{"dispersion_sums": dispersion_sums} | _lines(evidence, lines))


def _lines(value: Evidence | DispersionSums, lines: Ints) -> dict[str, Any]:
    values = {each.name: getattr(value, each.name) for each in fields(value)}
    return {name: array[lines] for name, array in values.items() if isinstance(array, np.ndarray)}


@dataclass(frozen=True, slots=True)
class StoppingTimes:
    """When each of N rollouts was first rolled back, and first promotable, in a stretch of time; infinite for never."""

    rollback_at: Floats
    promotable_at: Floats


def scrape_ends(seconds: float, scrape: float) -> Floats:
    """Return the ends of a step's scrapes (T,), in seconds from its beginning; the later, the further apart.

    >>> scrape_ends(300, 60)
    array([ 60., 120., 180., 240., 300.])
    >>> len(scrape_ends(86_400, 5)) < 500
    True
    """
    ends = [0.0]
    while ends[-1] < seconds:
        ends.append(min(ends[-1] + scrape * max(1, round(COARSER * ends[-1] / scrape)), seconds))
    return np.array(ends[1:])


def stretches(ends: Floats, size: int) -> list[Floats]:
    """Return the ends in parts short enough for this many rollouts at once."""
    return np.array_split(ends, max(1, -(-len(ends) * size // _AT_ONCE)))


def advance_fleet(
    judge: Judge, fleet: Fleet, traffic: Traffic, rng: np.random.Generator, *, share: float, began: float, ends: Floats
) -> tuple[Fleet, StoppingTimes]:
    """Return the fleet after a stretch of scrapes, and when the evidence said something.

    Parameters
    ----------
    judge, fleet, traffic, rng
        Who judges what, and the source of chance.
    share
        The canaries' configured share, 0-1.
    began, ends
        When the first scrape begins, and (T,) when each one ends, in seconds.
    """
    spans = np.diff(ends, prepend=began)
    counts = draw_counts(rng, traffic, fleet.effects, fleet.rps, share=share, spans=spans)
    block = Block(
        time=ends,
        span=spans,
        requests=counts.requests,
        events=counts.errors[:, :, None],
        totals=counts.requests[:, :, None],
        pods=np.zeros((len(ends), len(fleet), 2, 0, 2)),
        groups=np.zeros((len(ends), len(fleet), GROUPS, 3)),
        latency=counts.latency,
        sums=counts.sums,
        weight=np.full((len(ends), len(fleet)), share),
        edges=traffic.edges,
    )
    evidence, path = kernel.advance(judge.without_ratios().limits, fleet.evidence, block)
    is_rolled_back = fleet.rolled_back | np.logical_or.accumulate(path.rollback >= judge.rollback_needed)
    is_promotable = ~is_rolled_back & judge.allows(path)
    fleet = replace(fleet, evidence=evidence, rolled_back=is_rolled_back[-1])
    return fleet, StoppingTimes(_first(ends, is_rolled_back), _first(ends, is_promotable))


def _first(ends: Floats, holds: Bools) -> Floats:
    return np.where(holds.any(axis=0), ends[holds.argmax(axis=0)], np.inf)
