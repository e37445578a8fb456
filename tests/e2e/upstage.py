"""`canary up --prefect` in parts, under load: one server, its workers and one embedded backend for a module's tests."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx
import yaml

import backends.local.environment as local
from flows.server.prefect_server import PrefectServer
from flows.server.prefect_services import prefect_parts
from loadtest.runner import LoadRun, steady_spec
from rollout.plan import parse_plan
from tests.e2e.runs import ROOT
from tests.folders import enterable

_DEMO = yaml.safe_load((ROOT / "demo.yaml").read_text())
PLAN = _DEMO | {
    "baseline": {"observe": "3s"},
    "steps": [
        {"name": "introduce", "canary": "20%", "replicas": 1, "bake": "5s", "deadline": "10m", "approval": "required"},
    ],
    "criteria": {
        "errors": {"healthy_below": "10%", "rollback_above": "20%"},
        "success": {"healthy_above": "85%"},
        "latency": {"healthy_below": "1s", "rollback_above": "3s"},
    },
    "minimum_effect": {"latency": "100%"},  # how busy the machine is must not matter
    "beta": "40%",
    "timeout": "5s",
    "when_inconclusive": "rollback",
}

_LOOKS_OFTEN = {"PREFECT_SERVER_SERVICES_SCHEDULER_LOOP_SECONDS": "5"}
"""A new schedule waits up to a minute for Prefect's own scheduler to look at it."""


@dataclass
class Up:
    """What `canary up --prefect` runs, and questions to Prefect's server."""

    folder: Path
    world: local.World
    prefect: PrefectServer
    asks: httpx.Client

    def api(self, path: str, body: Any = None) -> Any:
        method = "GET" if body is None else "POST"

        def answered() -> httpx.Response | None:
            found = self.asks.request(method, path, json=body)
            return None if found.status_code == httpx.codes.SERVICE_UNAVAILABLE else found  # its SQLite was locked

        answer: httpx.Response = until(answered, f"Prefect's server does not answer {path}")
        return answer.raise_for_status().json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        (found,) = self.api("/deployments/filter", {"deployments": {"name": {"any_": [name]}}})
        return dict(found)

    def start(self, name: str, **parameters: Any) -> str:
        """Create a run of a deployment, as its form does."""
        deployment = self.deployment(name)["id"]
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return str(self.api(f"/deployments/{deployment}/create_flow_run", body)["id"])

    def schedule(self, name: str, schedule: dict[str, Any], **parameters: Any) -> None:
        """Add a schedule to a deployment, as its page does."""
        body = [{"schedule": schedule, "active": True, "parameters": parameters}]
        self.api(f"/deployments/{self.deployment(name)['id']}/schedules", body)

    def next_run(self, flow: str, after: datetime) -> dict[str, Any]:
        """Wait for the first run of a flow that is to start after a moment, and return it."""
        asked = {
            "flows": {"name": {"any_": [flow]}},
            "flow_runs": {"expected_start_time": {"after_": after.isoformat()}},
            "sort": "EXPECTED_START_TIME_ASC",
            "limit": 1,
        }
        (found,) = until(lambda: self.api("/flow_runs/filter", asked), f"no run of {flow} is to start")
        return dict(found)

    def run(self, run: str) -> dict[str, Any]:
        return dict(self.api(f"/flow_runs/{run}"))

    def reaches(self, run: str, *kinds: str) -> dict[str, Any]:
        """Wait for a run to be in a state of one of these types, and return the state."""
        until(lambda: self.run(run)["state_type"] in kinds, f"{run} is not {kinds}")
        return dict(self.run(run)["state"])

    def runs(self, flow: str = "canary_rollout") -> set[str]:
        """Return the runs of a flow."""
        found = self.api("/flow_runs/filter", {"flows": {"name": {"any_": [flow]}}})
        return {one["id"] for one in found}

    def artifacts(self, run: str) -> dict[str, dict[str, Any]]:
        found = self.api("/artifacts/filter", {"artifacts": {"flow_run_id": {"any_": [run]}}})
        return {one["key"]: one for one in found}


@contextmanager
def upstage(folder: Path) -> Iterator[Up]:
    """Run all of it while the body runs."""
    enterable(folder.parent)
    folder.mkdir()
    file, plan = folder / "plan.yaml", parse_plan(yaml.safe_dump(PLAN))
    file.write_text(yaml.safe_dump(PLAN))
    with ExitStack() as parts:
        parts.enter_context(patch.dict(os.environ, _LOOKS_OFTEN))
        world = local.start(folder, plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
        parts.callback(world.stop)
        load = LoadRun(steady_spec(world.gateway_url, 150.0), folder / "load")
        parts.callback(load.stop)
        load.start()
        prefect = parts.enter_context(prefect_parts(folder, file, port=0))
        asks = parts.enter_context(httpx.Client(base_url=f"{prefect.url}/api", trust_env=False, timeout=30))
        yield Up(folder, world, prefect, asks)


def until(condition: Callable[[], Any], complaint: str, *, seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, complaint
        time.sleep(0.5)
    return found
