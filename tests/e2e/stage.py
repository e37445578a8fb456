"""Real rollouts on a backend of their own, beside a Prefect server that a test may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

import backends.local.world as local
from benchmarks.recovery import short_plan
from flows.prefect_server import PrefectServer
from loadtest.runner import LoadRun, steady_order
from rollout.record import RolloutRecord
from tests.e2e.runs import CANARY, ROOT


class Stage:
    """One embedded backend under load, and what is run on it."""

    def __init__(self, folder: Path, parts: ExitStack, policy: str = "restore") -> None:
        self.folder, self.parts, self.plan = folder, parts, short_plan(policy)
        self.world = local.start(folder, plan=self.plan, scrape=self.plan.scrape, seed=1, owner_pid=os.getpid())
        parts.callback(self.world.stop)
        load = LoadRun(steady_order(self.world.gateway_url, 100), folder / "load")
        parts.callback(load.stop)
        load.start()

    def prefect(self, port: int = 0) -> PrefectServer:
        """Start a server; the same folder is the same database."""
        server = self.parts.enter_context(PrefectServer(self.folder, port=port))
        server.wait_ready()
        return server

    def run(self, server: PrefectServer, *, bake: str = "3s", name: str = "r1") -> subprocess.Popen[bytes]:
        """Begin `canary run` under a server."""
        plan = self.plan.model_dump(mode="json")
        plan["steps"] = [step | {"bake": bake} for step in plan["steps"]]
        file = self.folder / "plan.yaml"
        file.write_text(yaml.safe_dump(plan))
        return self.start(["run", "--name", name, "--plan", str(file)], server.environment())

    def start(self, words: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        """Begin a command; it is ended with the test."""
        command = [CANARY, *words, "--state", str(self.folder), "--backend", "local"]
        return self.parts.enter_context(_child(command, self.folder, environment))

    def serve(self, server: PrefectServer, order: str) -> subprocess.Popen[bytes]:
        """Serve the flow, and start a run of it, as a worker does."""
        command = [sys.executable, "-m", "flows.serve", order]
        return self.parts.enter_context(_child(command, self.folder, server.environment()))

    @property
    def prometheus_pid(self) -> int:
        """The process that counts."""
        children = self.world.folder.processes().children
        return next(child.pid for child in children if child.name == "prometheus")

    def record(self, name: str = "r1") -> RolloutRecord:
        """Return the record as it stands."""
        return self.world.ledger(name).read()

    def has(self, kind: str, name: str = "r1") -> bool:
        """Whether an event of this kind is in the record."""
        return any(event.kind == kind for event in self.record(name).events)


@contextmanager
def _child(command: list[str], folder: Path, environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "children.log").open("ab") as log:
        child = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment, cwd=ROOT)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
            try:
                child.wait(30)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def until(check: Callable[[], Any], seconds: float = 120) -> Any:
    """Return what a check says once that is true."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "did not come to pass"
        time.sleep(0.1)
    return found


def flow_run(server: PrefectServer, flow_run_id: str) -> dict[str, Any]:
    """Return a flow run as the server knows it."""
    found: dict[str, Any] = httpx.get(f"{server.url}/api/flow_runs/{flow_run_id}", timeout=10).json()
    return found


def cancel(server: PrefectServer, flow_run_id: str) -> None:
    """Do what the UI's button does."""
    state = {"type": "CANCELLING", "name": "Cancelling"}
    url = f"{server.url}/api/flow_runs/{flow_run_id}/set_state"
    httpx.post(url, json={"state": state, "force": False}, timeout=10).raise_for_status()


def kill(pid: int | None) -> None:
    """End a process without a word."""
    assert pid
    os.kill(pid, signal.SIGKILL)
