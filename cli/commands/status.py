"""`canary status`: where the traffic goes, and how far the rollout has come."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backends.cluster.cluster_target import Taker
from cli.options import PlanOption, takes_target
from rollout.formatting import format_odds
from wiring.command_contexts import command_context
from wiring.target import Target
from wiring.terminal import print_line

if TYPE_CHECKING:
    from conductor.commands.status import Standing


@takes_target(Taker.SIGNAL)
def status(
    target: Target,
    plan: PlanOption = Path("rollout.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Say where the traffic goes, who steers, and how far the rollout has come.

    Exit codes: 0 seen, 1 the split cannot be read (what is known from the record is told), 2 bad input.
    """
    from conductor.commands.status import (
        standing,
    )  # the page of a run comes with it, which a mistake needs not wait for

    desk = command_context(target, plan)
    standing_now = standing(desk.world, desk.clock.now())
    if as_json:
        print_line(json.dumps(standing_now.as_json(), indent=1))
    else:
        for line in [*standing_now.lines(), *_evidence(standing_now)]:
            print_line(line)
    if standing_now.weights is None:
        raise typer.Exit(1)


def _evidence(standing: Standing) -> list[str]:
    """How far the evidence of the rollout under way has come."""
    if standing.latest is None or standing.latest.record.ended:
        return []
    return [
        f"evidence  for {name}: {format_odds(value)}, {format_odds(needed)} needed"
        for name, value, needed in standing.latest.record.evidence()
    ]
