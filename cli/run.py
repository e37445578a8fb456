"""`canary run` and `canary preflight`: a release where the plan says, from this terminal."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from cli.options import takes_release_target
from rollout.plan import RolloutPlan
from wiring.files import checked_output, read_live_plan
from wiring.target import Target
from wiring.terminal import Terminal, print_line

if TYPE_CHECKING:
    from wiring.preflight import Check

PlanOption = Annotated[Path, typer.Option(help="The rollout plan.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(name="run")(run)
    app.command(name="preflight")(preflight)


@takes_release_target
def run(
    target: Target,
    plan: PlanOption = Path("rollout.yaml"),
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
    from cli.release import Order, run_release

    parsed = read_live_plan(plan)
    if dry_run:
        from wiring.dry_run import rehearse

        _tell_lines(rehearse(parsed, target))
        raise typer.Exit
    order = Order(
        plan=parsed,
        target=target,
        name=name,
        note=note,
        waits=wait,
        record=checked_output("--record", record),
        report=checked_output("--report", report),
    )
    raise typer.Exit(run_release(order, Terminal()))


@takes_release_target
def preflight(
    target: Target,
    plan: PlanOption = Path("rollout.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Check everything that a rollout needs, and touch nothing.

    Exit codes: 0 fit to start, 2 something is to be mended, each miss with what to do, 1 could not ask.
    """
    from wiring.preflight import checklist

    parsed = read_live_plan(plan)
    found = checklist(parsed, target)
    (_tell_json if as_json else _tell)(found, target, parsed)
    raise typer.Exit(0 if all(check.ok for check in found) else 2)


def _tell(found: tuple[Check, ...], target: Target, plan: RolloutPlan) -> None:
    from wiring.preflight import miss_line

    console = Terminal()
    where = f"{target.namespace} on the cluster" if target.backend == "cluster" else f"{target.state}"
    console.print(f"{plan.service} {plan.stable.version} → {plan.canary.version} in {where}", soft_wrap=True)
    for check in found:
        console.print(Text("✓", style="green") if check.ok else Text("✗", style="red"), end=" ")
        line = f"{check.name}: {check.found}" if check.ok else miss_line(check).strip()
        console.print(line, soft_wrap=True)
    misses = sum(not check.ok for check in found)
    console.print(f"{misses} of {len(found)} to mend" if misses else f"fit to start: {len(found)} checks")


def _tell_lines(lines: tuple[str, ...]) -> None:
    for line in lines:
        print_line(line)


def _tell_json(found: tuple[Check, ...], target: Target, plan: RolloutPlan) -> None:
    said = {
        "ok": all(check.ok for check in found),
        "service": plan.service,
        "backend": target.backend,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "checks": [asdict(check) for check in found],
    }
    print_line(json.dumps(said, indent=1))
