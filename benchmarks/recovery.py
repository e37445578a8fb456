"""`kill -9` at seeded moments of real rollouts, and what the guard makes of it: real Envoy, Prometheus and load.

    python -m benchmarks.recovery [--runs 60] [--worker 10] [--server 10] [--lanes 2] [--seed 1] [--json FILE] [--check]

Each run begins a rollout of its own, waits for a phase drawn from all of them and for a moment in it, and kills the
flow's process, or Prefect's worker or server under which it runs. A guard that looks once a second does the rest.

safe        seconds from the kill until somebody steers again or the rollout has ended; 0 where its process lived on
end         how the rollout ended; a killed one is promoted or on stable, never in between
unbroken    every line of the record is an event, in the order of time, none is the dead one's, and the last one agrees
            with the gateway
owners      who began it, and who took it over; never more than two, one after the other
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import yaml
from rich.console import Console
from rich.table import Table

import backends.local.environment as local
from benchmarks.running.demos import CANARY
from benchmarks.running.lanes import Stop, side_by_side
from benchmarks.running.processes import running
from flows.server.prefect_server import PrefectServer
from loadtest.runner import LoadRun, steady_spec
from rollout.events import Ended, EndState, TakenOver
from rollout.model import AT_REST, Track
from rollout.plan import RolloutPlan, parse_plan
from rollout.record import RolloutRecord, parse_events
from wiring.composition import Target

SAFE_SECONDS = 60.0
RATE = 250.0
_STEPS = {"introduce": 20, "increase": 50, "full": 100}
_MARKS = {
    "baseline": '"kind":"started"',
    **{step: f'"reason":"step {step}"' for step in _STEPS},
    "promote": '"decision":"promote"',
    "roll back": '"decision":"roll back"',
}
"""What the record says when a phase begins."""
PHASES = tuple(_MARKS)
_LASTS_SECONDS = {"promote": 0.1, "roll back": 1.5}
_POLL_SECONDS = 0.01
_BEGINS_SECONDS = 300.0
_ENDS_SECONDS = 150.0


@dataclass(frozen=True, slots=True)
class Moment:
    """Which process is killed, in which phase, how long after it began, and what the plan says of orphans."""

    victim: str
    phase: str
    after_seconds: float
    policy: str


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a kill came to."""

    moment: Moment
    found: str
    action: str
    safe_seconds: float
    end: str
    unbroken: bool
    owners: int


def moments(victim: str, runs: int, draw: random.Random) -> list[Moment]:
    """Return seeded moments, spread evenly over the phases and both policies."""
    drawn = []
    for number in range(runs):
        phase, policy = PHASES[number % len(PHASES)], ("restore", "resume")[number // len(PHASES) % 2]
        drawn.append(Moment(victim, phase, draw.uniform(0, _LASTS_SECONDS.get(phase, 3.0)), policy))
    return drawn


def short_plan(policy: str) -> RolloutPlan:
    """Return the demo's plan, in seconds and content with little traffic."""
    plan = yaml.safe_load(Path("demo.yaml").read_text())
    plan["baseline"] = {"observe": "3s"}
    plan["steps"] = [
        {"name": name, "canary": f"{share}%", "replicas": 1, "bake": "3s", "deadline": "60s"}
        for name, share in _STEPS.items()
    ]
    plan["criteria"]["errors"] = {"healthy_below": "10%", "rollback_above": "20%"}
    plan["criteria"]["success"] = {"healthy_above": "85%"}
    plan["criteria"]["latency"] = {"statistic": "mean", "healthy_below": "1s", "rollback_above": "3s"}
    plan["minimum_effect"] = {"latency": "100%"}  # else a kill waits half a minute for enough requests
    plan |= {"timeout": "5s", "warm_up": "1s", "when_orphaned": policy, "when_inconclusive": "rollback"}
    return parse_plan(yaml.safe_dump(plan))


class Lane:
    """One embedded backend under load with a guard, on which rollouts are begun and killed one after the other."""

    def __init__(self, folder: Path, parts: ExitStack, stop: Stop) -> None:
        self._folder, self._parts, self._stop = folder, parts, stop
        self._prefect: PrefectServer | None = None
        plan = short_plan("restore")
        self._world = local.start(folder, plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
        parts.callback(self._world.stop)
        load = LoadRun(steady_spec(self._world.gateway_url, RATE), folder / "load")
        parts.callback(load.stop)
        load.start()
        parts.enter_context(running([CANARY, "guard", "--every", "1s", "--state", str(folder)], folder))
        self._number = 0

    def recover(self, moment: Moment) -> Recovery:
        """Begin a rollout, kill it at its moment, and wait for the end."""
        self._number += 1
        name = f"run-{self._number}"
        self._rest()
        with self._rollout(name, moment) as victim:
            self._await_phase(name, moment)
            self._stop.pause(moment.after_seconds)
            killed_at = datetime.now(UTC)
            os.kill(victim, signal.SIGKILL)
            found = self._found(name)
            record = self._await_end(name)
        return self._recovery(moment, found, record, killed_at, name)

    def _rest(self) -> None:
        self._world.inject(None, None)
        self._world.router.set_weights(AT_REST)
        self._world.workloads.scale(Track.CANARY, 0)

    @contextmanager
    def _rollout(self, name: str, moment: Moment) -> Iterator[int]:
        """Begin the rollout and give the pid of the one to be killed."""
        plan = short_plan(moment.policy)
        if moment.victim == "flow":
            file = self._folder / "plan.yaml"
            file.write_text(yaml.safe_dump(plan.model_dump(mode="json")))
            where = ["--plan", str(file), "--state", str(self._folder), "--backend", "local"]
            with running([CANARY, "run", "--name", name, *where], self._folder) as flow:
                yield flow.pid
            return
        prefect = self._live_prefect()
        order = {"plan": plan.model_dump(mode="json"), "rollout_id": name, "waits_for_person": False}
        order["target"] = Target(state=self._folder).model_dump(mode="json")
        command = [sys.executable, "-m", "flows.server.serve_rollout", json.dumps(order)]
        with running(command, self._folder, prefect.environment()) as worker:
            yield worker.pid if moment.victim == "worker" else prefect.pid or 0
        if moment.victim == "server":
            self._prefect = None

    def _live_prefect(self) -> PrefectServer:
        """Return a server that lives: only those that were killed are started anew, which takes most of a run."""
        if self._prefect is None:
            self._prefect = self._parts.enter_context(PrefectServer(self._folder))
            self._prefect.wait_ready()
        return self._prefect

    def _await_phase(self, name: str, moment: Moment) -> None:
        deadline, is_faulty = time.monotonic() + _BEGINS_SECONDS, False
        while time.monotonic() < deadline:
            lines = "\n".join(self._lines(name))
            if _MARKS[moment.phase] in lines or '"kind":"ended"' in lines:
                return
            if moment.phase == "roll back" and not is_faulty and '"kind":"step started"' in lines:
                self._world.inject(Track.CANARY, "errors=60%")
                is_faulty = True
            self._stop.pause(_POLL_SECONDS)
        raise SystemExit(f"{name}: {moment.phase} not reached in {_BEGINS_SECONDS:g} s; see {self._folder}")

    def _found(self, name: str) -> str:
        asked = json.loads(self._world.ledger(name).load_state() or "{}").get("asked")
        return f"canary {self._world.router.read_weights().canary} %, asked {asked} %"

    def _await_end(self, name: str) -> RolloutRecord:
        deadline = time.monotonic() + _ENDS_SECONDS
        while (record := self._world.ledger(name).read()).ended is None and time.monotonic() < deadline:
            self._stop.pause(0.1)
        return record

    def _lines(self, name: str) -> list[str]:
        file = self._folder / "rollouts" / name / "events.jsonl"
        return file.read_text().splitlines() if file.exists() else []

    def _recovery(self, moment: Moment, found: str, record: RolloutRecord, killed_at: datetime, name: str) -> Recovery:
        taken = next(iter(record.of(TakenOver)), None)
        ended = record.ended
        return Recovery(
            moment=moment,
            found=found,
            action=str(taken.policy) if taken else "none needed",
            safe_seconds=_seconds_to_safe(taken, ended, killed_at),
            end=str(ended.state) if ended else "no end",
            unbroken=self._is_unbroken(name, record, killed_at),
            owners=1 + len(record.of(TakenOver)),
        )

    def _is_unbroken(self, name: str, record: RolloutRecord, killed_at: datetime) -> bool:
        times = [event.at for event in record.events]
        taken = [event.at for event in record.of(TakenOver)]
        of_the_dead = [at for at in times if taken and killed_at < at < taken[0]]
        whole = len(parse_events(self._lines(name))) == len(self._lines(name))
        rest = 100 if record.ended and record.ended.state is EndState.PROMOTED else 0
        agrees = self._world.router.read_weights().canary == rest
        return whole and times == sorted(times) and not of_the_dead and agrees


def _seconds_to_safe(taken: TakenOver | None, ended: Ended | None, killed_at: datetime) -> float:
    if taken is None:
        return 0.0 if ended else float("inf")
    safe = taken if taken.policy == "resume" else ended
    return (safe.at - killed_at).total_seconds() if safe else float("inf")


def carry_out(wanted: Sequence[Moment], stop: Stop, console: Console) -> list[Recovery]:
    """Return what each moment came to, on one lane."""
    found = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as parts:
        lane = Lane(Path(folder), parts, stop)
        for moment in wanted:
            found.append(lane.recover(moment))
            console.print(found[-1], highlight=False)
    return found


def shown(runs: Sequence[Recovery]) -> Table:
    """Return the table of all runs."""
    table = Table(title="kill -9 at seeded moments")
    for heading in ("killed", "phase", "+ s", "plan", "found", "action", "safe s", "end", "unbroken", "owners"):
        table.add_column(heading)
    for run in runs:
        moment = run.moment
        table.add_row(
            moment.victim,
            moment.phase,
            f"{moment.after_seconds:.2f}",
            moment.policy,
            run.found,
            run.action,
            f"{run.safe_seconds:.1f}",
            run.end,
            "yes" if run.unbroken else "NO",
            str(run.owners),
        )
    return table


def is_recovered(run: Recovery) -> bool:
    """Return whether a kill ended as it must."""
    owners = 1 if run.action == "none needed" else 2
    return run.end != "no end" and run.unbroken and run.owners == owners and run.safe_seconds <= SAFE_SECONDS


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=60, help="kills of the flow's process")
    parser.add_argument("--worker", type=int, default=0, help="kills of Prefect's worker")
    parser.add_argument("--server", type=int, default=0, help="kills of Prefect's server")
    parser.add_argument("--lanes", type=int, default=1, help="embedded backends side by side")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 where a kill did not end as it must")
    options = parser.parse_args()
    draw, console = random.Random(options.seed), Console()
    wanted = [
        moment
        for victim, runs in (("flow", options.runs), ("worker", options.worker), ("server", options.server))
        for moment in moments(victim, runs, draw)
    ]
    done = side_by_side(options.lanes, wanted, lambda part, stop: carry_out(part, stop, console))
    runs = [run for _, run in done]
    console.print(shown(runs))
    recovered = sum(map(is_recovered, runs))
    slowest = max((run.safe_seconds for run in runs), default=0.0)
    console.print(f"{recovered} of {len(runs)} recovered, the slowest after {slowest:.1f} s")
    if options.json:
        options.json.write_text(json.dumps({"runs": [asdict(run) for run in runs], "recovered": recovered}, indent=1))
    if options.check and recovered < len(runs):
        sys.exit(f"missed: {len(runs) - recovered} of {len(runs)} did not end as they must")


if __name__ == "__main__":
    main()
