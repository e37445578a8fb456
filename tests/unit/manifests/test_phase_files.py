from __future__ import annotations

import yaml

from istio.phases import PLAN, RESTING, phase_files, with_weights
from rollout.model import Weights
from rollout.plan import parse_plan
from tests.unit.manifests.kustomized import ISTIO

RESTING_TEXT = RESTING.read_text()
SHIPPED_PLAN = parse_plan(PLAN.read_text())


def test_the_phase_files_are_those_that_the_resting_routes_and_the_plan_make() -> None:
    made = phase_files(RESTING_TEXT, SHIPPED_PLAN)

    shipped = {file.name: file.read_text() for file in ISTIO.glob("virtual-service-*.yaml")}
    assert shipped == made, "run: python istio/phases.py"


def test_the_files_of_the_strategy_are_there() -> None:
    assert set(phase_files(RESTING_TEXT, SHIPPED_PLAN)) == {
        "virtual-service-canary-20.yaml",
        "virtual-service-canary-50.yaml",
        "virtual-service-full.yaml",
        "virtual-service-rollback.yaml",
    }


def test_a_phase_differs_from_rest_in_the_weights_of_the_live_route_alone() -> None:
    resting = yaml.safe_load(RESTING_TEXT)

    for text in phase_files(RESTING_TEXT, SHIPPED_PLAN).values():
        assert with_weights(yaml.safe_load(text), Weights(100, 0)) == resting


def test_a_rollback_is_the_resting_state() -> None:
    rollback = phase_files(RESTING_TEXT, SHIPPED_PLAN)["virtual-service-rollback.yaml"]

    assert yaml.safe_load(rollback) == yaml.safe_load(RESTING_TEXT)


def test_weights_are_set_on_subsets_in_whatever_order_they_stand() -> None:
    routes = [{"destination": {"subset": name}} for name in ("canary", "stable")]
    found = with_weights({"spec": {"http": [{"name": "live", "route": routes}]}}, Weights(80, 20))

    assert [to["weight"] for to in found["spec"]["http"][0]["route"]] == [20, 80]
