"""Rollouts with topped-up load on the real parts, while Prometheus is away: the clients' own counts do instead."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.load import envoy_counts
from rollout.events import EndState, LoadSummary
from rollout.model import Track
from tests.e2e.meddled import PLAN, Scene, alarms, ended, reasons, rolled_out, with_stopped

pytestmark = pytest.mark.e2e

INSTEAD = "judging by the clients' own counts"


def away_for_a_while(scene: Scene) -> None:
    scene.wait_in_step(200)
    with_stopped(scene, signal.SIGSTOP)
    scene.wait(lambda record: any(INSTEAD in what for what in alarms(record)))
    judged = scene.judged()
    scene.wait(lambda _: scene.judged() > judged + 500)  # all of them the clients'
    with_stopped(scene, signal.SIGCONT)


def test_prometheus_away_and_back_is_bridged_by_the_clients_counts_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    # The gap has to end before the step may: its 500 requests take a busy machine a while.
    (step,) = PLAN.steps
    longer = PLAN.model_copy(update={"steps": (step.model_copy(update={"bake": timedelta(seconds=60)}),)})

    with rolled_out(tmp_path, away_for_a_while, longer) as scene:
        time.sleep(2)  # Envoy flushes its counters once a second
        sent = sum(envoy_counts(tmp_path / "state").values())
        record, judged = scene.record(), scene.judged()

    (load,) = record.of(LoadSummary)
    assert ended(record).state is EndState.PROMOTED
    assert any(INSTEAD in what for what in alarms(record))
    assert any("judged by the clients' own counts since" in reason for reason in reasons(record))
    assert any("of the evidence is synthetic" in reason for reason in reasons(record))
    # Counting the gap twice would add the 500 requests of it at least; what real clients sent in it is not counted.
    assert sent - load.requests < judged < sent


def killed(scene: Scene) -> None:
    scene.wait_in_step(200)
    before = scene.prometheus.pid
    with_stopped(scene, signal.SIGKILL)
    scene.wait(lambda _: scene.prometheus_pids not in ([], [before]))


def test_a_killed_prometheus_is_started_again_and_the_rollout_goes_on(tmp_path: Path) -> None:
    with rolled_out(tmp_path, killed) as scene:
        time.sleep(2)
        sent = sum(envoy_counts(tmp_path / "state").values())
        record, judged = scene.record(), scene.judged()

    assert ended(record).state is EndState.PROMOTED
    assert judged < sent


def bad_meanwhile(scene: Scene) -> None:
    scene.wait_in_step(200)
    with_stopped(scene, signal.SIGSTOP)
    scene.wait(lambda record: any(INSTEAD in what for what in alarms(record)))
    scene.world.inject(Track.CANARY, "errors=30%")
    scene.wait(lambda record: record.ended is not None)


def test_a_canary_that_goes_bad_while_prometheus_is_away_is_rolled_back_on_the_clients_counts_alone(
    tmp_path: Path,
) -> None:
    with rolled_out(tmp_path, bad_meanwhile) as scene:
        record, weights = scene.record(), scene.world.router.read_weights()

    assert ended(record).state is EndState.ROLLED_BACK
    assert "error" in ended(record).reason
    assert weights.canary == 0
    assert any(INSTEAD in what for what in alarms(record))


def load_killed(scene: Scene) -> None:
    scene.wait_in_step(200)
    scene.load.kill()
    scene.wait(lambda record: any("restarted, 1 of 5 times" in what for what in alarms(record)))


def test_a_load_generator_that_is_killed_is_started_again_and_the_canary_promoted(tmp_path: Path) -> None:
    with rolled_out(tmp_path, load_killed) as scene:
        record = scene.record()

    assert ended(record).state is EndState.PROMOTED
    assert any("the load generator ended by itself" in what and "SIGKILL" in what for what in alarms(record))
