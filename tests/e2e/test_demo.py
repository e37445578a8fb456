"""`canary demo` to its end, on the real parts: Envoy, Prometheus, Prefect, Locust.

One after the other, so that they stand in one file: each takes most of a processor.
"""

from __future__ import annotations

import html
import math
from collections.abc import Callable

import pytest
import yaml

from rollout.events import EndState, LoadSummary, StepEnded
from rollout.formatting import to_sentence
from tests.e2e.runs import ROOT, DemoRun, only, processes_using, weights

pytestmark = pytest.mark.e2e
Demo = Callable[..., DemoRun]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's plan, shorter, and not minding a slow machine; `benchmarks.steadiness` runs the plan itself."""
    plan = yaml.safe_load((ROOT / "demo.yaml").read_text())
    plan["criteria"]["latency"] = {"statistic": "mean", "healthy_below": "1s", "rollback_above": "3s"}
    plan |= {"minimum_effect": {"latency": "100%"}, "beta": "40%", "baseline": {"observe": "10s"}}
    plan["steps"] = [step | {"bake": "10s", "deadline": "5m"} for step in plan["steps"]]
    file = tmp_path_factory.mktemp("plan") / "demo.yaml"
    file.write_text(yaml.safe_dump(plan))
    return str(file)


def test_a_healthy_canary_is_promoted_and_the_report_says_why(run_demo: Demo, plan: str) -> None:
    run = run_demo("--rate", "250", "--plan", plan)

    assert (run.code, run.record.ended.state) == (0, EndState.PROMOTED)
    assert weights(run.record) == [0, 20, 50, 100]
    assert to_sentence(run.record.ended.reason) in html.unescape(run.report).replace("\xa0", " ")
    assert "promoted" in run.output


def test_no_request_is_lost_over_a_whole_rollout(run_demo: Demo, plan: str) -> None:
    load: LoadSummary = only(run_demo("--rate", "250", "--plan", plan).record, LoadSummary)

    assert load.requests >= 6_000
    assert load.failures == 0


def test_the_observed_share_fits_the_weight_at_every_step(run_demo: Demo, plan: str) -> None:
    run = run_demo("--rate", "250", "--plan", plan)

    steps = {step.name: step.canary / 100 for step in run.record.started.plan.steps}
    for event in run.record.events:
        if isinstance(event, StepEnded):
            share, requests = steps[event.step], event.requests
            assert abs(event.observed - share) <= 3.29 * math.sqrt(share * (1 - share) / requests)


def test_nothing_is_left_running_after_a_demo(run_demo: Demo, plan: str) -> None:
    assert processes_using(run_demo("--rate", "250", "--plan", plan).state) == []


def test_a_canary_slightly_worse_than_stable_is_rolled_back_by_the_demo(run_demo: Demo, plan: str) -> None:
    run = run_demo("--rate", "250", "--fault", "errors=0.5%", "--plan", plan)

    assert (run.code, run.record.ended.state) == (3, EndState.ROLLED_BACK)
    assert weights(run.record) == [0, 20, 0]
    assert "error" in run.record.ended.reason
    assert only(run.record, LoadSummary).failures_by_track.get("stable", 0) == 0
