"""What commands to a rollout work on, for one service or for all that have a rollout on record."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from conductor.commands.commands import Desk
from wiring.composition import open_command_context, plan_on_record, services_of
from wiring.files import read_plan
from wiring.target import Target


def command_context(target: Target, plan: Path, *, owner: str = "") -> Desk:
    """Return the context of commands to a service; its plan is read only where its names are needed to find it."""
    if target.backend == "local":
        return open_command_context(target, None, owner=owner)
    return open_command_context(target, plan_on_record(target) if target.service else read_plan(plan), owner=owner)


def command_contexts(target: Target, plan: Path) -> Mapping[str, Callable[[], Desk]]:
    """Return by service what opens the context of its commands: of the one that is named, or else of all on record."""
    if target.backend == "local" or target.service:
        return {target.service: partial(command_context, target, plan)}
    own = read_plan(plan)
    others = {other.service: other for other in map(target.at_service, services_of(target, own))}
    opened = {service: partial(command_context, other, plan) for service, other in others.items()}
    return {own.service: partial(open_command_context, target, own)} | opened
