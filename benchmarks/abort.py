"""From a word to the gateway: how soon all traffic is on stable when somebody outside says so.

    python -m benchmarks.abort [--runs 10] [--lanes 3] [--ways NAME ...] [--seed 1] [--json FILE] [--check]

Each run begins a rollout of its own on the embedded backend, beside all that `canary up --prefect` starts, with metrics
that are read every 5 s as in rollout.yaml; at a seeded moment of its first step the word is said in one of these ways:

canary abort    the command, from its start
canary refuse   the same while the step waits for an approval
abort, awaited  `canary abort` while the step waits for an approval
complaints      `canary complain`, three at once
alert           Alertmanager's message to `canary webhook`
Prefect         the run is cancelled, as its page does it
form, abort     the form `steer` is submitted, as its page does it
form, restore   the form `emergency-rollback` is submitted

seconds         from then to the gateway's own word that all traffic is on stable
lanes           embedded backends side by side, each with Prefect's parts; a rollout mostly waits
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import httpx
import yaml
from rich.console import Console
from rich.table import Table

import backends.local.environment as local
from backends.local.loopback import free_port
from benchmarks.running.demos import CANARY
from benchmarks.running.lanes import Stop, side_by_side
from benchmarks.running.processes import running
from flows.server.prefect_server import PrefectServer
from flows.server.prefect_services import prefect_parts
from loadtest.runner import LoadRun, steady_spec
from rollout.events import ApprovalRequested, StepStarted, WeightsSet
from rollout.plan import RolloutPlan, parse_plan

GOAL_SECONDS = 2.0
AWAITED = ("canary refuse", "abort, awaited")
"""Ways that are tried while an approval is waited for."""
RATE = 100.0
SCRAPE = "5s"
_BEGINS_SECONDS = 300.0
"""An approval is asked for once there is evidence, which takes longer where the machine is busy."""
_ENDS_SECONDS = 60.0
_POLL_SECONDS = 0.1
_LOCKED = httpx.codes.SERVICE_UNAVAILABLE
"""What Prefect's server answers while its SQLite is locked; clients ask again."""
_ALERT = {"alerts": [{"status": "firing", "labels": {"alertname": "CheckoutFails"}, "annotations": {}}]}


def plan_of(*, asks_approval: bool) -> RolloutPlan:
    """Return the demo's plan with one short step, scraped as rarely as a real one."""
    plan = yaml.safe_load(Path("demo.yaml").read_text())
    step = {"name": "introduce", "canary": "20%", "replicas": 1, "bake": "5s" if asks_approval else "10m"}
    plan["steps"] = [step | ({"deadline": "10m", "approval": "required"} if asks_approval else {})]
    plan["baseline"] = {"observe": "11s"}
    plan["criteria"]["errors"] = {"healthy_below": "10%", "rollback_above": "20%"}
    plan["criteria"]["success"] = {"healthy_above": "85%"}
    plan["criteria"]["latency"] = {"statistic": "mean", "healthy_below": "1s", "rollback_above": "3s"}
    return parse_plan(yaml.safe_dump(plan | {"scrape": SCRAPE, "timeout": "5s"}))


@dataclass(frozen=True)
class Place:
    """The embedded backend, with Prefect's server and the one that hears alerts beside it."""

    folder: Path
    world: local.World
    prefect: PrefectServer
    webhook: str
    stop: Stop

    def canary(self, *words: str) -> None:
        """Give an order, as a person types it."""
        where = ["--backend", "local", "--state", str(self.folder)]
        subprocess.run([CANARY, *words, *where], check=True, stdout=subprocess.DEVNULL)

    def alert(self) -> None:
        """Send what Alertmanager sends."""
        httpx.post(f"{self.webhook}/alertmanager", json=_ALERT, trust_env=False).raise_for_status()

    def cancel(self) -> None:
        """Cancel the one run that is under way, as its page does."""
        with httpx.Client(base_url=f"{self.prefect.url}/api", trust_env=False) as api:
            running = {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
            (run,) = api.post("/flow_runs/filter", json=running).raise_for_status().json()
            state = {"state": {"type": "CANCELLING"}}
            api.post(f"/flow_runs/{run['id']}/set_state", json=state).raise_for_status()

    def submit(self, flow: str, deployment: str, **filled_in: str) -> None:
        """Submit a deployment's form, as its page does."""
        with httpx.Client(base_url=f"{self.prefect.url}/api", trust_env=False) as api:
            found = api.get(f"/deployments/name/{flow}/{deployment}").raise_for_status().json()["id"]
            body = {"parameters": filled_in, "state": {"type": "SCHEDULED"}}
            while (answer := api.post(f"/deployments/{found}/create_flow_run", json=body)).status_code == _LOCKED:
                self.stop.pause(_POLL_SECONDS)
            answer.raise_for_status()


Way = Callable[[Place], None]
WAYS: dict[str, Way] = {
    "canary abort": lambda place: place.canary("abort", "--reason", "as the benchmark says"),
    "canary refuse": lambda place: place.canary("refuse", "--reason", "as the benchmark says"),
    "abort, awaited": lambda place: place.canary("abort", "--reason", "as the benchmark says"),
    "complaints": lambda place: place.canary("complain", place.world.settings.service, "--count", "3"),
    "alert": Place.alert,
    "Prefect": Place.cancel,
    "form, abort": lambda place: place.submit("steer", "steer", word="abort", reason="as the benchmark says"),
    "form, restore": lambda place: place.submit("emergency_rollback", "emergency-rollback", reason="as it says"),
}


@dataclass(frozen=True, slots=True)
class Turn:
    """One word to one rollout."""

    way: str
    number: int
    after: float
    """Seconds since the rollout began to bake, or to ask."""

    @property
    def name(self) -> str:
        """The rollout's."""
        return f"{self.way.replace(', ', '-').replace(' ', '-').lower()}-{self.number}"


@contextmanager
def place(folder: Path, stop: Stop) -> Iterator[Place]:
    """Start everything, and end it."""
    with ExitStack() as parts:
        plan = plan_of(asks_approval=False)
        world = local.start(folder, plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
        parts.callback(world.stop)
        load = LoadRun(steady_spec(world.gateway_url, RATE), folder / "load")
        parts.callback(load.stop)
        load.start()
        port = free_port()
        where = ["--port", str(port), "--backend", "local", "--state", str(folder)]
        parts.enter_context(running([CANARY, "webhook", *where], folder, {}))
        file = folder / "form.yaml"
        file.write_text(yaml.safe_dump(plan.model_dump(mode="json")))
        prefect = parts.enter_context(prefect_parts(folder, file, port=0))
        yield Place(folder, world, prefect, f"http://127.0.0.1:{port}", stop)


def carried_out(turns: Sequence[Turn], stop: Stop, console: Console) -> list[float]:
    """Return the seconds that each word took, one after the other in one place."""
    found = []
    with tempfile.TemporaryDirectory() as folder, place(Path(folder) / "demo", stop) as where:
        for turn in turns:
            found.append(reached(where, turn))
            console.print(f"{turn.name}: {found[-1]:.2f} s", highlight=False)
    return found


def reached(where: Place, turn: Turn) -> float:
    """Return the seconds that one word took, said a while after the first step began or the approval was asked for."""
    file, asks, name = where.folder / "plan.yaml", turn.way in AWAITED, turn.name
    file.write_text(yaml.safe_dump(plan_of(asks_approval=asks).model_dump(mode="json")))
    command = [CANARY, "run", "--name", name, "--plan", str(file), "--backend", "local", "--state", str(where.folder)]
    with running(command, where.folder, where.prefect.environment()) as process:
        _await(where, name, ApprovalRequested if asks else StepStarted)
        where.stop.pause(turn.after)
        said = datetime.now(UTC)
        WAYS[turn.way](where)
        home = _await_home(where, name, said)
        process.wait(_ENDS_SECONDS)
    return (home.at - said).total_seconds()


def _await(where: Place, name: str, kind: type[StepStarted | ApprovalRequested]) -> None:
    deadline = time.monotonic() + _BEGINS_SECONDS
    while not any(isinstance(event, kind) for event in where.world.ledger(name).read().events):
        if time.monotonic() > deadline:
            raise SystemExit(f"{name}: no {kind.__name__} in {_BEGINS_SECONDS:g} s; see {where.folder}")
        where.stop.pause(_POLL_SECONDS)


def _await_home(where: Place, name: str, said: datetime) -> WeightsSet:
    deadline = time.monotonic() + _ENDS_SECONDS
    while time.monotonic() < deadline:
        for event in where.world.ledger(name).read().events:
            if isinstance(event, WeightsSet) and event.at > said and event.stable == 100:
                return event
        where.stop.pause(_POLL_SECONDS)
    raise SystemExit(f"{name}: nothing came of the word in {_ENDS_SECONDS:g} s; see {where.folder}")


def shown(found: dict[str, list[float]]) -> Table:
    """Return the table of all ways."""
    table = Table(title=f"From a word to all traffic on stable, metrics read every {SCRAPE}")
    for heading in ("way", "runs", "median s", "slowest s"):
        table.add_column(heading, justify="left" if heading == "way" else "right")
    for way, seconds in found.items():
        table.add_row(way, str(len(seconds)), f"{median(seconds):.2f}", f"{max(seconds):.2f}")
    return table


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="of each way")
    parser.add_argument("--lanes", type=int, default=3, help="embedded backends side by side")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help=f"exit 1 where one takes more than {GOAL_SECONDS:g} s")
    options = parser.parse_args()
    draw, console = random.Random(options.seed), Console()
    turns = [Turn(way, number, draw.uniform(1.0, 6.0)) for number in range(options.runs) for way in options.ways]
    times = side_by_side(options.lanes, turns, lambda part, stop: carried_out(part, stop, console))
    found = {way: [seconds for turn, seconds in times if turn.way == way] for way in options.ways}
    console.print(shown(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))
    slowest = max(max(seconds) for seconds in found.values())
    if options.check and slowest > GOAL_SECONDS:
        sys.exit(f"missed: the slowest took {slowest:.2f} s (goal {GOAL_SECONDS:g})")


if __name__ == "__main__":
    main()
