"""What Prefect costs a rollout: time beyond what is watched, task runs, and calls to its server.

    python -m benchmarks.overhead [--json FILE] [--check]

One rollout of the demo's plan is started from its deployment, as in the UI, and carried out by a worker on the embedded
backend. Every request of the worker and of the flow's process passes a small proxy that counts it.

overhead        the flow run's time from Running to its end, less the baseline's time, the steps' watches and the time
                until each split was seen in the traffic
task runs       of that flow run
calls a second  while the steps are watched: of the flow's process and its worker together
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console

import backends.local.environment as local
from backends.local.children import end_children, start_child
from flows.server.prefect_server import PrefectServer
from flows.server.prefect_services import POOLS
from loadtest.runner import LoadRun, steady_spec
from rollout.events import (
    EndState,
    StepEnded,
    StepStarted,
    WeightsObserved,
)
from rollout.plan import RolloutPlan, parse_plan
from rollout.record import RolloutRecord
from wiring.interruption import interruptible

GOAL_SECONDS, GOAL_TASK_RUNS, GOAL_CALLS = 5.0, 40, 1.0
_RATE = 500.0
_BEGINS_SECONDS, _ENDS_SECONDS = 120.0, 300.0
_REQUEST = re.compile(rb"(?:GET|POST|PUT|PATCH|DELETE) (/\S*) HTTP/1\.1\r\n")
_LONGEST_LINE = 2000
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\?.*")


@dataclass
class Counting:
    """A proxy on loopback that passes bytes on, and notes each HTTP request that it sees in them."""

    port: int
    """Of the server behind it."""
    calls: list[tuple[datetime, str]] = field(default_factory=list)
    _listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    def __enter__(self) -> Counting:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self.port))
                threading.Thread(target=self._pass, args=(near, far, True), daemon=True).start()
                threading.Thread(target=self._pass, args=(far, near, False), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, is_asking: bool) -> None:
        rest = b""
        with suppress(OSError):
            while data := source.recv(65536):
                if is_asking:
                    rest = self._note(rest + data)
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _note(self, text: bytes) -> bytes:
        """Note the requests in a text, and return what may be the beginning of another."""
        end = 0
        for found in _REQUEST.finditer(text):
            self.calls.append((datetime.now(UTC), _ID.sub("", found[1].decode())))
            end = found.end()
        return text[end:][-_LONGEST_LINE:]


@dataclass(frozen=True)
class Figures:
    """What one rollout came to."""

    overhead_seconds: float
    task_runs: int
    calls_a_second: float
    watched_seconds: float
    calls: dict[str, int]
    """While the steps were watched, by path."""

    def missed(self) -> Iterator[str]:
        """Yield the goals that were not met."""
        if self.overhead_seconds > GOAL_SECONDS:
            yield f"overhead {self.overhead_seconds:.1f} s, allowed {GOAL_SECONDS:g}"
        if self.task_runs > GOAL_TASK_RUNS:
            yield f"{self.task_runs} task runs, allowed {GOAL_TASK_RUNS}"
        if self.calls_a_second > GOAL_CALLS:
            yield f"{self.calls_a_second:.2f} calls a second, allowed {GOAL_CALLS:g}"


def measured(folder: Path) -> Figures:
    """Carry one rollout out, and return its figures."""
    plan = parse_plan(Path("demo.yaml").read_text())
    with ExitStack() as parts:
        server = parts.enter_context(PrefectServer(folder))
        world = local.start(folder, plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
        parts.callback(world.stop)
        load = LoadRun(steady_spec(world.gateway_url, _RATE), folder / "load")
        parts.callback(load.stop)
        load.start()
        server.wait_ready()
        proxy = parts.enter_context(Counting(int(server.url.rpartition(":")[2])))
        api = parts.enter_context(httpx.Client(base_url=f"{server.url}/api", trust_env=False, timeout=30))
        parts.enter_context(_worker(folder, server, proxy))
        run = _begun(api)
        record = _ended(world, run)
        return _figures(plan, record, _settled(api, run), api, proxy)


@contextmanager
def _worker(folder: Path, server: PrefectServer, proxy: Counting) -> Iterator[None]:
    """Run a worker that reaches the server through the proxy, with the rollout's deployment applied."""
    told = server.environment() | {
        "PREFECT_API_URL": f"{proxy.url}/api",
        "CANARY_BACKEND": "local",
        "CANARY_STATE": str(folder.parent),
        "CANARY_PLAN": "demo.yaml",
    }
    start = ["worker", "start", "--pool", POOLS[0], "--type", "process", "--install-policy", "never"]
    worker = start_child("worker", [sys.executable, "-m", "prefect", *start], log=folder / "worker.log", env=told)
    try:
        _until(lambda: httpx.get(f"{server.url}/api/work_pools/{POOLS[0]}", trust_env=False).is_success, "no work pool")
        deploy = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "-n", "canary-rollout"]
        deploying = start_child("deploy", deploy, log=folder / "deploy.log", env=told)
        if deploying.process.wait(_BEGINS_SECONDS):
            sys.exit((folder / "deploy.log").read_text())
        yield
    finally:
        end_children([worker], grace=20)


def _begun(api: httpx.Client) -> str:
    deployment = api.get("/deployments/name/canary_rollout/canary-rollout").raise_for_status().json()["id"]
    body = {"parameters": {"rollout_id": "measured", "waits_for_person": False}, "state": {"type": "SCHEDULED"}}
    made = api.post(f"/deployments/{deployment}/create_flow_run", json=body).raise_for_status().json()
    return str(made["id"])


def _ended(world: local.World, run: str) -> RolloutRecord:
    """Wait for the rollout's end, looking at its record alone: the calls are the flow's."""
    _until(lambda: world.ledger("measured").read().ended, f"no end; see flow run {run}", seconds=_ENDS_SECONDS)
    record = world.ledger("measured").read()
    if record.ended is None or record.ended.state is not EndState.PROMOTED:
        sys.exit(f"not promoted: {record.ended}")
    return record


def _settled(api: httpx.Client, run: str) -> dict[str, Any]:
    found: dict[str, Any] = {}

    def is_over() -> bool:
        found.update(api.get(f"/flow_runs/{run}").raise_for_status().json())
        return found["end_time"] is not None

    _until(is_over, "the flow run does not end")
    return found


def _figures(
    plan: RolloutPlan, record: RolloutRecord, run: dict[str, Any], api: httpx.Client, proxy: Counting
) -> Figures:
    watches = list(_watches(record))
    watched = sum((end - begin).total_seconds() for begin, end in watches)
    seen = sum(event.seconds for event in record.of(WeightsObserved))
    took = (datetime.fromisoformat(run["end_time"]) - datetime.fromisoformat(run["start_time"])).total_seconds()
    calls = Counter(path for at, path in proxy.calls if any(begin <= at <= end for begin, end in watches))
    filtered = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    return Figures(
        overhead_seconds=took - plan.baseline.observe.total_seconds() - watched - seen,
        task_runs=int(api.post("/task_runs/count", json=filtered).raise_for_status().json()),
        calls_a_second=sum(calls.values()) / watched,
        watched_seconds=watched,
        calls=dict(calls.most_common()),
    )


def _watches(record: RolloutRecord) -> Iterator[tuple[datetime, datetime]]:
    begun = {event.step: event.at for event in record.of(StepStarted)}
    yield from ((begun[event.step], event.at) for event in record.of(StepEnded))


def _until(condition: Any, complaint: str, *, seconds: float = _BEGINS_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(complaint)
        time.sleep(0.2)


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 where a goal is missed")
    options = parser.parse_args()
    with interruptible(), tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "demo").mkdir()
        found = measured(Path(folder) / "demo")
    console = Console(highlight=False)
    console.print(f"overhead {found.overhead_seconds:.1f} s (goal {GOAL_SECONDS:g})")
    console.print(f"task runs {found.task_runs} (goal {GOAL_TASK_RUNS})")
    told = f"calls a second {found.calls_a_second:.2f} (goal {GOAL_CALLS:g})"
    console.print(f"{told} in {found.watched_seconds:.0f} s of watching")
    for path, count in found.calls.items():
        console.print(f"  {count:4}  {path}", markup=False)
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=1))
    if options.check and (missed := list(found.missed())):
        sys.exit("; ".join(missed))


if __name__ == "__main__":
    main()
