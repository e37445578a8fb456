"""`canary drill`: proves on the real target that the rollback works, before it is needed. Needs no Prefect."""

from __future__ import annotations

import json
import secrets
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from conductor import drill as drills
from conductor.rollout import Do, plainly
from conductor.run import Run
from flows.commands.options import takes_release_target
from flows.files import read_live_plan
from flows.fitness import check_fitness
from flows.interruption import interruptible
from flows.synthetic import load_summary
from flows.targets import Target
from flows.terminal import Terminal
from flows.wiring import gateway_of, open_run, open_world, who_runs
from loadtest.order import LoadOrder, Request
from loadtest.results import cells_of
from loadtest.runner import LoadRun
from loadtest.shapes import steady
from loadtest.target import checked_rate, sending_target
from rollout.errors import PlanError
from rollout.load import LoadPlan
from rollout.model import Track
from rollout.plan import RolloutPlan
from rollout.ports import DRILL_HEADER
from rollout.quantities import format_duration, parse_duration
from rollout.record import Drilled, Started

WITHIN = timedelta(minutes=3)
LONGEST = timedelta(minutes=10)
MARKED, UNMARKED = "marked", "unmarked"


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be drilled, and how."""

    plan: RolloutPlan
    target: Target
    fault: str = ""
    """How the canary is to fail; empty for the backend's own way."""
    rate: float = 50.0
    """Requests a second, half of them marked."""
    within: timedelta = WITHIN
    """How long the judge may take."""


def run_drill(order: Order, *, do: Do = plainly) -> Drilled:
    """Drill, and return what it has shown; on every way out all is as it was before.

    Raises
    ------
    PlanError, LockedError
        Refused, and nothing was touched.
    """
    world = open_world(order.target, order.plan)
    fault = world.drill_fault(order.fault, order.plan)
    marker, now = secrets.token_hex(8), datetime.now(UTC)
    load_order = order_of(order.plan.load, gateway_of(order.target), order.rate, marker)
    check_fitness(order.plan, order.target)
    drills.check_quiet(world)
    plan = drills.drill_plan(order.plan, order.within)
    name = f"drill-{plan.service}-{plan.canary.version}-{now:%Y%m%d-%H%M%S}"
    run = open_run(plan, order.target, name)
    started = Started(
        at=now,
        rollout=name,
        plan=plan,
        who=who_runs(),
        backend=order.target.backend,
        note=f"a drill of the rollback: marked requests alone reach a canary with {fault}",
        drill=fault,
    )
    return _under_load(run, started, marker, load_order, do)


def _under_load(run: Run, started: Started, marker: str, order: LoadOrder, do: Do) -> Drilled:
    witness = drills.witnessed(run)
    with tempfile.TemporaryDirectory(prefix="canary-drill-") as folder:
        load = LoadRun(order, Path(folder))
        try:
            load.start()
            drills.carry_out(run, started, marker, do=do)
        finally:
            load.stop()
        tally = load.tally()
    summary = load_summary(tally, run.ports.clock.now(), synthetic=True)
    run.ports.ledger.append(summary)
    astray = cells_of(tally, endpoint=UNMARKED, track=str(Track.CANARY)).requests
    return do("hold the record against the gateway's counters", drills.conclude, run, summary, astray, witness.last)


def order_of(plan: LoadPlan, gateway: str | None, rate: float, marker: str) -> LoadOrder:
    """Return the order for a constant rate, every second request with the drill's mark."""
    target = sending_target(plan.url, plan.allow, gateway)
    if target is None:
        raise PlanError("load.url: missing, a drill has to know where the service's users send their requests")
    marks: tuple[tuple[str, dict[str, str]], ...] = ((MARKED, {DRILL_HEADER: marker}), (UNMARKED, {}))
    return LoadOrder(
        host=f"{target.scheme}://{target.netloc}",
        requests=tuple(
            Request(name=name, path=path, headers=plan.headers | mark) for path in plan.paths for name, mark in marks
        ),
        legs=steady(checked_rate(rate)),
        window_seconds=0.0,
    )


def register(app: typer.Typer) -> None:
    """Add this command to the command line."""
    app.command(name="drill")(drill)


@takes_release_target
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
    order = Order(read_live_plan(plan), target, fault=fault, rate=rate, within=_checked(within))
    with interruptible():
        drilled = run_drill(order)
    _tell(drilled, as_json=as_json)
    raise typer.Exit(0 if drilled.proven else 3)


def _checked(within: str) -> timedelta:
    try:
        found = parse_duration(within)
    except ValueError as error:
        raise PlanError(f"--within: got {within!r}, {error}") from error
    if not timedelta(seconds=10) <= found <= LONGEST:
        raise PlanError(f"--within: got {within!r}, allowed: 10s to {format_duration(LONGEST)}")
    return found


def _tell(drilled: Drilled, *, as_json: bool) -> None:
    console = Terminal()
    if as_json:
        said = drilled.model_dump(mode="json") | {"proven": drilled.proven}
        console.print(json.dumps(said, indent=1), soft_wrap=True)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("since the first bad answer")
    table.add_column("seconds", justify="right")
    for part, seconds in drilled.seconds.items():
        table.add_row(part, f"{seconds:.2f}")
    console.print(table)
    for line in lines(drilled):
        console.print(line, soft_wrap=True)


def lines(drilled: Drilled) -> tuple[str, str]:
    """Return whom the failing canary answered, and what the drill has shown."""
    touched = (
        f"the failing canary: {drilled.counted} requests counted by the gateway, {drilled.marked} of them marked; "
        f"{drilled.strays} without the mark"
    )
    return touched, drills.shown(drilled)
