"""`canary demo` with a faulty canary, on the real parts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from rollout.record import EndState, LoadSummary
from tests.e2e.runs import DemoRun, only, weights

pytestmark = pytest.mark.e2e
Demo = Callable[..., DemoRun]


@pytest.mark.parametrize(
    ("fault", "said"),
    [("errors=5%", "error"), ("errors=0.5%", "error"), ("latency=+50%", "latency"), ("crash-loop", "pod|crash|ready")],
)
def test_a_faulty_canary_is_rolled_back(run_demo: Demo, fault: str, said: str) -> None:
    run = run_demo("--fault", fault)

    assert (run.code, run.record.ended.state) == (3, EndState.ROLLED_BACK)
    assert weights(run.record) == [0, 20, 0]
    assert re.search(said, run.record.ended.reason)
    assert only(run.record, LoadSummary).failures_by_track.get("stable", 0) == 0
