"""The judge that the simulations are about."""

from __future__ import annotations

from benchmarks.detection import the_judge
from benchmarks.simulated.contenders import Decisions, sequential_judge
from benchmarks.simulated.simulator import Runs

JUDGE = the_judge()
LIMITS = JUDGE.without_ratios().limits


def watched(runs: Runs) -> Decisions:
    """Return when the judge condemns each rollout, and when it would let it pass."""
    return sequential_judge(runs, JUDGE)
