"""The drill of the rollback, several times, beside users of the service: what each part of the chain takes.

    python -m benchmarks.drill [--runs 5] [--fault errors=30%] [--rate 50] [--users 40] [--json FILE] [--check]

One embedded backend (real Envoy and Prometheus) serves users at a constant rate; `canary drill` runs beside them. All
times are in seconds from the first bad answer that the load generator got. Whom the failing canary answered is counted
thrice: by Prometheus on the gateway's counters, by Envoy's own counter of requests sent to the canary's pods, and by
the users, who are told which track answered them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

import backends.local.environment as local
from backends.local.loopback import request
from conductor.commands.last_drill import PARTS
from loadtest.runner import LoadRun, steady_spec
from rollout.plan import parse_plan

ROOT = Path(__file__).parents[1]
CANARY = str(Path(sys.executable).with_name("canary"))
LONGEST_SECONDS = 400


@dataclass(frozen=True, slots=True)
class Run:
    """One drill."""

    proven: bool
    stopped: str
    seconds: dict[str, float]
    marked: int
    counted: int
    sent: int
    """What Envoy has sent to the canary's pods."""
    strays: int


@dataclass(frozen=True, slots=True)
class Users:
    """What the users got meanwhile."""

    requests: int
    failures: int
    by_canary: int


def drilled(runs: int, *, fault: str, rate: float, users: float) -> tuple[list[Run], Users]:
    """Return the drills, one after another on one backend, and what its users got."""
    plan = parse_plan((ROOT / "demo.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        world = local.start(Path(folder) / "state", plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
        load = LoadRun(steady_spec(world.gateway_url, users), Path(folder) / "users")
        try:
            load.start()
            found = [_drill(world, fault, rate) for _ in range(runs)]
        finally:
            load.stop()
            world.stop()
        results = load.results()
    canary = results.tracks.get("canary")
    return found, Users(results.requests, results.failures, canary.requests if canary else 0)


def _drill(world: local.World, fault: str, rate: float) -> Run:
    before = _sent(world)
    command = [CANARY, "drill", "--plan", "demo.yaml", "--json", "--fault", fault, "--rate", f"{rate:g}"]
    command += ["--backend", "local", "--state", str(world.folder.path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
    if done.returncode not in (0, 3):
        sys.exit(f"exit {done.returncode}: {done.stdout}{done.stderr}")
    said = json.loads(done.stdout)
    told = {name: said[name] for name in ("proven", "stopped", "seconds", "marked", "counted", "strays")}
    return Run(**told, sent=_sent(world) - before)


def _sent(world: local.World) -> int:
    path = "/stats?format=json&filter=cluster.canary.upstream_rq_total"
    stats = json.loads(request(world.observed.admin_port, path, seconds=1))["stats"]
    return sum(int(one["value"]) for one in stats if "value" in one)


def shown(runs: Sequence[Run], fault: str) -> Table:
    """Return the table of all drills and their medians."""
    table = Table(title=f"Seconds from the first bad answer ({fault})")
    for heading in ("drill", *PARTS, "canary's requests", "unmarked"):
        table.add_column(heading, justify="right")
    for number, run in enumerate(runs, 1):
        times = (f"{run.seconds[part]:.2f}" if part in run.seconds else "–" for part in PARTS)
        table.add_row(str(number), *times, str(run.counted), str(run.strays))
    table.add_section()
    medians = (_median([run.seconds[part] for run in runs if part in run.seconds]) for part in PARTS)
    table.add_row("median", *medians, str(sum(run.counted for run in runs)), str(sum(run.strays for run in runs)))
    return table


def _median(seconds: Sequence[float]) -> str:
    return f"{median(seconds):.2f}" if seconds else "–"


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--fault", default="errors=30%")
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--users", type=float, default=40.0, help="requests a second of the users'")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 unless all are proven and no user was touched")
    options = parser.parse_args()
    runs, users = drilled(options.runs, fault=options.fault, rate=options.rate, users=options.users)
    console = Console()
    console.print(shown(runs, options.fault))
    console.print(
        f"users: {users.requests} requests, {users.failures} failed, {users.by_canary} answered by the failing canary; "
        f"Envoy sent it {sum(run.sent for run in runs)}, of which {sum(run.marked for run in runs)} marked"
    )
    if options.json:
        options.json.write_text(json.dumps({"runs": [asdict(run) for run in runs], "users": asdict(users)}, indent=1))
    missed = [run.stopped for run in runs if not run.proven or run.sent != run.marked]
    if options.check and (missed or users.by_canary or users.failures):
        sys.exit(f"missed: {missed or 'users were touched'}")


if __name__ == "__main__":
    main()
