"""What is done to a rollout's run at Prefect's page, and what the page says when processes die: a real server."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import backends.local.world as local
from flows.prefect_server import PrefectServer
from loadtest.runner import LoadRun, steady_order
from rollout.model import AT_REST, Track
from rollout.plan import parse_plan
from rollout.record import Ended, EndState, Event, Said, StepStarted, TakenOver
from tests.e2e.runs import CANARY, ROOT

pytestmark = pytest.mark.e2e

PLAN = yaml.safe_load((ROOT / "demo.yaml").read_text()) | {
    "baseline": {"observe": "3s"},
    "steps": [
        {"name": "introduce", "canary": "20%", "replicas": 1, "bake": "5s", "deadline": "90s"},
        {"name": "full", "canary": "100%", "replicas": 1, "bake": "3s", "deadline": "90s"},
    ],
    "criteria": {
        "errors": {"healthy_below": "10%", "rollback_above": "20%"},
        "success": {"healthy_above": "85%"},
        "latency": {"healthy_below": "1s", "rollback_above": "3s"},
    },
    "timeout": "5s",
    "when_inconclusive": "rollback",
}


def until(condition: Callable[[], Any], *, seconds: float = 60) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert found, "it did not come about in time"
    return found


@dataclass
class Place:
    """An embedded backend under load and Prefect's server, with rollouts that are started from a terminal."""

    folder: Path
    world: local.World
    prefect: PrefectServer

    def api(self, path: str, body: dict[str, Any] | None = None) -> Any:
        method = "GET" if body is None else "POST"
        answer = httpx.request(method, f"{self.prefect.url}/api{path}", json=body, trust_env=False, timeout=10)
        return answer.raise_for_status().json() if answer.content else None

    def state(self, flow_run: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api(f"/flow_runs/{flow_run}")["state"]
        return found

    def ends_as(self, flow_run: str, kind: str) -> dict[str, Any]:
        until(lambda: self.state(flow_run)["type"] == kind)
        return self.state(flow_run)

    @contextmanager
    def rollout(self, name: str, **plan: Any) -> Iterator[Rollout]:
        file = self.folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(PLAN | plan))
        where = ["--plan", str(file), "--state", str(self.folder), "--backend", "local"]
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                [CANARY, "run", "--name", name, *where],
                env=os.environ | self.prefect.environment(),
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        try:
            yield Rollout(self, name, process)
        finally:
            process.kill()
            process.wait()
            self.world.inject(None, None)

    def guard_looks(self) -> str:
        where = ["--state", str(self.folder), "--backend", "local"]
        command = [CANARY, "guard", "--once", *where]
        environment = os.environ | self.prefect.environment()
        return subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT, check=True).stdout


@dataclass
class Rollout:
    """One rollout in a process of its own."""

    place: Place
    name: str
    process: subprocess.Popen[bytes]

    def events(self, kind: type[Any]) -> list[Any]:
        events: tuple[Event, ...] = self.place.world.ledger(self.name).read().events
        return [event for event in events if isinstance(event, kind)]

    def at_step(self, name: str) -> str:
        """Wait for a step, and return the run's id."""
        until(lambda: any(event.step == name for event in self.events(StepStarted)), seconds=90)
        return str(self.place.world.ledger(self.name).read().started.flow_run)  # type: ignore[union-attr]

    @property
    def ended(self) -> Ended:
        found: Ended = until(lambda: self.events(Ended), seconds=90)[0]
        return found

    def says(self, word: str) -> Said:
        """Wait for a word, and return it."""
        found: Said = until(lambda: [event for event in self.events(Said) if event.word == word])[0]
        return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("page")
    plan = parse_plan(yaml.safe_dump(PLAN))
    with ExitStack() as parts:
        prefect = parts.enter_context(PrefectServer(folder))
        world = local.start(folder, plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
        parts.callback(world.stop)
        load = LoadRun(steady_order(world.gateway_url, 150.0), folder / "load")
        parts.callback(load.stop)
        load.start()
        prefect.wait_ready()
        yield Place(folder, world, prefect)


def test_a_run_that_is_cancelled_at_its_page_is_rolled_back_and_ends_as_cancelled(place: Place) -> None:
    with place.rollout("cancelled") as rollout:
        run = rollout.at_step("introduce")
        for _ in range(2):  # a second click changes nothing
            place.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})

        assert rollout.ended.state is EndState.ROLLED_BACK
        assert place.world.router.read_weights() == AT_REST
        assert rollout.process.wait(30) == 3
        state = place.ends_as(run, "CANCELLED")
        assert state["message"] == f"Rolled back: {rollout.ended.reason}"


def test_a_run_waits_at_its_page_for_an_approval_and_goes_on_with_it(place: Place) -> None:
    steps = [PLAN["steps"][0] | {"approval": "required"}, PLAN["steps"][1]]
    with place.rollout("approved", steps=steps) as rollout:
        run = rollout.at_step("introduce")
        place.ends_as(run, "PAUSED")
        keys = {one["key"] for one in place.api(f"/flow_runs/{run}/input/filter", {"prefix": "paused", "limit": 10})}
        assert any(key.endswith("-schema") for key in keys)
        assert any(key.endswith("-description") for key in keys)

        answer = {"choice": "approve", "note": "looks good"}
        assert place.api(f"/flow_runs/{run}/resume", {"run_input": answer})["status"] == "ACCEPT"

        assert rollout.says("approve").reason == "looks good"
        assert rollout.ended.state is EndState.PROMOTED
        assert place.ends_as(run, "COMPLETED")["name"] == "Promoted"


def test_a_canary_that_fails_while_its_page_waits_for_an_approval_is_rolled_back(place: Place) -> None:
    steps = [PLAN["steps"][0] | {"approval": "required"}, PLAN["steps"][1]]
    with place.rollout("failed", steps=steps) as rollout:
        run = rollout.at_step("introduce")
        place.ends_as(run, "PAUSED")
        place.world.inject(Track.CANARY, "errors=60%")

        assert rollout.ended.state is EndState.ROLLED_BACK
        assert place.ends_as(run, "FAILED")["name"] == "Rolled back"


def test_pause_and_resume_at_the_page_are_heard(place: Place) -> None:
    with place.rollout("paused", steps=[PLAN["steps"][0] | {"bake": "15s"}, PLAN["steps"][1]]) as rollout:
        run = rollout.at_step("introduce")
        place.api(f"/flow_runs/{run}/set_state", {"state": {"type": "PAUSED"}})
        assert rollout.says("pause").who == "somebody at Prefect's page"
        time.sleep(2)

        place.api(f"/flow_runs/{run}/resume", {})

        assert rollout.says("resume")
        assert rollout.ended.state is EndState.PROMOTED


def test_the_guard_tells_prefect_what_a_killed_process_cannot(place: Place) -> None:
    with place.rollout("killed") as rollout:
        run = rollout.at_step("introduce")
        os.kill(rollout.process.pid, signal.SIGKILL)
        rollout.process.wait()

        place.guard_looks()

        assert rollout.ended.state is EndState.ROLLED_BACK
        assert rollout.events(TakenOver)
        told = place.guard_looks()
        assert "was running, now crashed" in told
        assert place.state(run)["type"] == "CRASHED"
        assert "was running" not in place.guard_looks()


def test_a_rollout_goes_on_without_prefects_server_and_the_page_is_put_right_when_it_is_back(place: Place) -> None:
    with place.rollout("alone") as rollout:
        run = rollout.at_step("introduce")
        began = time.monotonic()
        place.prefect.__exit__(None, None, None)

        assert rollout.ended.state is EndState.PROMOTED
        assert time.monotonic() - began < 45
        rollout.process.kill()  # it may still be trying to tell the server
        place.prefect.__enter__()
        place.prefect.wait_ready()
        assert place.state(run)["type"] == "RUNNING"
        time.sleep(61)  # what its own process is given to say so
        assert "was running, now completed" in place.guard_looks()
        assert place.state(run)["name"] == "Promoted"
