"""Preflight names each miss and what to do about it, and touches nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

import analysis.samples
from analysis.samples import Series
from backends.cluster.permissions import PERMISSIONS
from backends.cluster.preflight import Check, checks
from backends.cluster.world import World
from rollout.errors import UnavailableError
from rollout.model import Track, Weights
from rollout.plan import parse_plan
from tests.emulated.faults import Fault
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import ROOT, role_rules

PLAN = parse_plan((ROOT / "rollout.yaml").read_text())


@dataclass
class Samples:
    """What Prometheus would answer."""

    age: float = 2.0
    tracks: tuple[str, ...] = ("stable",)
    edges: tuple[float, ...] = (100.0, 1000.0, float("inf"))
    error: Exception | None = None

    def read(self, since: datetime) -> analysis.samples.Samples:
        if self.error:
            raise self.error
        at = datetime.now(UTC).timestamp() - self.age
        return analysis.samples.Samples.of_rows(
            (at, Series(track, "", "duration_ms_bucket", edge), 1.0) for track in self.tracks for edge in self.edges
        )


@pytest.fixture
def samples(cluster: World) -> Samples:
    cluster.__dict__["metrics"] = samples = Samples()
    return samples


def _misses(cluster: World) -> dict[str, Check]:
    return {check.name: check for check in checks(cluster, PLAN) if not check.ok}


def test_a_cluster_with_all_that_is_shipped_is_fit_and_nothing_is_written(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    before = {key: one["metadata"]["resourceVersion"] for key, one in server.store.objects.items()}

    found = checks(cluster, PLAN)

    assert [check for check in found if not check.ok] == []
    assert len(found) > 20
    assert {key: one["metadata"]["resourceVersion"] for key, one in server.store.objects.items()} == before


@pytest.mark.parametrize(
    ("resource", "verb", "said"),
    [
        ("virtualservices", "patch", "permission virtualservices.networking.istio.io"),
        ("configmaps", "create", "permission configmaps"),
        ("deployments/scale", "patch", "permission deployments/scale.apps"),
        ("leases", "get", "permission leases.coordination.k8s.io"),
    ],
)
def test_a_missing_permission_is_named_with_the_role_that_grants_it(
    cluster: World, server: EmulatedCluster, samples: Samples, resource: str, verb: str, said: str
) -> None:
    server.rules = [
        rule | {"verbs": [one for one in rule["verbs"] if one != verb]} if resource in rule["resources"] else rule
        for rule in server.rules
    ]

    miss = _misses(cluster)[said]

    assert miss.found == f"may not {verb}"
    assert "manifests/permissions/role.yaml" in miss.fix


def test_a_server_that_does_not_answer_is_the_only_miss(cluster: World, server: EmulatedCluster) -> None:
    server.faults.plan(Fault.ERROR, "GET", times=1000)

    (check,) = checks(cluster, PLAN)

    assert (check.name, check.ok) == ("kubernetes", False)
    assert "no answer: 500" in check.found


def test_missing_crds_are_named(cluster: World, server: EmulatedCluster, samples: Samples) -> None:
    del server.groups["networking.istio.io"]

    misses = _misses(cluster)

    assert misses["kind VirtualService"].fix == "install Istio: it brings the CRDs"
    assert {"route", "subsets", "split at rest"} <= set(misses)


@pytest.mark.parametrize(
    ("plural", "name", "miss"),
    [
        ("gateways", "canary-app", "gateway canary-app"),
        ("virtualservices", "canary-app", "route"),
        ("destinationrules", "canary-app", "subsets"),
    ],
)
def test_a_missing_object_is_named(
    cluster: World, server: EmulatedCluster, samples: Samples, plural: str, name: str, miss: str
) -> None:
    server.store.delete(plural, "canary-app", name)

    assert f"canary-app/{name}: not found" in _misses(cluster)[miss].found


def _change(server: EmulatedCluster, plural: str, name: str, path: str, value: Any) -> None:
    patch = [{"op": "add", "path": path, "value": value}]
    server.store.patch(plural, "canary-app", name, patch, content="application/json-patch+json", manager="ada")


def test_a_subset_that_selects_another_version_is_named(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    _change(server, "destinationrules", "canary-app", "/spec/subsets/0/labels/version", "v0")

    assert _misses(cluster)["subset stable"].found == "selects version v0; the plan says v1"


def test_pods_without_a_sidecar_are_named(cluster: World, server: EmulatedCluster, samples: Samples) -> None:
    pod = server.store.list("pods", "canary-app")[0][0]
    _change(server, "pods", pod["metadata"]["name"], "/spec/containers", pod["spec"]["containers"][:1])

    assert _misses(cluster)["sidecars"].found == f"none in {pod['metadata']['name']}"


def test_no_sidecar_is_asked_for_where_something_else_counts_and_the_hint_names_its_series(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    pod = server.store.list("pods", "canary-app")[0][0]
    _change(server, "pods", pod["metadata"]["name"], "/spec/containers", pod["spec"]["containers"][:1])
    samples.edges = (50.0,)
    plan = parse_plan((ROOT / "rollout.yaml").read_text() + "\nmetrics: {profile: linkerd}\n")
    world = World(cluster.settings.for_plan(plan), cluster.api)
    world.__dict__["metrics"] = samples

    misses = {check.name: check for check in checks(world, plan) if not check.ok}

    assert set(misses) == {"latency buckets"}
    assert misses["latency buckets"].fix == "let Prometheus keep response_latency_ms_bucket with all its edges"


def test_a_split_that_is_not_at_rest_is_a_miss(cluster: World, samples: Samples) -> None:
    cluster.router.set_weights(Weights.with_canary(20))

    assert _misses(cluster)["split at rest"].found.startswith(
        "stable 80 %, canary 20 %, last written by canary-pipeline"
    )


def test_another_rollout_is_named(cluster: World, samples: Samples) -> None:
    cluster.lock("ada").acquire()

    assert _misses(cluster)["no other rollout"].found.startswith("steered by ada since 20")


def test_a_clock_that_is_wrong_is_a_miss(cluster: World, server: EmulatedCluster, samples: Samples) -> None:
    server.skew = 60.0

    assert "ahead" in _misses(cluster)["clock"].found


def test_a_quota_without_room_for_the_canary_is_a_miss(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    status = {"hard": {"pods": "5", "requests.cpu": "2"}, "used": {"pods": "3", "requests.cpu": "300m"}}
    metadata = {"name": "small", "namespace": "canary-app"}
    server.put({"kind": "ResourceQuota", "metadata": metadata, "spec": {}, "status": status})

    assert _misses(cluster)["quota"].found == "small: pods: 3 more are needed, 2 are left"


@pytest.mark.parametrize(
    ("change", "miss", "found"),
    [
        ({"error": UnavailableError("query http://prometheus: refused")}, "series", "refused"),
        ({"age": 300.0}, "series", "300 s old"),
        ({"tracks": ("canary",)}, "series", "canary; the newest"),
        ({"edges": (50.0, float("inf"))}, "latency buckets", "up to 50 ms; the plan's limit is 500 ms"),
    ],
)
def test_a_prometheus_that_cannot_serve_the_judge_is_a_miss(
    cluster: World, samples: Samples, change: dict[str, Any], miss: str, found: str
) -> None:
    for name, value in change.items():
        setattr(samples, name, value)

    assert found in _misses(cluster)[miss].found


def test_a_canary_that_cannot_run_is_named(cluster: World, server: EmulatedCluster, samples: Samples) -> None:
    _change(server, "deployments", "canary-app-v2", "/spec/template/spec/containers/0/image", "missing:v2")
    cluster.workloads.scale(Track.CANARY, 1)

    assert "ImagePullBackOff" in _misses(cluster)["canary pods"].found


def test_the_role_that_is_shipped_grants_exactly_what_the_code_asks_for() -> None:
    granted = {
        (group, resource, verb)
        for rule in role_rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }

    assert granted == set(map(tuple, PERMISSIONS))
