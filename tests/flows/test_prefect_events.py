"""A real Prefect server: the flows' notices become its events, and the automation of the docs acts on one."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.server.prefect_server import PrefectServer
from tests.fakes import START

ROOT = Path(__file__).parents[2]
PREFECT = str(Path(sys.executable).with_name("prefect"))
PLACE = "00000000-0000-0000-0000-000000000000"

FLOW = """
import sys
from flows import canary
from datetime import timedelta
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import Process

world = FakeWorld()
world.clock.after(timedelta(seconds=9), lambda: setattr(world.metrics.behaviour["canary"], "errors", 0.5))
process = Process(world, "ada")
canary.open_run = lambda plan, target, name: process.run(name, plan)
canary.check_fitness = lambda *_: None
canary.canary_rollout(process.plan, rollout_id="r1", waits_for_person=False, return_state=True)
(last,) = [notice for notice in world.notices.sent if notice.occasion == "rolled-back"]
print(last.links["Prefect"])
"""

DRILL_AND_ROLLBACK = """
from conductor.commands import drill as drills
from conductor.commands.drill import PARTS
from flows import drill, operations
from wiring import drill_run
from rollout.events import DrillEnded
from tests.fakes import START, FakeWorld
from tests.unit.conductor.processes import PLAN, Process

drilled = FakeWorld()

def under_load(run, started, marker, order, do):
    ended = drills.carry_out(run, started, marker, do=do)
    print(ended.state)
    return DrillEnded(at=START, stopped="", seconds=dict.fromkeys(PARTS, 1.0), marked=9, counted=9, strays=0)

drill_run.open_world = lambda *_: drilled
drill_run.open_run = lambda plan, target, name: Process(drilled, "bob", plan).run(name)
drill_run.check_fitness = lambda *_: None
drill_run.gateway_of = lambda _: "http://127.0.0.1:9"
drill_run._under_load = under_load
print(drill.rollback_drill(PLAN, return_state=True).name)

world = FakeWorld()
process = Process(world, "ada")
print(process.carry_out("r2").state)
operations.command_context = lambda *_, **__: process.desk
print(operations.emergency_rollback("checkout is down", return_state=True).name)
(last,) = [notice for notice in world.notices.sent if notice.occasion == "rolled-back"]
print(last.links["Prefect"])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    with PrefectServer(tmp_path_factory.mktemp("server")) as started:
        started.wait_ready()
        yield started


def run(server: PrefectServer, *words: str) -> str:
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"} | server.environment()
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, env=environment, check=False, timeout=200)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def asked(server: PrefectServer, path: str, **body: Any) -> Any:
    def answer() -> httpx.Response | None:
        found = httpx.post(f"{server.url}/api/{path}", json=body, timeout=30)
        return None if found.status_code == httpx.codes.SERVICE_UNAVAILABLE else found  # its SQLite was locked

    return eventually(answer).raise_for_status().json()


def events(server: PrefectServer) -> list[dict[str, Any]]:
    wanted = {"event": {"prefix": ["canary."]}, "occurred": {"since": START.isoformat()}}  # on the fakes' clock
    found: list[dict[str, Any]] = asked(server, "events/filter", filter=wanted, limit=50)["events"]
    return found


def eventually(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + 60
    while not (seen := found()) and time.monotonic() < until:
        time.sleep(0.2)
    return seen


def test_a_rollback_becomes_an_event_and_the_docs_automation_pauses_the_deployment(
    server: PrefectServer, tmp_path: Path
) -> None:
    flow = asked(server, "flows/", name="canary_rollout")
    deployment = asked(server, "deployments/", name="canary-rollout", flow_id=flow["id"])["id"]
    automation = (ROOT / "docs" / "automation.yaml").read_text()
    (tmp_path / "automation.yaml").write_text(automation.replace(PLACE, deployment))
    run(server, PREFECT, "automation", "create", "--from-file", str(tmp_path / "automation.yaml"))

    page = run(server, sys.executable, "-c", FLOW).strip().splitlines()[-1]

    def is_paused() -> bool:
        found = httpx.get(f"{server.url}/api/deployments/{deployment}", timeout=30).json()
        return bool(found["paused"])

    assert eventually(is_paused)
    flow_run = page.removeprefix(f"{server.url}/runs/flow-run/")

    def told() -> list[dict[str, Any]]:
        return [event for event in events(server) if event["resource"]["canary.rollout"] == "r1"]

    def names() -> list[str]:
        return sorted(event["event"] for event in told())

    assert eventually(lambda: {"canary.started", "canary.step", "canary.rolled-back"} <= set(names())), names()
    (ended,) = [event for event in told() if event["event"] == "canary.rolled-back"]
    assert ended["resource"]["prefect.resource.id"] == "canary.service.canary-app"
    assert f"prefect.flow-run.{flow_run}" in [one["prefect.resource.id"] for one in ended["related"]]
    assert "error" in ended["payload"]["reason"]
    assert ended["payload"]["figures"]["step"] == "introduce"


def test_an_emergency_rollback_after_a_promotion_is_an_event_and_a_drill_is_none(server: PrefectServer) -> None:
    *said, page = run(server, sys.executable, "-c", DRILL_AND_ROLLBACK).strip().splitlines()

    assert said == ["rolled back", "Proven", "promoted", "Restored"]

    def told() -> list[dict[str, Any]]:
        return [event for event in events(server) if event["resource"]["canary.rollout"] != "r1"]

    assert eventually(told)
    (ended,) = told()
    assert (ended["event"], ended["payload"]["rollout"]) == ("canary.rolled-back", "r2")
    assert ended["resource"]["prefect.resource.id"] == "canary.service.canary-app"
    flow_run = page.removeprefix(f"{server.url}/runs/flow-run/")
    assert f"prefect.flow-run.{flow_run}" in [one["prefect.resource.id"] for one in ended["related"]]
    assert "checkout is down, after it had ended as promoted" in ended["payload"]["reason"]
