"""`canary abort` and `canary restore`: all traffic to stable, from any state."""

from __future__ import annotations

from pathlib import Path

from backends.cluster.cluster_target import Taker
from cli.options import PlanOption, ReasonOption, RolloutArgument, takes_target
from conductor.commands import commands
from wiring.command_contexts import command_context
from wiring.interruption import interruptible
from wiring.target import Target
from wiring.terminal import print_line


@takes_target(Taker.SIGNAL)
def abort(
    target: Target,
    rollout: RolloutArgument = "",
    reason: ReasonOption = "no reason given",
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """End the rollout that is under way, by way of stable; its owner does it, or this command where there is none."""
    with interruptible():
        for line in commands.abort(command_context(target, plan), reason, rollout):
            print_line(line)


@takes_target(Taker.SIGNAL)
def restore(
    target: Target,
    reason: ReasonOption = "no reason given",
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """Put all traffic on stable at once, whoever steers, also after a promotion; what is under way ends."""
    with interruptible():
        for line in commands.restore(command_context(target, plan), reason):
            print_line(line)
