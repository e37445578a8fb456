"""`canary demo` without a fault of the canary, on the real parts: Envoy, Prometheus, Prefect, Locust."""

from __future__ import annotations

import html
import math
from collections.abc import Callable

import pytest

from report.wording import sentence
from rollout.record import EndState, LoadSummary, StepEnded
from tests.e2e.runs import DemoRun, only, processes_using, weights

pytestmark = pytest.mark.e2e
Demo = Callable[..., DemoRun]


def test_a_healthy_canary_is_promoted_and_the_report_says_why(run_demo: Demo) -> None:
    run = run_demo()

    assert (run.code, run.record.ended.state) == (0, EndState.PROMOTED)
    assert weights(run.record) == [0, 20, 50, 100]
    assert sentence(run.record.ended.reason) in html.unescape(run.report).replace("\xa0", " ")
    assert "promoted" in run.output


def test_no_request_is_lost_over_a_whole_rollout(run_demo: Demo) -> None:
    load: LoadSummary = only(run_demo().record, LoadSummary)

    assert load.requests >= 20_000
    assert load.failures == 0


def test_the_observed_share_fits_the_weight_at_every_step(run_demo: Demo) -> None:
    run = run_demo()

    steps = {step.name: step.canary / 100 for step in run.record.started.plan.steps}
    for event in run.record.events:
        if isinstance(event, StepEnded):
            share, requests = steps[event.step], event.requests
            assert abs(event.observed - share) <= 3.29 * math.sqrt(share * (1 - share) / requests)


def test_nothing_is_left_running_after_a_demo(run_demo: Demo) -> None:
    assert processes_using(run_demo().state) == []
