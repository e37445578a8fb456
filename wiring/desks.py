"""Where orders are given: the desk of one service, or of all that have a rollout on record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from conductor.commands.commands import Desk
from wiring.composition import open_desk, plan_on_record, services_of
from wiring.files import read_plan
from wiring.target import Target

if TYPE_CHECKING:
    pass


def desk_at(target: Target, plan: Path, *, owner: str = "") -> Desk:
    """Return where orders are given; the plan is read only where its names are needed to find the service."""
    if target.backend == "local":
        return open_desk(target, None, owner=owner)
    return open_desk(target, plan_on_record(target) if target.service else read_plan(plan), owner=owner)


def desks_at(target: Target, plan: Path) -> Mapping[str, Callable[[], Desk]]:
    """Return by service what opens the desk for its orders: of the one that is named, or else of all on record."""
    if target.backend == "local" or target.service:
        return {target.service: partial(desk_at, target, plan)}
    own = read_plan(plan)
    others = map(target.at_service, services_of(target, own))
    return {own.service: partial(open_desk, target, own)} | {one.service: partial(desk_at, one, plan) for one in others}
