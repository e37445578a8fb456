"""Whatever an API server leaves out or gives as null: an error of ours or none, and no other change than was meant."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.cluster.api.client import Api, connect
from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.environment import World
from backends.cluster.preflight.checks import checks
from rollout.errors import RolloutError
from rollout.model import Track, Weights
from rollout.plan import parse_plan
from tests.emulated.realistic import left_without, paths_of, pods_of, realistic_objects, with_all_on_canary
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import NAMESPACE, ROOT, role_rules
from tests.emulated.store import Key

PLAN = parse_plan((ROOT / "rollout.yaml").read_text())
OBJECTS = realistic_objects()
AT_THE_END = with_all_on_canary(OBJECTS)
PATHS = sorted({path for document in (*OBJECTS, *pods_of(*OBJECTS)) for path in paths_of(document)})
TWENTY = Weights.with_canary(20)
ROUTE = ("virtualservices", NAMESPACE, "canary-app")


@pytest.fixture(scope="module")
def server() -> Iterator[EmulatedCluster]:
    with EmulatedCluster(role_rules()) as running:
        running.put(*OBJECTS)
        yield running


@pytest.fixture(scope="module")
def world(server: EmulatedCluster, tmp_path_factory: pytest.TempPathFactory) -> World:
    kubeconfig = server.kubeconfig(tmp_path_factory.mktemp("config"))
    named = ClusterSettings(kubeconfig=kubeconfig, image="shop:v9", prometheus="http://127.0.0.1:9")
    return World(named, Api(connect(kubeconfig), NAMESPACE, timedelta(seconds=0.5)))


CALLS: dict[str, Callable[[World], Any]] = {
    "preflight": lambda world: checks(world, PLAN),
    "weights": lambda world: world.router.set_weights(TWENTY),
    "drift": lambda world: world.router.drift(TWENTY),
    "mirror": lambda world: world.router.set_mirror(10),
    "drill": lambda world: world.router.set_drill("m1", timedelta(seconds=1)),
    "seize": lambda world: world.router.seize(TWENTY),
    "pods": lambda world: world.workloads.pods(),
    "pod inputs": lambda world: world.workloads.pod_inputs(),
    "scale": lambda world: world.workloads.scale(Track.CANARY, 1),
    "lock": lambda world: world.lock("ada").acquire(),
    "serves": lambda world: world.serves(Track.STABLE),
    "make stable": lambda world: world.make_canary_stable(),
    "signals": lambda world: world.signals("r1").read(),
    "record": lambda world: world.ledger("r1").read(),
    "rollouts": lambda world: (world.rollouts(), world.services()),
}
READS = ("preflight", "drift", "pods", "pod inputs", "serves", "signals", "record", "rollouts")


@settings(
    max_examples=400,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    absent=st.sets(st.sampled_from(PATHS), min_size=1, max_size=3),
    is_null=st.booleans(),
    call=st.sampled_from(sorted(CALLS)),
)
def test_whatever_is_left_out_is_no_accident(
    server: EmulatedCluster, world: World, absent: set[str], is_null: bool, call: str
) -> None:
    server.reset(*(AT_THE_END if call == "make stable" else OBJECTS))
    before = deepcopy(server.store.objects)
    fresh = World(world.settings, world.api)
    server.seen_as = lambda document: left_without(document, absent, is_null=is_null)

    try:
        CALLS[call](fresh)
    except RolloutError:
        pass  # of ours, and so a sentence
    finally:
        server.seen_as = lambda document: document

    after = server.store.objects
    if call in READS:
        assert _versions(after) == _versions(before)
    assert _but_for_ours(after[ROUTE]) == _but_for_ours(before[ROUTE])


def _versions(objects: dict[Key, dict[str, Any]]) -> dict[Key, str]:
    return {key: document["metadata"]["resourceVersion"] for key, document in objects.items()}


def _but_for_ours(route: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a route's rules without what the pipeline may write: the split's weights, a mirror, a drill's rule."""
    rules = [deepcopy(rule) for rule in route["spec"]["http"] if rule.get("name") != "canary-drill"]
    for rule in rules:
        rule.pop("mirror", None)
        rule.pop("mirrorPercentage", None)
    for entry in rules[2]["route"]:
        entry["weight"] = 0
    return rules


def test_the_objects_are_rich_enough(tmp_path: Path) -> None:
    assert len(PATHS) > 150
