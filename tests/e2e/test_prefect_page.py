"""What is done to a rollout's run at Prefect's page, and what the page says when processes die: a real server.

One stage for all of them: the tests that kill Prefect's server start it again.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from rollout.events import EndState
from rollout.model import AT_REST, Track
from tests.e2e.stage import Stage, kill

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
    stage.world.router.set_weights(AT_REST)  # a rollout begins nowhere else


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


def test_a_canary_that_fails_while_its_page_waits_for_an_approval_is_rolled_back(stage: Stage) -> None:
    stage.run("failed", approval="required")
    run = stage.carrier("failed")
    stage.becomes(run, "PAUSED")
    stage.world.inject(Track.CANARY, "errors=60%")

    assert stage.ended("failed").state is EndState.ROLLED_BACK
    assert stage.becomes(run, "FAILED")["name"] == "Rolled back"


def test_a_bare_run_that_is_ended_by_a_signal_ends_on_stable_and_prefect_knows(stage: Stage) -> None:
    process = stage.run("ended", bake="60s")
    run = stage.carrier("ended")

    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)

    assert process.wait(60) not in (0, None)
    assert stage.ended("ended").state is EndState.FAILED
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
