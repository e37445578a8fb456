"""`canary resume`: a rollout goes on that was paused, or whose owner is gone."""

from __future__ import annotations

from pathlib import Path

import typer

from backends.cluster.cluster_target import Taker
from cli.options import PlanOption, ReasonOption, RolloutArgument, takes_target
from cli.rollout_end import EXIT_CODES
from conductor.commands import commands
from conductor.commands.commands import Begun, Desk
from conductor.commands.send_signal import is_paused, say
from rollout.errors import PlanError
from rollout.signals import SignalKind
from wiring.command_contexts import command_context
from wiring.interruption import interruptible
from wiring.target import Target
from wiring.terminal import print_line


@takes_target(Taker.SIGNAL)
def resume(
    target: Target,
    rollout: RolloutArgument = "",
    reason: ReasonOption = "",
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """Go on with a rollout that was paused; or, where its owner is gone, at its step with its evidence and bake so far.

    Exit codes: as of `canary run` where it goes on here, 0 where its owner was told.
    """
    with interruptible():
        desk = command_context(target, plan)
        last = _unfinished(desk, rollout)
        if commands.living_owner(desk) and is_paused(desk, last):
            return print_line(say(desk, SignalKind.RESUME, reason, rollout=last.name))
        print_line(f"{last.name}: goes on here")
        ended = commands.resume(desk, last)
    print_line(f"{last.name}: {ended.state}: {ended.reason}")
    raise typer.Exit(EXIT_CODES[ended.state])


def _unfinished(desk: Desk, name: str) -> Begun:
    """Return the last rollout of this name, or of any, that has begun and not ended."""
    unfinished = commands.unfinished(desk.world)
    rollouts = [rollout for rollout in unfinished if name in ("", rollout.name)]
    if not rollouts:
        known = ", ".join(rollout.name for rollout in unfinished) or "one that has begun and not ended; there is none"
        raise PlanError(f"rollout: got {name or 'none'}, allowed: {known}")
    return rollouts[-1]
