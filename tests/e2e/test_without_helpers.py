"""Real rollouts whose Prefect run is cancelled or killed, or whose helpers are gone."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from flows.wiring import Target
from rollout.model import AT_REST
from rollout.record import EndState
from tests.e2e.stage import Stage, cancel, flow_run, kill, until

pytestmark = pytest.mark.e2e


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as parts:
        yield Stage(tmp_path, parts)


def carrier(stage: Stage) -> str:
    """Return the flow run that carries the rollout, once its first step has begun."""
    until(lambda: stage.has("step started"))
    started = stage.record().started
    assert started is not None
    return started.flow_run


def test_a_bare_run_that_is_cancelled_in_prefect_twice_rolls_back_and_ends_as_cancelled(stage: Stage) -> None:
    prefect = stage.prefect()
    process = stage.run(prefect, bake="60s")
    run = carrier(stage)

    cancel(prefect, run)
    cancel(prefect, run)

    assert process.wait(60) == 3
    ended = stage.record().ended
    assert ended is not None
    assert ended.state is EndState.ROLLED_BACK
    assert "cancelled" in ended.reason
    assert stage.world.router.read_weights() == AT_REST
    state = flow_run(prefect, run)["state"]
    assert state["type"] == "CANCELLED"
    assert state["message"].startswith("Rolled back")


def test_a_served_run_that_is_cancelled_in_prefect_ends_on_stable_and_as_cancelled(stage: Stage) -> None:
    prefect = stage.prefect()
    plan = stage.plan.model_dump(mode="json")
    plan["steps"] = [step | {"bake": "60s"} for step in plan["steps"]]
    target = Target(state=stage.folder).model_dump(mode="json")
    stage.serve(prefect, json.dumps({"plan": plan, "rollout_id": "r1", "target": target}))
    run = carrier(stage)

    cancel(prefect, run)

    assert until(lambda: stage.record().ended, 60).state in (EndState.ROLLED_BACK, EndState.FAILED)
    assert stage.world.router.read_weights() == AT_REST
    until(lambda: flow_run(prefect, run)["state_type"] == "CANCELLED", 60)


def test_prefect_killed_in_a_bake_does_not_stop_the_rollout_and_its_run_is_ended_when_it_is_back(stage: Stage) -> None:
    prefect = stage.prefect()
    process = stage.run(prefect)
    run = carrier(stage)

    kill(prefect.pid)

    ended = until(lambda: stage.record().ended, 60)
    assert ended.state is EndState.PROMOTED
    assert process.wait(60) == 0
    back = stage.prefect(int(prefect.url.rsplit(":", 1)[1]))
    assert flow_run(back, run)["state_type"] == "RUNNING"
    stage.start(["guard", "--every", "1s"], back.environment())
    until(lambda: flow_run(back, run)["state_type"] == "COMPLETED", 120)
    assert flow_run(back, run)["state"]["name"] == "Promoted"


def test_the_guard_restores_with_prefect_and_prometheus_down_and_ends_the_run_when_prefect_is_back(
    stage: Stage,
) -> None:
    prefect = stage.prefect()
    process = stage.run(prefect, bake="60s")
    run = carrier(stage)

    os.kill(stage.prometheus_pid, signal.SIGSTOP)  # a dead one would be started again
    kill(prefect.pid)
    kill(process.pid)
    guard = stage.start(["guard", "--every", "1s"], prefect.environment())

    ended = until(lambda: stage.record().ended, 60)
    assert ended.state is EndState.ROLLED_BACK
    assert stage.world.router.read_weights() == AT_REST
    with pytest.raises(httpx.HTTPError):
        httpx.get(f"{stage.world.prometheus_url}/-/ready", timeout=1)
    back = stage.prefect(int(prefect.url.rsplit(":", 1)[1]))
    until(lambda: flow_run(back, run)["state_type"] == "CRASHED", 90)
    assert "taken over" in flow_run(back, run)["state"]["message"]
    assert guard.poll() is None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_bare_run_under_prefect_that_is_ended_by_a_signal_ends_on_stable_and_prefect_knows(
    stage: Stage, number: int
) -> None:
    prefect = stage.prefect()
    process = stage.run(prefect, bake="60s")
    run = carrier(stage)

    process.send_signal(number)
    process.send_signal(number)

    assert process.wait(60) not in (0, None)
    ended = stage.record().ended
    assert ended is not None
    assert ended.state is EndState.FAILED
    assert stage.world.router.read_weights() == AT_REST
    assert flow_run(prefect, run)["state_type"] in ("CRASHED", "FAILED", "CANCELLED")
