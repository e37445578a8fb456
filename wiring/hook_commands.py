"""Which commands hooks may run here: those of a plan file on this machine, never what a form or an API alone holds."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rollout.errors import PlanError
from rollout.hooks import Hook
from rollout.plan import RolloutPlan
from wiring.files import read_plan
from wiring.settings import Settings

ALLOW: Final = "CANARY_ALLOW_COMMANDS"
_named: Final = list[Path]()
"""Plan files that the command line of this process has named."""


def trust(file: Path) -> None:
    """Let the commands of a plan file run here: whoever started this process has named it."""
    if file.absolute() not in _named:
        _named.append(file.absolute())


def trusted_files() -> tuple[Path, ...]:
    """Return the plan files whose commands may run here: those of the command line, and `CANARY_PLAN`."""
    return (*_named, Settings().plan.absolute())


def refused_commands(plan: RolloutPlan) -> tuple[Hook, ...]:
    """Return the hooks of a plan whose commands may not run here; a hook is compared whole, with moment and data."""
    commands = tuple(hook for hook in plan.hooks if hook.command)
    if not commands or Settings().allow_commands:
        return ()
    known = list(_hooks_of(trusted_files()))
    return tuple(hook for hook in commands if hook not in known)


def describe_refusal(hooks: Sequence[Hook]) -> str:
    """Return which commands are refused."""
    commands = ", ".join(f"{hook.name} ({shlex.join(hook.command)[:100]})" for hook in hooks)
    return f"commands that stand in no plan file of this machine: {commands}"


def describe_way_out() -> str:
    """Return what lets them run."""
    files = ", ".join(map(str, trusted_files()))
    return f"write the same hook into {files}, or set {ALLOW}=true where the rollout runs, for any command of any plan"


def _hooks_of(files: Sequence[Path]) -> Iterator[Hook]:
    for file in files:
        try:
            yield from read_plan(file).hooks
        except PlanError:  # there is none, or it is none: nothing in it may run
            continue
