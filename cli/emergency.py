"""`canary status`, `abort`, `restore`, `resume`: from any state. They never import prefect, nor need its server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.exit_codes import EXIT_CODES
from cli.options import PlanOption, takes_target
from conductor.commands import commands
from conductor.commands.send_signal import is_paused, say
from rollout.errors import PlanError
from rollout.formatting import format_odds
from rollout.signals import SignalKind
from wiring.desks import desk_at
from wiring.interruption import interruptible
from wiring.target import Target
from wiring.terminal import print_line

if TYPE_CHECKING:
    from conductor.commands.status import Standing

ReasonOption = Annotated[str, typer.Option(help="Why, for the record.")]
RolloutArgument = Annotated[str, typer.Argument(help="Name of the rollout; the one under way unless given.")]
_PLAN = Path("rollout.yaml")


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(name="status")(status)
    app.command(name="abort")(abort)
    app.command(name="restore")(restore)
    app.command(name="resume")(resume)


@takes_target
def status(
    target: Target,
    plan: PlanOption = _PLAN,
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say where the traffic goes, who steers, and how far the rollout has come.

    Exit codes: 0 seen, 1 the split cannot be read (what is known from the record is told), 2 bad input.
    """
    from conductor.commands.status import standing  # orders are given sooner without it

    desk = desk_at(target, plan)
    found = standing(desk.world, desk.clock.now())
    if as_json:
        print_line(json.dumps(found.as_json(), indent=1))
    else:
        _tell(found)
    if found.weights is None:
        raise typer.Exit(1)


@takes_target
def abort(
    target: Target,
    rollout: RolloutArgument = "",
    reason: ReasonOption = "no reason given",
    plan: PlanOption = _PLAN,
) -> None:
    """End the rollout that is under way, by way of stable; its owner does it, or this command where there is none."""
    for line in commands.abort(desk_at(target, plan), reason, rollout):
        print_line(line)


@takes_target
def restore(
    target: Target,
    reason: ReasonOption = "no reason given",
    plan: PlanOption = _PLAN,
) -> None:
    """Put all traffic on stable at once, whoever steers, also after a promotion; what is under way ends."""
    for line in commands.restore(desk_at(target, plan), reason):
        print_line(line)


@takes_target
def resume(
    target: Target,
    rollout: RolloutArgument = "",
    reason: ReasonOption = "",
    plan: PlanOption = _PLAN,
) -> None:
    """Go on with a rollout that was paused; or, where its owner is gone, at its step with its evidence and bake so far.

    Exit codes: as of `canary run` where it goes on here, 0 where its owner was told.
    """
    desk = desk_at(target, plan)
    unfinished = commands.unfinished(desk.world)
    found = [one for one in unfinished if rollout in ("", one.name)]
    if not found:
        known = ", ".join(one.name for one in unfinished) or "one that has begun and not ended; there is none"
        raise PlanError(f"rollout: got {rollout or 'none'}, allowed: {known}")
    if commands.living_owner(desk) and is_paused(desk, found[-1]):
        return print_line(say(desk, SignalKind.RESUME, reason, rollout=found[-1].name))
    print_line(f"{found[-1].name}: goes on here")
    with interruptible():
        ended = commands.resume(desk, found[-1])
    print_line(f"{found[-1].name}: {ended.state}: {ended.reason}")
    raise typer.Exit(EXIT_CODES[ended.state])


def _tell(found: Standing) -> None:
    for line in [*found.lines(), *_evidence(found)]:
        print_line(line)


def _evidence(found: Standing) -> list[str]:
    """How far the evidence of the rollout under way has come."""
    if found.latest is None or found.latest.record.ended:
        return []
    return [
        f"evidence  for {name}: {format_odds(value)}, {format_odds(needed)} needed"
        for name, value, needed in found.latest.record.evidence()
    ]
