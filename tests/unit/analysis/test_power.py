from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.judge import Judge
from analysis.offline.power import Power, plan_power
from analysis.offline.traffic import HEALTHY, Effect, assumed_traffic, measured_traffic, simulate_scrapes, slowed
from rollout.plan import RolloutPlan, parse_plan

PLAN = parse_plan(Path("rollout.yaml").read_text())
QUICK = RolloutPlan.model_validate(
    PLAN.model_dump(mode="json")
    | {
        "steps": [
            {"name": "some", "canary": "20%", "replicas": 1, "bake": "5m"},
            {"name": "all", "canary": "100%", "replicas": 3, "bake": "5m"},
        ],
        "warm_up": "10s",
    }
)
JUDGE = Judge.for_plan(QUICK)
NO_CANARY = {"share": 0.0, "began": 0.0, "span": 5.0}
BUSY = assumed_traffic(500, error_ratio=0.0001)
GROSS = (Effect("errors x10", error_factor=10), Effect("errors 5 %", error_ratio=0.05), Effect("slow", slowdown=1.5))


@pytest.fixture(scope="module")
def busy() -> Power:
    return plan_power(JUDGE, BUSY, effects=GROSS, runs=10)


def test_gross_faults_are_found_and_the_grosser_the_sooner(busy: Power):
    times = {each.effect: each.median for each in busy.detections}

    assert all(each.detected == 1 for each in busy.detections)
    assert times["errors 5 %"] <= times["errors x10"]
    assert all(each.median <= each.p90 for each in busy.detections)


def test_a_healthy_canary_is_promotable_where_there_is_traffic_enough(busy: Power):
    some, whole = busy.steps

    assert some.passed == whole.passed == 1
    assert some.median <= some.p90 <= some.bake
    assert busy.promoted_after == 600
    assert busy.false_rollbacks == 0


def test_the_rate_needed_is_below_a_rate_that_is_enough_and_asks_for_no_more_load(busy: Power):
    assert 0 < busy.steps[0].rate_needed < 500
    assert busy.steps[0].top_up(500) == 0


def test_the_rate_needed_makes_the_bake_time_sufficient(busy: Power):
    idle = plan_power(JUDGE, replace(BUSY, rps=5.0), effects=(), runs=10)
    needed = idle.steps[0].rate_needed

    assert idle.steps[0].passed == 0
    assert idle.promoted_after is None
    assert needed == pytest.approx(busy.steps[0].rate_needed, rel=0.25)
    assert idle.steps[0].top_up(5.0) == pytest.approx(needed - 5)
    assert plan_power(JUDGE, replace(BUSY, rps=needed), effects=(), runs=10).steps[0].passed >= 0.7


def test_the_same_seed_gives_the_same_answer(busy: Power):
    assert plan_power(JUDGE, BUSY, effects=GROSS, runs=10) == busy


def test_what_is_never_found_has_no_time():
    tiny = Effect("hardly any", error_factor=1.01)

    (detection,) = plan_power(JUDGE, assumed_traffic(1), effects=(tiny,), runs=4).detections

    assert (detection.median, detection.p90, detection.detected) == (None, None, 0.0)


def test_assumed_traffic_is_a_distribution_with_its_mean():
    traffic = assumed_traffic(10, median_ms=40, sigma=0.8)

    assert sum(traffic.distribution) == pytest.approx(1)
    assert traffic.latency_ms == pytest.approx(55.08, abs=0.01)  # 40 exp(0.32)


def test_measured_traffic_is_what_was_simulated():
    history = simulate_scrapes(np.random.default_rng(1), BUSY, HEALTHY, **NO_CANARY, count=720)

    measured = measured_traffic(history)

    assert measured.rps == pytest.approx(500, rel=0.01)
    assert measured.error_ratio == pytest.approx(0.0001, rel=0.25)
    assert measured.latency_ms == pytest.approx(BUSY.latency_ms, rel=0.01)
    assert np.array(measured.distribution) == pytest.approx(np.array(BUSY.distribution), abs=0.001)


def test_nothing_measured_is_no_traffic():
    silent = simulate_scrapes(
        np.random.default_rng(1), replace(BUSY, rps=0.0), HEALTHY, share=0, began=0, span=5, count=3
    )

    with pytest.raises(ValueError, match="no requests"):
        measured_traffic(silent)


def test_a_slower_law_moves_up_by_its_factor():
    edges = (*np.geomspace(0.1, 1e5, 400), math.inf)
    law = np.diff([0, *np.searchsorted([10.0, 20.0], edges, side="left") / 2])

    slow = slowed(tuple(law), edges, 3.0)

    assert slow.sum() == pytest.approx(1)
    # steps at 10 and 20 become steps at 30 and 60
    assert np.cumsum(slow)[np.searchsorted(edges, [29, 31, 58, 62])] == pytest.approx([0, 0.5, 0.5, 1], abs=0.02)
