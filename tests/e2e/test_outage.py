"""`canary demo` with an outage that hits both versions, on the real parts."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rollout.record import DecisionMade, VerdictChanged
from tests.e2e.runs import DemoRun

pytestmark = pytest.mark.e2e
Demo = Callable[..., DemoRun]


def test_an_outage_of_both_tracks_is_held_as_common_mode_and_then_promoted(run_demo: Demo) -> None:
    run = run_demo("--fault", "outage")

    verdicts = [event for event in run.record.events if isinstance(event, VerdictChanged)]
    decisions = [event.decision for event in run.record.events if isinstance(event, DecisionMade)]
    assert run.code == 0
    assert "roll back" not in decisions
    assert any(finding.basis == "common mode" for event in verdicts for finding in event.verdict.findings)
