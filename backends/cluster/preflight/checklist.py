"""One line of a checklist, and the questions that give them. Pure values."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from backends.cluster.environment import World
from rollout.plan import RolloutPlan


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist."""

    name: str
    ok: bool
    found: str
    fix: str = ""
    """What to do, where it is not ok."""


Question = Callable[[World, RolloutPlan], Iterator[Check]]
"""Asks the world, and gives one line or several; it reads only, and raises errors of `rollout.errors` alone."""
