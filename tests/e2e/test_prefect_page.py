"""What is done to a rollout's run at Prefect's page, and what the page says when processes die: a real server.

One stage for all of them: the tests that kill Prefect's server start it again.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from flows.wiring import Target
from rollout.model import AT_REST, Track
from rollout.record import EndState
from tests.e2e.stage import Stage, kill, until

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with ExitStack() as parts:
        stage = Stage(tmp_path_factory.mktemp("stage"), parts)
        assert stage.prefect.url
        yield stage


@pytest.fixture(autouse=True)
def rest(stage: Stage) -> Iterator[None]:
    yield
    stage.world.inject(None, None)


def cancel(stage: Stage, run: str) -> None:
    """Do what the page's button does."""
    stage.api(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})


def test_a_bare_run_that_is_cancelled_twice_is_rolled_back_and_ends_as_cancelled(stage: Stage) -> None:
    process = stage.run("bare", bake="60s")
    run = stage.carrier("bare")

    cancel(stage, run)
    cancel(stage, run)

    assert process.wait(60) == 3
    assert stage.ended("bare").state is EndState.ROLLED_BACK
    assert stage.world.router.read_weights() == AT_REST
    assert stage.becomes(run, "CANCELLED")["message"] == f"Rolled back: {stage.ended('bare').reason}"


def test_a_served_run_that_is_cancelled_ends_on_stable_and_as_cancelled(stage: Stage) -> None:
    target = Target(state=stage.folder).model_dump(mode="json")
    order = {"plan": stage.plan_with("60s"), "rollout_id": "served", "target": target}
    worker = stage.serve(json.dumps(order))
    run = stage.carrier("served")

    cancel(stage, run)

    assert stage.ended("served").state is EndState.ROLLED_BACK
    assert stage.world.router.read_weights() == AT_REST
    assert stage.becomes(run, "CANCELLED")["message"] == f"Rolled back: {stage.ended('served').reason}"
    worker.terminate()
    worker.wait(30)


def test_a_run_waits_at_its_page_for_an_approval_and_goes_on_with_it(stage: Stage) -> None:
    stage.run("approved", approval="required")
    run = stage.carrier("approved")
    stage.becomes(run, "PAUSED")
    keys = {one["key"] for one in stage.api(f"/flow_runs/{run}/input/filter", {"prefix": "paused", "limit": 10})}
    assert {key.rsplit("-", 1)[1] for key in keys} >= {"schema", "description"}

    answer = {"choice": "approve", "note": "looks good"}
    assert stage.api(f"/flow_runs/{run}/resume", {"run_input": answer})["status"] == "ACCEPT"

    assert stage.ended("approved").state is EndState.PROMOTED
    assert [(said.word, said.reason) for said in stage.events("approved", "said")] == [("approve", "looks good")]
    assert stage.becomes(run, "COMPLETED")["name"] == "Promoted"


def test_a_canary_that_fails_while_its_page_waits_for_an_approval_is_rolled_back(stage: Stage) -> None:
    stage.run("failed", approval="required")
    run = stage.carrier("failed")
    stage.becomes(run, "PAUSED")
    stage.world.inject(Track.CANARY, "errors=60%")

    assert stage.ended("failed").state is EndState.ROLLED_BACK
    assert stage.becomes(run, "FAILED")["name"] == "Rolled back"


def test_pause_and_resume_at_the_page_are_heard(stage: Stage) -> None:
    stage.run("paused", bake="8s")
    run = stage.carrier("paused")

    stage.api(f"/flow_runs/{run}/set_state", {"state": {"type": "PAUSED"}})
    until(lambda: stage.events("paused", "said"))
    stage.api(f"/flow_runs/{run}/resume", {})

    assert stage.ended("paused").state is EndState.PROMOTED
    assert [said.word for said in stage.events("paused", "said")] == ["pause", "resume"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_bare_run_that_is_ended_by_a_signal_ends_on_stable_and_prefect_knows(stage: Stage, number: int) -> None:
    name = f"signal-{number}"
    process = stage.run(name, bake="60s")
    run = stage.carrier(name)

    process.send_signal(number)
    process.send_signal(number)

    assert process.wait(60) not in (0, None)
    assert stage.ended(name).state is EndState.FAILED
    assert stage.world.router.read_weights() == AT_REST
    assert stage.state(run)["type"] in ("CRASHED", "FAILED", "CANCELLED")


def test_prefect_killed_in_a_bake_does_not_stop_the_rollout_and_its_run_is_ended_when_it_is_back(stage: Stage) -> None:
    process = stage.run("alone")
    run = stage.carrier("alone")

    kill(stage.prefect.pid)

    assert stage.ended("alone").state is EndState.PROMOTED
    assert process.wait(60) == 0
    assert stage.state(run)["type"] == "RUNNING"
    guard = stage.start(["guard", "--every", "1s"])
    assert stage.becomes(run, "COMPLETED")["name"] == "Promoted"
    guard.terminate()


def test_the_guard_restores_with_prefect_and_prometheus_down_and_ends_the_run_when_prefect_is_back(
    stage: Stage,
) -> None:
    process = stage.run("orphan", bake="60s")
    run = stage.carrier("orphan")

    os.kill(stage.prometheus_pid, signal.SIGSTOP)  # a dead one would be started again
    try:
        kill(stage.prefect.pid)
        kill(process.pid)
        stage.start(["guard", "--every", "1s"])

        assert stage.ended("orphan").state is EndState.ROLLED_BACK
        assert stage.world.router.read_weights() == AT_REST
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"{stage.world.prometheus_url}/-/ready", timeout=1)
        assert "taken over" in stage.becomes(run, "CRASHED")["message"]
    finally:
        os.kill(stage.prometheus_pid, signal.SIGCONT)
