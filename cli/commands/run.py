"""`canary run`: a release where the plan says, from this terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backends.cluster.cluster_target import Taker
from cli.options import takes_target
from wiring.files import checked_output, read_live_plan
from wiring.target import Target
from wiring.terminal import Terminal, print_line


@takes_target(Taker.RELEASE)
def run(
    target: Target,
    plan: Annotated[Path, typer.Option(help="The rollout plan.")] = Path("rollout.yaml"),
    name: Annotated[str, typer.Option(help="Name of the rollout; from service, version and time unless said.")] = "",
    note: Annotated[str, typer.Option(help="What is out of the ordinary, for the record.")] = "",
    wait: Annotated[
        bool, typer.Option(help="At a deadline without enough evidence, hold for a person as the plan says; else end.")
    ] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, with expected times, and touch nothing.")
    ] = False,
    record: Annotated[Path | None, typer.Option(help="Where to write the record as JSON.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where to write the report as HTML.")] = None,
) -> None:
    """Release the canary as the plan says, and promote it or roll it back.

    Prefect shows the run where its API answers (PREFECT_API_URL); without it the rollout is the same.
    Exit codes: 0 promoted, 3 rolled back, 4 held or inconclusive, 2 refused before anything was touched, 1 failed.
    """
    from cli.release import Release, run_release

    parsed = read_live_plan(plan)
    if dry_run:
        from wiring.dry_run import rehearse

        for line in rehearse(parsed, target):
            print_line(line)
        raise typer.Exit
    release = Release(
        plan=parsed,
        target=target,
        name=name,
        note=note,
        waits=wait,
        record=checked_output("--record", record),
        report=checked_output("--report", report),
    )
    raise typer.Exit(run_release(release, Terminal()))
