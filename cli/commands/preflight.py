"""`canary preflight`: whether a rollout can begin."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from backends.cluster.cluster_target import Taker
from cli.options import takes_target
from rollout.plan import RolloutPlan
from wiring.files import read_live_plan
from wiring.target import Target
from wiring.terminal import Terminal, print_line

if TYPE_CHECKING:
    from wiring.preflight import Check


@takes_target(Taker.RELEASE)
def preflight(
    target: Target,
    plan: Annotated[Path, typer.Option(help="The rollout plan.")] = Path("rollout.yaml"),
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Check everything that a rollout needs, and touch nothing.

    Exit codes: 0 fit to start, 2 something is to be mended, each miss with what to do, 1 could not ask.
    """
    from wiring.preflight import checklist

    parsed = read_live_plan(plan)
    checks = checklist(parsed, target)
    (_print_json if as_json else _print)(checks, target, parsed)
    raise typer.Exit(0 if all(check.ok for check in checks) else 2)


def _print(checks: tuple[Check, ...], target: Target, plan: RolloutPlan) -> None:
    from wiring.preflight import describe_miss

    console = Terminal()
    where = f"{target.namespace} on the cluster" if target.backend == "cluster" else f"{target.state}"
    console.print(f"{plan.service} {plan.stable.version} → {plan.canary.version} in {where}", soft_wrap=True)
    for check in checks:
        console.print(Text("✓", style="green") if check.ok else Text("✗", style="red"), end=" ")
        line = f"{check.name}: {check.found}" if check.ok else describe_miss(check).strip()
        console.print(line, soft_wrap=True)
    misses = sum(not check.ok for check in checks)
    console.print(f"{misses} of {len(checks)} to mend" if misses else f"fit to start: {len(checks)} checks")


def _print_json(checks: tuple[Check, ...], target: Target, plan: RolloutPlan) -> None:
    result = {
        "ok": all(check.ok for check in checks),
        "service": plan.service,
        "backend": target.backend,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "checks": [asdict(check) for check in checks],
    }
    print_line(json.dumps(result, indent=1))
