"""Traffic that is not split as asked, on the real Envoy: told at once, with the cause that the evidence names."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backends.local.envoy_config import endpoint_file, endpoints
from backends.local.folder import write_atomically
from loadtest.runner import LoadRun, steady_spec
from rollout.load import LoadMode
from rollout.model import Basis, Track
from rollout.ports import Signal, SignalKind
from rollout.record import RolloutRecord
from tests.e2e.meddled import PLAN, Scene, alarms, rolled_out

pytestmark = pytest.mark.e2e
LONG = PLAN.steps[0].model_copy(update={"bake": timedelta(minutes=5), "deadline": timedelta(minutes=10)})
CONSTANT = PLAN.model_copy(
    update={
        "load": PLAN.load.model_copy(update={"mode": LoadMode.CONSTANT, "rate": 100.0}),
        "steps": (LONG, *PLAN.steps[1:]),  # it goes wrong once processes have started, and ends by an abort
    }
)


def mismatches(record: RolloutRecord) -> list[str]:
    verdicts = record.verdicts()
    return [one.reason for verdict in verdicts for one in verdict.findings if one.basis is Basis.SAMPLE_RATIO]


def until_told(scene: Scene, cause: str) -> None:
    """Wait until the cause was told, then end the rollout."""
    try:
        scene.wait(lambda record: any(cause in what for what in alarms(record)))
    finally:
        scene.world.signals("r").send(Signal(SignalKind.ABORT, "seen enough", "a test", datetime.now(UTC)))


def with_testers(scene: Scene) -> None:
    """Let some clients always reach the canary, as testers with their header do."""
    scene.wait_in_step(200)
    order = steady_spec(scene.world.gateway_url, 60.0)
    marked = tuple(request.model_copy(update={"headers": {"x-canary": "always"}}) for request in order.requests)
    testers = LoadRun(order.model_copy(update={"requests": marked}), scene.folder / "testers")
    testers.start()
    try:
        until_told(
            scene, "sticky sessions, long-lived connections or a testers' header that keep clients on the canary"
        )
    finally:
        testers.stop()


def without_endpoints(scene: Scene) -> None:
    """Let the gateway know of no pod of the canary, though it is ready: as a subset that selects none."""
    scene.wait_in_step(200)
    none = endpoints(PLAN.service, Track.CANARY, [], version="none")
    write_atomically(endpoint_file(scene.world.folder.gateway, Track.CANARY), json.dumps(none))
    until_told(scene, "the subset of the canary has no pods")


def test_clients_that_are_kept_on_the_canary_are_told_from_a_gateway_that_splits_otherwise(tmp_path: Path) -> None:
    with rolled_out(tmp_path, with_testers, CONSTANT) as scene:
        record = scene.record()

    assert any("likely cause: sticky sessions" in what for what in alarms(record))
    assert "aborted by a test" in (record.ended.reason if record.ended else "")


def test_a_subset_that_selects_no_pods_is_told_from_the_requests_that_got_none(tmp_path: Path) -> None:
    with rolled_out(tmp_path, without_endpoints, CONSTANT) as scene:
        record = scene.record()

    assert any("likely cause: the subset of the canary has no pods" in what for what in alarms(record))
    assert any("own requests got no pod" in reason for reason in mismatches(record))
