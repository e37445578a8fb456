"""`canary drill`: proves on the real target that the rollback works, before it is needed. Needs no Prefect."""

from __future__ import annotations

import secrets
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from conductor.commands import drill as drills
from conductor.rollout import Do, plainly
from conductor.state.rollout_run import Run
from loadtest.allowed_targets import checked_rate, sending_target
from loadtest.load_spec import LoadSpec, Request
from loadtest.results import merged_entry
from loadtest.runner import LoadRun
from loadtest.schedule import steady
from rollout.errors import PlanError
from rollout.events import DrillEnded, Started
from rollout.load import LoadPlan
from rollout.model import Track
from rollout.plan import RolloutPlan
from rollout.ports import DRILL_HEADER
from wiring.composition import gateway_of, open_run, open_world, who_runs
from wiring.preflight import check_fitness
from wiring.synthetic_load import load_summary
from wiring.target import Target

WITHIN = timedelta(minutes=3)
MARKED, UNMARKED = "marked", "unmarked"


@dataclass(frozen=True, slots=True)
class Drill:
    """What is to be drilled, and how."""

    plan: RolloutPlan
    target: Target
    fault: str = ""
    """How the canary is to fail; empty for the backend's own way."""
    rate: float = 50.0
    """Requests a second, half of them marked."""
    within: timedelta = WITHIN
    """How long the judge may take."""


def run_drill(drill: Drill, *, do: Do = plainly) -> DrillEnded:
    """Drill, and return what it has shown; on every way out all is as it was before.

    Raises
    ------
    PlanError, LockedError
        Refused, and nothing was touched.
    """
    world = open_world(drill.target, drill.plan)
    fault = world.drill_fault(drill.fault, drill.plan)
    marker, now = secrets.token_hex(8), datetime.now(UTC)
    load = drill_load(drill.plan.load, gateway_of(drill.target), drill.rate, marker)
    check_fitness(drill.plan, drill.target)
    drills.check_quiet(world)
    plan = drills.drill_plan(drill.plan, drill.within)
    name = f"drill-{plan.service}-{plan.canary.version}-{now:%Y%m%d-%H%M%S}"
    run = open_run(plan, drill.target, name)
    started = Started(
        at=now,
        rollout=name,
        plan=plan,
        who=who_runs(),
        backend=drill.target.backend,
        note=f"a drill of the rollback: marked requests alone reach a canary with {fault}",
        drill=fault,
    )
    return _under_load(run, started, marker, load, do)


def _under_load(run: Run, started: Started, marker: str, sent: LoadSpec, do: Do) -> DrillEnded:
    witness = drills.witnessed(run)
    with tempfile.TemporaryDirectory(prefix="canary-drill-") as folder:
        load = LoadRun(sent, Path(folder))
        try:
            load.start()
            drills.carry_out(run, started, marker, do=do)
        finally:
            load.stop()
        stats = load.stats()
    summary = load_summary(stats, run.ports.clock.now(), synthetic=True)
    run.ports.ledger.append(summary)
    astray = merged_entry(stats, endpoint=UNMARKED, track=str(Track.CANARY)).requests
    return do("hold the record against the gateway's counters", drills.conclude, run, summary, astray, witness.last)


def drill_load(plan: LoadPlan, gateway: str | None, rate: float, marker: str) -> LoadSpec:
    """Return a load at a constant rate, every second request with the drill's mark."""
    target = sending_target(plan.url, plan.allow, gateway)
    if target is None:
        raise PlanError("load.url: missing, a drill has to know where the service's users send their requests")
    marks: tuple[tuple[str, dict[str, str]], ...] = ((MARKED, {DRILL_HEADER: marker}), (UNMARKED, {}))
    return LoadSpec(
        host=f"{target.scheme}://{target.netloc}",
        requests=tuple(
            Request(name=name, path=path, headers=plan.headers | mark) for path in plan.paths for name, mark in marks
        ),
        stages=steady(checked_rate(rate)),
        window_seconds=0.0,
    )


def lines(drilled: DrillEnded) -> tuple[str, str]:
    """Return whom the failing canary answered, and what the drill has shown."""
    touched = (
        f"the failing canary: {drilled.counted} requests counted by the gateway, {drilled.marked} of them marked; "
        f"{drilled.strays} without the mark"
    )
    return touched, drills.shown(drilled)
