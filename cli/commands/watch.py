"""`canary watch`: the live page of a rollout that another process carries out, attached by its record alone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import sleep

import typer
from rich.console import Console

from backends.cluster.cluster_target import Taker
from cli.live_page import screen_on
from cli.options import PlanOption, RolloutArgument, takes_target
from cli.rollout_end import EXIT_CODES, describe_end
from conductor.commands.commands import Begun, begun
from conductor.commands.status import standing
from conductor.state.environment import World
from rollout.errors import PlanError, UnavailableError
from rollout.events import EndState
from wiring.command_contexts import command_context
from wiring.composition import SystemClock
from wiring.interruption import interruptible
from wiring.target import Target
from wiring.terminal import Terminal

_LOOK_SECONDS = 1.0


@takes_target(Taker.SIGNAL)
def watch(
    target: Target,
    rollout: RolloutArgument = "",
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """Show a rollout until its end, whichever process carries it out; Ctrl-C ends the showing alone.

    Exit codes: as of `canary run`. Without a name it is the latest rollout, which may have ended already.
    """
    with interruptible():
        raise typer.Exit(EXIT_CODES[_seen_to_its_end(command_context(target, plan).world, rollout, Terminal())])


def _seen_to_its_end(world: World, name: str, console: Console) -> EndState:
    rollout = _named(world, name)
    ledger, record = world.ledger(rollout.name), rollout.record
    with screen_on(console) as screen:
        while True:
            with suppress(UnavailableError):  # what cannot be read now is shown at the next look
                record = ledger.read()
                screen.show(record, rollout.started.plan, note=_note(world, rollout.name))
            if record.ended:
                break
            sleep(_LOOK_SECONDS)
    console.print(describe_end(record.ended), soft_wrap=True)
    return record.ended.state


def _named(world: World, name: str) -> Begun:
    rollouts = [rollout for rollout in begun(world) if name in ("", rollout.name)]
    if not rollouts:
        raise PlanError(f"rollout: got {name or 'none'}, allowed: {', '.join(world.rollouts()) or 'none has begun'}")
    return rollouts[-1]


def _note(world: World, name: str) -> str:
    """What the record does not say: that its owner is gone, or that a person is waited for."""
    others = frozenset(world.rollouts()) - {name}
    stands = standing(world, SystemClock().now(), but=others)
    if stands.state == "orphaned":
        return "its owner is gone: `canary resume` goes on, `canary abort` ends it"
    return f"waits {stands.waits}" if stands.waits else ""
