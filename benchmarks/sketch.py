"""Sketches of the judge at work, in characters: the pictures of docs/statistics.md.

python -m benchmarks.sketch
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from analysis.judge import Judge, Replay
from benchmarks.simulated.families import BURSTS, Family, Fault
from benchmarks.simulated.simulator import scrapes_of, simulate
from rollout.plan import parse_plan

Floats = npt.NDArray[np.float64]

HEALTHY = Family("sketch", duration=900.0, steps=((0.0, 0.2),))
SICK = replace(HEALTHY, fault=Fault(error_factor=5.0, onset=300.0))
BURSTING = replace(HEALTHY, weather=BURSTS, pods=8)
SEED = 7


def the_judge() -> Judge:
    """Return the judge of the project's own plan, for canaries that need no time to warm up."""
    judge = Judge.for_plan(parse_plan(Path("rollout.yaml").read_text(encoding="utf-8"), source="rollout.yaml"))
    return replace(judge, limits=replace(judge.limits, warm_up=0.0))


def watched(family: Family, *, seed: int = SEED) -> Replay:
    """Return what the judge says of one simulated rollout after an hour of history."""
    judge = the_judge()
    scrapes = scrapes_of(simulate(family, runs=1, seed=seed, history=3600.0), 0)
    began = int((scrapes.time <= 0).sum())
    state = judge.learn_scrapes(judge.begin(), scrapes[:began])
    return judge.replay(state, scrapes[began:], np.full(len(scrapes) - began, 0.2))[1]


def chart(values: Floats, lines: dict[str, float], *, low: float, high: float, width: int = 60, rows: int = 12) -> str:
    """Return values over time as characters, with named lines across.

    >>> print(chart(np.array([0.0, 1.0, 2.0, 3.0]), {"limit": 2.0}, low=0.0, high=3.0, width=4, rows=4))
       |   *
       |--*- limit
       | *
       |*
    """
    columns = [part.max() for part in np.array_split(values, min(width, len(values)))]
    canvas = [[" "] * len(columns) for _ in range(rows)]

    def row(value: float) -> int:
        return rows - 1 - round((rows - 1) * (min(max(value, low), high) - low) / (high - low))

    names = {row(level): name for name, level in lines.items()}
    for level in names:
        canvas[level] = ["-"] * len(columns)
    for column, value in enumerate(columns):
        canvas[row(value)][column] = "*"
    texts = ("".join(line) + (f" {names[index]}" if index in names else "") for index, line in enumerate(canvas))
    return "\n".join(f"   |{text}".rstrip() for text in texts)


def rollback_chart(family: Family) -> str:
    """Return the evidence against a canary over time, and the line that condemns it."""
    said = watched(family)
    return chart(said.rollback, {"100 : 1, roll back": np.log(100), "1 : 1": 0.0}, low=-5.0, high=7.0)


def promotion_chart(family: Family) -> str:
    """Return the evidence for a canary over time, and the line that it has to reach."""
    said = watched(family)
    return chart(said.promotion, {"20 : 1, may be promoted": np.log(20)}, low=-3.0, high=6.0, rows=10)


def main(_: Sequence[str] | None = None) -> int:
    """Print all sketches."""
    for title, family in (("healthy", HEALTHY), ("five times the errors from 300 s on", SICK), ("bursts", BURSTING)):
        print(f"evidence against, {title}\n{rollback_chart(family)}\n")
    print(f"evidence for, healthy at 0.01 %\n{promotion_chart(replace(HEALTHY, error_ratio=0.0001))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
