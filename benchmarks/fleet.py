"""Many rollouts at once on one machine: ticks on time, and what each costs in memory and processor time.

    python -m benchmarks.fleet [--rollouts 100] [--starting 3] [--bake 60s] [--database sqlite] [--json FILE] [--check]

Real are Prefect's server, its database and its runner with a process a run, the flow, the ledger's files, and one
Prometheus that scrapes all services. Emulated, in one process, are the gateways and the pods (benchmarks.gateways). A
run is created as soon as fewer than `--starting` are on their way to their record.

late          a tick that came more than a second after its time; one that never came makes the next one late
per rollout   PSS: shared memory is counted in parts; start-up: processor time until the record begins
full house    from the moment when all rollouts have begun until the first one ends
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any
from urllib.request import urlopen
from uuid import UUID

import psutil
import yaml
from rich.console import Console
from rich.table import Table

from backends.local.children import end_children, is_running
from backends.local.lease import LeaseFile
from backends.local.ledger import LocalLedger
from benchmarks.plane import Plane
from flows.server.prefect_server import PrefectServer
from rollout.events import EndState
from rollout.plan import RolloutPlan, parse_plan
from wiring.interruption import interruptible
from wiring.target import Target

MOST_LATE = 0.01
LATE_SECONDS = 1.0
MOST_MEMORY_GIB = 24.0
_TICKS = "weight_asked"
"""A series with a point for each tick."""
_LOOK_SECONDS = 1.0
_MEMORY_EVERY_SECONDS = 20.0
_GRACE_SECONDS = 30.0
"""Rollouts that are ended put all traffic on stable first."""
_PATIENCE_SECONDS = 120.0
_QUERIES = re.compile(r'prometheus_http_requests_total\{code="\d+",handler="/api/v1/query"\} (\S+)')
_MIB = 1024.0**2


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds used so far, by part, and how often Prometheus was asked."""

    at: float
    seconds: dict[str, float]
    queries: float


@dataclass(slots=True)
class Watch:
    """What was seen while the rollouts ran."""

    begins: dict[str, float] = field(default_factory=dict)
    """Processor seconds of each rollout's process when its record began."""
    first: Usage | None = None
    last: Usage | None = None
    pss_mib: list[float] = field(default_factory=list)
    parts_mib: dict[str, float] = field(default_factory=dict)
    threads: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What a fleet came to."""

    rollouts: int
    database: str
    scrape_seconds: float
    promoted: int
    completed_in_prefect: int
    ticks: int
    late: int
    latest_seconds: float
    most_ticks_at_once: int
    """Within a tenth of a second."""
    full_house_seconds: float
    start_up_cpu_seconds: float
    pss_mib: float
    most_pss_mib: float
    threads: float
    cpu_ms_a_tick: float
    cores: dict[str, float]
    """Processor seconds a second in the full house, by part."""
    parts_mib: dict[str, float]
    queries_a_second: float

    @property
    def late_share(self) -> float:
        """Share of ticks that were late."""
        return self.late / self.ticks if self.ticks else 1.0

    @property
    def memory_gib(self) -> float:
        """All that was started, the rollouts at their mean."""
        return (self.rollouts * self.pss_mib + sum(self.parts_mib.values())) / 1024


def service_plan(number: int, bake: str) -> RolloutPlan:
    """Return the shipped plan of one of many services, with short bakes."""
    plan = yaml.safe_load(Path("rollout.yaml").read_text())
    plan["service"] = f"service-{number:03}"
    plan["baseline"] = {"observe": "30s"}
    for step in plan["steps"]:
        step |= {"bake": bake, "deadline": "15m"}
    plan |= {"warm_up": "10s", "when_inconclusive": "rollback"}
    return parse_plan(yaml.safe_dump(plan))


class Yard:
    """All that a fleet needs, started in a folder and ended with the stack."""

    def __init__(self, folder: Path, plans: Sequence[RolloutPlan], parts: ExitStack) -> None:
        self._plans, self._parts = plans, parts
        self._plane = Plane(folder, plans, parts)
        self.server = parts.enter_context(PrefectServer(folder / "prefect"))
        self.server.wait_ready()
        os.environ.update(self.server.environment())
        self.runs: dict[str, UUID] = {}

    def serve(self) -> None:
        """Start the runner, and let it register the flow."""
        file = self._plane.folder / "deployment"
        command = [sys.executable, "-m", "benchmarks.running.fleet_runner", str(len(self._plans)), str(file)]
        self._parts.callback(lambda: end_children([self._plane.children["runner"]], grace=_GRACE_SECONDS))
        self._plane.start("runner", command, CANARY_END_WITH_PARENT="true")
        self._deployment = UUID(self._plane.written(file, "runner"))

    def create(self, count: int) -> None:
        """Create the next runs, so many of them, as far as there are any."""
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            for plan in self._plans[len(self.runs) :][: max(count, 0)]:
                order = _order(plan, self._plane.service(plan.service))
                run = client.create_flow_run_from_deployment(self._deployment, parameters=order)
                self.runs[plan.service] = run.id

    def ledger(self, service: str) -> LocalLedger:
        """Return where a service's rollout is recorded."""
        return LocalLedger(self._plane.service(service) / "rollouts" / service)

    def has_begun(self, service: str) -> bool:
        """Return whether a service's rollout has a record."""
        return self._events(service).exists()

    def has_ended(self, service: str) -> bool:
        """Return whether a service's record has its end."""
        return b'"kind":"ended"' in self._events(service).read_bytes()[-4096:]

    def completed(self) -> int:
        """Return how many runs Prefect shows as completed."""
        from prefect.client.orchestration import get_client

        with get_client(sync_client=True) as client:
            runs = [client.read_flow_run(run) for run in self.runs.values()]
        return sum(run.state is not None and run.state.is_completed() for run in runs)

    def processes(self) -> dict[str, psutil.Process]:
        """Return the process of each rollout that has one, by its service."""
        found = {}
        for service in self.runs:
            if (held := LeaseFile(self._plane.service(service) / "lock.json").read().process) and is_running(held):
                found[service] = psutil.Process(held.pid)
        return found

    def parts(self) -> dict[str, list[psutil.Process]]:
        """Return the processes of everything else, by part."""
        roots = {name: child.process.pid for name, child in self._plane.children.items()}
        found = {name: [psutil.Process(pid)] for name, pid in roots.items()}
        found["Prefect's server"] = _tree(self.server.pid or 0)
        own = psutil.Process().children()
        found["Postgres"] = [one for root in own if root.name() == "postgres" for one in _tree(root.pid)]
        return found

    def usage(self, rollouts: Sequence[psutil.Process]) -> Usage:
        """Return what has been used so far."""
        parts = self.parts() | {"rollouts": list(rollouts)}
        seconds = {name: sum(map(_cpu_seconds, processes)) for name, processes in parts.items()}
        return Usage(time.monotonic(), seconds, self._queries())

    def _events(self, service: str) -> Path:
        return self._plane.service(service) / "rollouts" / service / "events.jsonl"

    def _queries(self) -> float:
        with urlopen(f"{self._plane.prometheus_url}/metrics") as answer:
            return sum(map(float, _QUERIES.findall(answer.read().decode())))


def _order(plan: RolloutPlan, service: Path) -> dict[str, Any]:
    where = Target(state=service).model_dump(mode="json")
    name = {"rollout_id": plan.service, "waits_for_person": False}
    return {"plan": plan.model_dump(mode="json"), "target": where, **name}


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def _cpu_seconds(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _pss_mib(process: psutil.Process) -> float:
    with suppress(psutil.Error):
        return float(process.memory_full_info().pss / _MIB)
    return 0.0


def watch(yard: Yard, rollouts: int, starting: int, console: Console) -> Watch:
    """Look now and then until every rollout has ended, or none begins."""
    seen, ended, weighed, processes = Watch(), set[str](), 0.0, dict[str, psutil.Process]()
    until = time.monotonic() + _PATIENCE_SECONDS
    while processes or (not seen.begins and time.monotonic() < until):
        yard.create(starting - (len(yard.runs) - len(seen.begins)))
        time.sleep(_LOOK_SECONDS)
        processes, before = yard.processes(), (len(seen.begins), len(ended))
        for service, process in processes.items():
            if service not in seen.begins and yard.has_begun(service):
                seen.begins[service] = _cpu_seconds(process)
        ended |= {service for service in seen.begins if service not in ended and yard.has_ended(service)}
        if len(seen.begins) == rollouts and not ended:
            seen.last = yard.usage(list(processes.values()))
            seen.first = seen.first or seen.last
            if time.monotonic() - weighed > _MEMORY_EVERY_SECONDS:
                weigh(yard, list(processes.values()), seen)
                weighed = time.monotonic()
        if (len(seen.begins), len(ended)) != before:
            console.print(f"{len(seen.begins)} begun, {len(ended)} ended, load {os.getloadavg()[0]:.1f}")
    return seen


def weigh(yard: Yard, rollouts: Sequence[psutil.Process], seen: Watch) -> None:
    """Note the memory of everything."""
    seen.pss_mib = [_pss_mib(process) for process in rollouts]
    seen.parts_mib = {name: sum(map(_pss_mib, processes)) for name, processes in yard.parts().items()}
    seen.threads = [process.num_threads() for process in rollouts]


def lateness(times: Sequence[datetime], scrape: timedelta) -> list[float]:
    """Return by how many seconds each tick but the first came after its time."""
    return [(b - a - scrape).total_seconds() for a, b in pairwise(times)]


def most_at_once(times: Sequence[datetime], window: float = 0.1) -> int:
    """Return the most ticks of all rollouts within so many seconds."""
    stamps = sorted(time.timestamp() for time in times)
    most = first = 0
    for last, stamp in enumerate(stamps):
        while stamp - stamps[first] > window:
            first += 1
        most = max(most, last - first + 1)
    return most


def measured(yard: Yard, seen: Watch, plans: Sequence[RolloutPlan]) -> Fleet:
    """Return the figures."""
    records = [yard.ledger(plan.service).read() for plan in plans]
    ticks = [[point.at for point in record.series.get(_TICKS, ())] for record in records]
    late = [seconds for times in ticks for seconds in lateness(times, plans[0].scrape)]
    first, last = seen.first, seen.last
    spent = {name: last.seconds[name] - first.seconds[name] for name in last.seconds} if first and last else {}
    wall = last.at - first.at if first and last else 0.0
    scrape = plans[0].scrape.total_seconds()
    return Fleet(
        rollouts=len(plans),
        database=yard.server.database,
        scrape_seconds=scrape,
        promoted=sum(record.ended is not None and record.ended.state is EndState.PROMOTED for record in records),
        completed_in_prefect=yard.completed(),
        ticks=len(late),
        late=sum(seconds > LATE_SECONDS for seconds in late),
        latest_seconds=max(late, default=float("inf")),
        most_ticks_at_once=most_at_once([at for times in ticks for at in times]),
        full_house_seconds=wall,
        start_up_cpu_seconds=median(seen.begins.values()) if seen.begins else float("nan"),
        pss_mib=sum(seen.pss_mib) / max(len(seen.pss_mib), 1),
        most_pss_mib=max(seen.pss_mib, default=float("nan")),
        threads=median(seen.threads) if seen.threads else float("nan"),
        cpu_ms_a_tick=1000 * spent["rollouts"] * scrape / (wall * len(plans)) if wall else float("nan"),
        cores={name: seconds / wall for name, seconds in spent.items()} if wall else {},
        parts_mib=seen.parts_mib,
        queries_a_second=(last.queries - first.queries) / wall if first and last and wall else float("nan"),
    )


def shown(fleet: Fleet) -> Table:
    """Return the figures as a table."""
    table = Table(title=f"{fleet.rollouts} rollouts at once, a tick every {fleet.scrape_seconds:g} s, {fleet.database}")
    table.add_column("what")
    table.add_column("seen", justify="right")
    rows = [
        ("promoted; completed in Prefect", f"{fleet.promoted}; {fleet.completed_in_prefect}"),
        (f"ticks late by more than {LATE_SECONDS:g} s", f"{fleet.late} of {fleet.ticks} ({fleet.late_share:.2%})"),
        ("the latest tick", f"{fleet.latest_seconds:.1f} s"),
        ("most ticks within 0.1 s", str(fleet.most_ticks_at_once)),
        ("full house", f"{fleet.full_house_seconds:.0f} s"),
        ("memory a rollout (PSS); most", f"{fleet.pss_mib:.0f} MiB; {fleet.most_pss_mib:.0f} MiB"),
        ("threads a rollout", f"{fleet.threads:g}"),
        ("start-up of a rollout", f"{fleet.start_up_cpu_seconds:.1f} s of processor time"),
        ("a tick", f"{fleet.cpu_ms_a_tick:.0f} ms of processor time"),
        ("queries of Prometheus", f"{fleet.queries_a_second:.1f} a second"),
        ("memory of all", f"{fleet.memory_gib:.1f} GiB"),
    ]
    for name, cores in fleet.cores.items():
        memory = fleet.rollouts * fleet.pss_mib if name == "rollouts" else fleet.parts_mib.get(name, 0.0)
        rows.append((name, f"{cores:.2f} cores, {memory:.0f} MiB"))
    for row in rows:
        table.add_row(*row)
    return table


def misses(fleet: Fleet) -> list[str]:
    """Return what falls short, a sentence each."""
    said = []
    if fleet.promoted < fleet.rollouts or fleet.completed_in_prefect < fleet.rollouts:
        said.append(f"{fleet.promoted} promoted and {fleet.completed_in_prefect} completed of {fleet.rollouts}")
    if fleet.late_share >= MOST_LATE:
        said.append(f"{fleet.late_share:.2%} of the ticks were late, allowed: less than {MOST_LATE:.0%}")
    if fleet.memory_gib > MOST_MEMORY_GIB:
        said.append(f"{fleet.memory_gib:.1f} GiB, allowed: {MOST_MEMORY_GIB:g}")
    return said


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rollouts", type=int, default=100)
    parser.add_argument("--starting", type=int, default=3, help="starts under way at a time")
    parser.add_argument("--bake", default="60s", help="of each step")
    parser.add_argument("--database", default="", choices=["", "sqlite"])
    parser.add_argument("--keep", type=Path, help="folder to work in and to keep, for its logs and records")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure falls short")
    options = parser.parse_args()
    os.environ["CANARY_PREFECT_DATABASE"] = options.database
    plans, console = [service_plan(number, options.bake) for number in range(options.rollouts)], Console()
    with interruptible(), tempfile.TemporaryDirectory() as temporary, ExitStack() as parts:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # Postgres is somebody else's where this is root
        yard = Yard(folder.resolve(), plans, parts)
        yard.serve()
        fleet = measured(yard, watch(yard, options.rollouts, options.starting, console), plans)
    console.print(shown(fleet))
    if options.json:
        options.json.write_text(json.dumps(asdict(fleet), indent=1))
    if options.check and (short := misses(fleet)):
        sys.exit("missed: " + "; ".join(short))


if __name__ == "__main__":
    main()
