"""What has to hold in a cluster before a rollout touches anything: a checklist, line by line."""

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
    detail: str
    fix: str = ""
    """What to do, where it is not ok."""


Preflight = Callable[[World, RolloutPlan], Iterator[Check]]
"""One or several lines about the cluster; it reads only, and raises errors of `rollout.errors` alone."""
