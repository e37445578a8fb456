"""Faults on the real parts: those of the canary alone, and one of both tracks."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from rollout.criteria import LatencyCriterion
from rollout.events import EndState, LoadSummary, VerdictChanged
from rollout.load import LoadMode
from rollout.model import Basis, Track
from tests.e2e.meddled import PLAN, Scene, ended, rolled_out
from tests.e2e.runs import only, weights

pytestmark = pytest.mark.e2e
LOADED = PLAN.model_copy(
    update={
        "load": PLAN.load.model_copy(update={"mode": LoadMode.CONSTANT, "rate": 150.0}),
        "criteria": PLAN.criteria.model_copy(
            update={
                "latency": LatencyCriterion(healthy_below=timedelta(seconds=1), rollback_above=timedelta(seconds=3))
            }
        ),
        "beta": 0.4,
    }
)
"""How busy the machine is must not matter."""


@pytest.mark.parametrize(("fault", "said"), [("latency=+50%", "latency"), ("crash-loop", "pod|crash|ready")])
def test_a_faulty_canary_is_rolled_back(tmp_path: Path, fault: str, said: str) -> None:
    def inject(scene: Scene) -> None:
        scene.wait_in_step(100)
        scene.world.inject(Track.CANARY, fault)

    with rolled_out(tmp_path, inject, LOADED) as scene:
        record = scene.record()

    assert ended(record).state is EndState.ROLLED_BACK
    assert weights(record) == [0, 30, 0]
    assert re.search(said, ended(record).reason)
    assert only(record, LoadSummary).failures_by_track.get("stable", 0) == 0


def test_an_outage_of_both_tracks_is_held_as_common_mode_and_then_promoted(tmp_path: Path) -> None:
    def inject(scene: Scene) -> None:
        scene.wait_in_step(100)
        scene.world.inject(None, "outage", timedelta(seconds=10))

    with rolled_out(tmp_path, inject, LOADED) as scene:
        record = scene.record()

    verdicts = [event.verdict for event in record.of(VerdictChanged)]
    assert any(finding.basis is Basis.COMMON_MODE for verdict in verdicts for finding in verdict.findings)
    assert ended(record).state is EndState.PROMOTED
