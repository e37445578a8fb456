"""`canary demo` where no answer is an HTTP 500: lost routes, cut-off answers, gRPC, and clients' own mistakes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import yaml

from rollout.events import EndState, LoadSummary
from tests.e2e.runs import ROOT, DemoRun, only, weights

pytestmark = pytest.mark.e2e
Demo = Callable[..., DemoRun]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The demo's plan, shorter, and not minding a slow machine."""
    plan = yaml.safe_load((ROOT / "demo.yaml").read_text())
    plan["criteria"]["latency"] = {"statistic": "mean", "healthy_below": "1s", "rollback_above": "3s"}
    plan |= {"minimum_effect": {"latency": "100%"}, "beta": "40%", "baseline": {"observe": "10s"}}
    plan["steps"] = [step | {"bake": "10s", "deadline": "5m"} for step in plan["steps"]]
    file = tmp_path_factory.mktemp("plan") / "demo.yaml"
    file.write_text(yaml.safe_dump(plan))
    return str(file)


@pytest.mark.parametrize("fault", ["404", "cut-off=10%", "grpc-unavailable=20%"])
def test_a_canary_that_fails_without_a_500_is_rolled_back(run_demo: Demo, plan: str, fault: str) -> None:
    run = run_demo("--rate", "250", "--fault", fault, "--plan", plan)

    assert (run.code, run.record.ended.state) == (3, EndState.ROLLED_BACK)
    assert weights(run.record) == [0, 20, 0]
    assert only(run.record, LoadSummary).failures_by_track.get("stable", 0) == 0


@pytest.mark.parametrize("noise", ["404=10%", "grpc-not-found=10%"])
def test_what_both_versions_answer_to_their_clients_mistakes_is_nobodys_fault(
    run_demo: Demo, plan: str, noise: str
) -> None:
    run = run_demo("--rate", "250", "--noise", noise, "--plan", plan)

    failures = only(run.record, LoadSummary).failures_by_track
    assert (run.code, run.record.ended.state) == (0, EndState.PROMOTED)
    assert weights(run.record) == [0, 20, 50, 100]
    assert min(failures["stable"], failures["canary"]) > 100
