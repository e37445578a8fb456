"""`canary pause`, `skip`, `promote-now`, `approve`, `refuse`, `complain`: a signal to the rollout under way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from backends.cluster.cluster_target import Taker
from cli.options import PlanOption, ReasonOption, RolloutArgument, takes_target
from conductor.commands.commands import begun
from conductor.commands.send_signal import say
from rollout.errors import PlanError
from rollout.signals import SignalKind
from wiring.command_contexts import command_context
from wiring.target import Target
from wiring.terminal import print_line


def _command(kind: SignalKind) -> Callable[..., None]:
    @takes_target(Taker.SIGNAL)
    def command(
        target: Target,
        rollout: RolloutArgument = "",
        reason: ReasonOption = "",
        plan: PlanOption = Path("rollout.yaml"),
    ) -> None:
        print_line(say(command_context(target, plan), kind, reason, rollout=rollout))

    return command


pause = _command(SignalKind.PAUSE)
skip = _command(SignalKind.SKIP)
promote_now = _command(SignalKind.PROMOTE)
approve = _command(SignalKind.APPROVE)
refuse = _command(SignalKind.REFUSE)


@takes_target(Taker.SIGNAL)
def complain(
    target: Target,
    service: Annotated[str, typer.Argument(help="The service that users complain about.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many complaints.")] = 1,
    note: Annotated[str, typer.Option(help="What they say, for the record.")] = "",
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """Tell that users complain: so many within the plan's `criteria.complaints` roll the canary back."""
    desk = command_context(target.at_service(service), plan)
    known = {rollout.started.plan.service for rollout in begun(desk.world)}
    if known and service not in known:
        raise PlanError(f"service: got {service!r}, allowed: {', '.join(sorted(known))}")
    print_line(say(desk, SignalKind.COMPLAINT, note, count=count))
