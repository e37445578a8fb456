"""`canary pause`, `skip`, `promote-now`, `approve`, `refuse`, `complain`: a word to the rollout that is under way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from cli.emergency import ReasonOption, RolloutArgument
from cli.options import PlanOption, takes_target
from conductor.commands.commands import begun
from conductor.commands.send_signal import say
from rollout.errors import PlanError
from rollout.signals import SignalKind
from wiring.desks import desk_at
from wiring.target import Target
from wiring.terminal import print_line

_COMMANDS = {
    "pause": (SignalKind.PAUSE, "Go no further until `canary resume`; the judge watches on, and may roll back."),
    "skip": (SignalKind.SKIP, "Wait no longer for this step's bake time and evidence."),
    "promote-now": (SignalKind.PROMOTE, "Wait no longer in this and any later step; bad evidence still rolls back."),
    "approve": (SignalKind.APPROVE, "Let the step be left, where its plan asks a person."),
    "refuse": (SignalKind.REFUSE, "Roll back instead of approving."),
}


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    for name, (kind, purpose) in _COMMANDS.items():
        app.command(name=name, help=purpose)(_saying(kind))
    app.command(name="complain")(complain)


def _saying(kind: SignalKind) -> Callable[..., None]:
    @takes_target
    def command(
        target: Target,
        rollout: RolloutArgument = "",
        reason: ReasonOption = "",
        plan: PlanOption = Path("rollout.yaml"),
    ) -> None:
        print_line(say(desk_at(target, plan), kind, reason, rollout=rollout))

    return command


@takes_target
def complain(
    target: Target,
    service: Annotated[str, typer.Argument(help="The service that users complain about.")],
    count: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many complaints.")] = 1,
    note: Annotated[str, typer.Option(help="What they say, for the record.")] = "",
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """Tell that users complain: so many within the plan's `criteria.complaints` roll the canary back."""
    desk = desk_at(target.at_service(service), plan)
    known = {one.started.plan.service for one in begun(desk.world)}
    if known and service not in known:
        raise PlanError(f"service: got {service!r}, allowed: {', '.join(sorted(known))}")
    print_line(say(desk, SignalKind.COMPLAINT, note, count=count))
