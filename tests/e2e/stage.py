"""Real rollouts on a backend of their own, beside a Prefect server that a test may kill."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml

import backends.local.environment as local
from benchmarks.recovery import short_plan
from flows.server.prefect_server import PrefectServer
from loadtest.runner import LoadRun, steady_spec
from rollout.events import Ended
from rollout.record import RolloutRecord
from tests.e2e.runs import CANARY, ROOT


class Stage:
    """One embedded backend under load, and what is run on it."""

    def __init__(self, folder: Path, parts: ExitStack, policy: str = "restore") -> None:
        self.folder, self.parts = folder, parts
        self.plan = short_plan(policy).model_copy(update={"beta": 0.4})  # how busy the machine is must not matter
        self._server: PrefectServer | None = None
        self._asks = parts.enter_context(httpx.Client(trust_env=False, timeout=10))
        self.world = local.start(folder, plan=self.plan, scrape=self.plan.scrape, seed=1, owner_pid=os.getpid())
        parts.callback(self.world.stop)
        load = LoadRun(steady_spec(self.world.gateway_url, 100), folder / "load")
        parts.callback(load.stop)
        load.start()

    @property
    def prefect(self) -> PrefectServer:
        """The server; one that was killed is started again at its old address, with its old database."""
        if self._server is None or self._server.ended:
            port = int(self._server.url.rsplit(":", 1)[1]) if self._server else 0
            self._server = self.parts.enter_context(PrefectServer(self.folder, port=port))
            self._server.wait_ready()
        return self._server

    def run(self, name: str, *, bake: str = "3s", **first_step: Any) -> subprocess.Popen[bytes]:
        """Begin `canary run` under the server."""
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(self.plan_with(bake, **first_step)))
        return self.start(["run", "--name", name, "--plan", str(file)])

    def plan_with(self, bake: str, **first_step: Any) -> dict[str, Any]:
        """Return the plan with another bake time, and more said of its first step."""
        plan = self.plan.model_dump(mode="json")
        first, *others = [step | {"bake": bake, "deadline": "4m"} for step in plan["steps"]]
        return plan | {"steps": [first | first_step, *others]}

    def start(self, words: list[str]) -> subprocess.Popen[bytes]:
        """Begin a command; it is ended with the stage."""
        command = [CANARY, *words, "--state", str(self.folder), "--backend", "local"]
        return self.parts.enter_context(_child(command, self.folder, self._environment))

    @property
    def _environment(self) -> dict[str, str]:
        assert self._server is not None
        return self._server.environment()

    @property
    def prometheus_pid(self) -> int:
        """The process that counts."""
        children = self.world.folder.processes().children
        return next(child.pid for child in children if child.name == "prometheus")

    def record(self, name: str) -> RolloutRecord:
        """Return the record as it stands."""
        return self.world.ledger(name).read()

    def events(self, name: str, kind: str) -> list[Any]:
        """Return the events of a kind that are in the record."""
        return [event for event in self.record(name).events if event.kind == kind]

    def carrier(self, name: str) -> str:
        """Return the flow run that carries a rollout, once its first step has begun."""
        until(lambda: self.events(name, "step started"))
        return str(self.events(name, "started")[0].flow_run)

    def ended(self, name: str) -> Ended:
        """Return how a rollout ended, once it has."""
        found: Ended = until(lambda: self.record(name).ended)
        return found

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        """Ask the server, as its page does."""
        method = "GET" if body is None else "POST"
        answer = self._asks.request(method, f"{self.prefect.url}/api{path}", json=body)
        return answer.raise_for_status().json() if answer.content else None

    def state(self, flow_run: str) -> dict[str, Any]:
        """Return a flow run's state as the server knows it."""
        found: dict[str, Any] = self.api(f"/flow_runs/{flow_run}")["state"]
        return found

    def becomes(self, flow_run: str, kind: str) -> dict[str, Any]:
        """Return the state of a flow run, once it is of a kind."""
        until(lambda: self.state(flow_run)["type"] == kind)
        return self.state(flow_run)


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


def until(check: Callable[[], Any], seconds: float = 240) -> Any:
    """Return what a check says once that is true."""
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "did not come to pass"
        time.sleep(0.3)
    return found


def kill(pid: int | None) -> None:
    """End a process without a word."""
    assert pid
    os.kill(pid, signal.SIGKILL)
