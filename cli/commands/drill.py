"""`canary drill`: a proof that the rollback works."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from backends.cluster.cluster_target import Taker
from cli.options import takes_target
from rollout.errors import PlanError
from rollout.events import DrillEnded
from rollout.quantities import format_duration, parse_duration
from wiring.files import read_live_plan
from wiring.interruption import interruptible
from wiring.target import Target
from wiring.terminal import Terminal

LONGEST = timedelta(minutes=10)


@takes_target(Taker.RELEASE)
def drill(
    target: Target,
    plan: Annotated[Path, typer.Option(help="The rollout plan.")] = Path("rollout.yaml"),
    fault: Annotated[
        str, typer.Option(help="How the canary fails: errors=30% or latency=800ms; on a cluster latency only.")
    ] = "",
    rate: Annotated[
        float, typer.Option(min=2, max=5000, help="Requests a second to send, half of them marked.")
    ] = 50.0,
    within: Annotated[str, typer.Option(help="How long the judge may take, such as 3m.")] = "3m",
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Prove that the rollback works: a canary that fails on purpose gets marked requests alone, and is taken back.

    Live traffic stays on stable throughout. Exit codes: 0 proven, 3 the chain did not fire, 2 refused before anything
    was touched, 1 could not run.
    """
    from wiring.drill_run import Drill, run_drill  # the judge comes with it, which no other command waits for

    wanted = Drill(read_live_plan(plan), target, fault=fault, rate=rate, within=_checked(within))
    with interruptible():
        drilled = run_drill(wanted)
    _print(drilled, as_json=as_json)
    raise typer.Exit(0 if drilled.proven else 3)


def _checked(within: str) -> timedelta:
    try:
        limit = parse_duration(within)
    except ValueError as error:
        raise PlanError(f"--within: got {within!r}, {error}") from error
    if not timedelta(seconds=10) <= limit <= LONGEST:
        raise PlanError(f"--within: got {within!r}, allowed: 10s to {format_duration(LONGEST)}")
    return limit


def _print(drilled: DrillEnded, *, as_json: bool) -> None:
    console = Terminal()
    if as_json:
        result = drilled.model_dump(mode="json") | {"proven": drilled.proven}
        console.print(json.dumps(result, indent=1), soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("since the first bad answer")
    table.add_column("seconds", justify="right")
    for part, seconds in drilled.seconds.items():
        table.add_row(part, f"{seconds:.2f}")
    console.print(table)
    from wiring.drill_run import lines

    for line in lines(drilled):
        console.print(line, soft_wrap=True)
