"""Preflight names each miss and what to do about it, and touches nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import analysis.scrapes.samples
from analysis.scrapes.samples import Series
from backends.cluster.environment import World
from backends.cluster.preflight.checks import Check, checks
from backends.cluster.preflight.permissions import PERMISSIONS
from rollout.errors import UnavailableError
from rollout.model import Track, Weights
from rollout.plan import parse_plan, validate_plan
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
    own: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Whose the series of the plan's own metrics are."""

    def with_timeout(self, timeout: timedelta) -> Samples:
        return self

    def owners(self, metric: str, service: str, since: datetime) -> tuple[str, ...]:
        if "refused" in metric:
            raise UnavailableError("query http://prometheus: HTTP 400 (bad_data)")
        return self.own.get(metric, ())

    def read(self, since: datetime) -> analysis.scrapes.samples.Samples:
        if self.error:
            raise self.error
        at = datetime.now(UTC).timestamp() - self.age
        return analysis.scrapes.samples.Samples.of_rows(
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

    detail = checks(cluster, PLAN)

    assert [check for check in detail if not check.ok] == []
    assert len(detail) > 20
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

    assert miss.detail == f"may not {verb}"
    assert "manifests/permissions/role.yaml" in miss.fix


def test_a_server_that_does_not_answer_is_the_only_miss(cluster: World, server: EmulatedCluster) -> None:
    server.faults.plan(Fault.ERROR, "GET", times=1000)

    (check,) = checks(cluster, PLAN)

    assert (check.name, check.ok) == ("kubernetes", False)
    assert "no answer: 500" in check.detail


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

    assert f"canary-app/{name}: not found" in _misses(cluster)[miss].detail


def _change(server: EmulatedCluster, plural: str, name: str, path: str, value: Any) -> None:
    patch = [{"op": "add", "path": path, "value": value}]
    server.store.patch(plural, "canary-app", name, patch, content="application/json-patch+json", manager="ada")


def test_a_subset_that_selects_another_version_is_named(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    _change(server, "destinationrules", "canary-app", "/spec/subsets/0/labels/version", "v0")

    assert _misses(cluster)["subset stable"].detail == "selects version v0; the plan says v1"


def test_pods_without_a_sidecar_are_named(cluster: World, server: EmulatedCluster, samples: Samples) -> None:
    pod = server.store.list("pods", "canary-app")[0][0]
    _change(server, "pods", pod["metadata"]["name"], "/spec/containers", pod["spec"]["containers"][:1])

    assert _misses(cluster)["sidecars"].detail == f"none in {pod['metadata']['name']}"


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

    assert _misses(cluster)["split at rest"].detail.startswith(
        "stable 80 %, canary 20 %, last written by canary-pipeline"
    )


def test_another_rollout_is_named(cluster: World, samples: Samples) -> None:
    cluster.lock("ada").acquire()

    assert _misses(cluster)["no other rollout"].detail.startswith("steered by ada since 20")


def test_a_clock_that_is_wrong_is_a_miss(cluster: World, server: EmulatedCluster, samples: Samples) -> None:
    server.skew = 60.0

    assert "ahead" in _misses(cluster)["clock"].detail


def test_a_quota_without_room_for_the_canary_is_a_miss(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    status = {"hard": {"pods": "5", "requests.cpu": "2"}, "used": {"pods": "3", "requests.cpu": "300m"}}
    metadata = {"name": "small", "namespace": "canary-app"}
    server.put({"kind": "ResourceQuota", "metadata": metadata, "spec": {}, "status": status})

    assert _misses(cluster)["quota"].detail == "small: pods: 3 more are needed, 2 are left"


def _autoscaled(server: EmulatedCluster, track: str = "v1", *, name: str = "web", **spec: Any) -> None:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": f"canary-app-{track}"}
    metadata = {"name": name, "namespace": "canary-app"}
    if name.startswith("keda-hpa-"):
        metadata["labels"] = {"scaledobject.keda.sh/name": name.removeprefix("keda-hpa-")}  # type: ignore[assignment]
    kind = {"kind": "HorizontalPodAutoscaler", "metadata": metadata}
    server.put(kind | {"spec": {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 20} | spec})


def _scaled_object(server: EmulatedCluster, **spec: Any) -> None:
    metadata = {"name": "shop", "namespace": "canary-app"}
    server.put({"kind": "ScaledObject", "metadata": metadata, "spec": {"triggers": [{"type": "prometheus"}]} | spec})
    _autoscaled(server, name="keda-hpa-shop", minReplicas=1)


def _capacity(cluster: World) -> str:
    (check,) = (one for one in checks(cluster, PLAN) if one.name == "capacity")
    assert check.ok
    return check.detail


def test_where_an_autoscaler_has_more_pods_than_the_plan_the_numbers_are_told_and_the_release_may_start(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    _autoscaled(server)
    _change(server, "deployments", "canary-app-v1", "/spec/replicas", 10)

    assert _misses(cluster) == {}
    assert _capacity(cluster) == (
        "10 pods of v1 carry the traffic now; "
        "the plan gives the canary fewer: introduce has 1 of 2 for 20 %, increase has 3 of 5 for 50 %, "
        "full has 3 of 10 for 100 %; "
        "HorizontalPodAutoscaler web (3 to 20 pods) stays with canary-app-v1 after the promotion, "
        "and canary-app-v2 has none"
    )


def test_a_plan_with_as_many_pods_as_carry_the_traffic_is_told_in_one_number(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    assert _capacity(cluster) == "3 pods of v1 carry the traffic now"


def test_a_canary_with_an_autoscaler_of_its_own_is_not_said_to_have_none(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    _autoscaled(server)
    _autoscaled(server, "v2", name="web-v2")

    assert _capacity(cluster).endswith(
        "HorizontalPodAutoscaler web (3 to 20 pods) stays with canary-app-v1 after the promotion"
    )


def test_a_canary_whose_autoscaler_allows_fewer_pods_than_the_plan_is_a_miss(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    _autoscaled(server, "v2", name="web-v2", minReplicas=1, maxReplicas=2)

    detail = "HorizontalPodAutoscaler web-v2 allows canary-app-v2 2 pods, the plan asks for 3"
    assert _misses(cluster)["canary's autoscaler"].detail == detail


def test_a_stable_that_keda_would_scale_to_none_is_a_miss_for_whoever_may_see_it(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    _scaled_object(server)
    unseen = _capacity(cluster)
    server.rules.append({"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["get"]})

    miss = _misses(cluster)["stable stays warm"]

    detail = "ScaledObject shop lets canary-app-v1 fall to 0 pods while the canary has the traffic"
    assert miss.detail == f"{detail}: a rollback would find none"
    assert miss.fix == "let its minimum be 3"
    assert "ScaledObject shop (at most 20 pods) stays with canary-app-v1" in unseen


@pytest.mark.parametrize(
    ("spec", "least"), [({"minReplicaCount": 2}, 2), ({"triggers": [{"type": "cpu"}, {"type": "memory"}]}, 1)]
)
def test_a_stable_that_keda_leaves_some_pods_may_be_released_beside(
    cluster: World, server: EmulatedCluster, samples: Samples, spec: dict[str, Any], least: int
) -> None:
    server.rules.append({"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["get"]})
    _scaled_object(server, **spec)

    assert _misses(cluster) == {}
    assert f"ScaledObject shop ({least} to 20 pods) stays with canary-app-v1" in _capacity(cluster)


def _behind_two_routes(server: EmulatedCluster, *, names: bool = True) -> None:
    live = server.store.get("virtualservices", "canary-app", "canary-app")["spec"]["http"][2]
    api = live | {"name": "api", "match": [{"uri": {"prefix": "/api"}}]}
    both = [api, live] if names else [{key: one[key] for key in one if key != "name"} for one in (api, live)]
    _change(server, "virtualservices", "canary-app", "/spec/http", both)


def _choosing(cluster: World, route: str) -> World:
    world = World(cluster.settings.model_copy(update={"route": route}), cluster.api)
    world.__dict__["metrics"] = cluster.metrics
    return world


@pytest.mark.parametrize("names", [True, False])
def test_all_routes_to_both_destinations_are_the_split_unless_some_are_named(
    cluster: World, server: EmulatedCluster, samples: Samples, names: bool
) -> None:
    _behind_two_routes(server, names=names)

    assert "route" not in _misses(cluster)
    assert "route" not in _misses(_choosing(cluster, "api,live" if names else "0,1"))


def test_a_route_that_was_left_out_is_named_before_anything_is_touched(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    _behind_two_routes(server)

    miss = _misses(_choosing(cluster, "live"))["route"]

    left_out = "not named, so that its requests stay on stable and the share is not seen: api at /spec/http/0"
    assert miss.detail == f"VirtualService canary-app: live at /spec/http/1; {left_out}"
    assert "--route NAME,NAME" in miss.fix


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"http": None, "tcp": [{"route": [{"destination": {"host": "canary-app"}}]}]}, "it has tcp routes alone"),
        ({"http": [{"route": [{"destination": {"host": "canary-app"}}]}]}, "names no subset of canary-app"),
        (
            {"http": [{"route": [{"destination": {"host": f"canary-app-{track}"}} for track in ("stable", "canary")]}]},
            "splits between the Services canary-app-stable and canary-app-canary, allowed: two subsets of canary-app",
        ),
    ],
)
def test_a_split_of_another_kind_is_refused_in_its_own_words(
    cluster: World, server: EmulatedCluster, samples: Samples, spec: dict[str, Any], why: str
) -> None:
    document = server.store.objects["virtualservices", "canary-app", "canary-app"]
    document["spec"] = {key: value for key, value in (document["spec"] | spec).items() if value is not None}

    assert why in _misses(cluster)["route"].detail


def test_quotas_of_other_classes_of_pods_leave_a_release_possible(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    full = {"hard": {"pods": "0"}, "used": {"pods": "0"}}
    expression = {"scopeName": "PriorityClass", "operator": "In", "values": ["system-cluster-critical"]}
    for name, scopes in {
        "critical-only": {"scopeSelector": {"matchExpressions": [expression]}},
        "best-effort": {"scopes": ["BestEffort"]},
    }.items():
        metadata = {"name": name, "namespace": "canary-app"}
        server.put({"kind": "ResourceQuota", "metadata": metadata, "spec": scopes, "status": full})

    assert "quota" not in _misses(cluster)


def test_pods_are_counted_as_they_were_admitted_and_not_as_they_were_written(
    cluster: World, server: EmulatedCluster, samples: Samples
) -> None:
    expression = {"scopeName": "PriorityClass", "operator": "In", "values": ["everybodys"]}
    spec = {"scopeSelector": {"matchExpressions": [expression]}}
    metadata = {"name": "by-default", "namespace": "canary-app"}
    server.put({"kind": "ResourceQuota", "metadata": metadata, "spec": spec, "status": {"hard": {"pods": "0"}}})
    for pod in server.store.list("pods", "canary-app")[0]:
        _change(server, "pods", pod["metadata"]["name"], "/spec/priorityClassName", "everybodys")

    assert _misses(cluster)["quota"].detail == "by-default: pods: 3 more are needed, 0 are left"


@pytest.mark.parametrize(
    ("change", "miss", "detail"),
    [
        ({"error": UnavailableError("query http://prometheus: refused")}, "series", "refused"),
        ({"age": 300.0}, "series", "300 s old"),
        ({"tracks": ("canary",)}, "series", "canary; the newest"),
        ({"edges": (50.0, float("inf"))}, "latency buckets", "up to 50 ms; the plan's limit is 500 ms"),
    ],
)
def test_a_prometheus_that_cannot_serve_the_judge_is_a_miss(
    cluster: World, samples: Samples, change: dict[str, Any], miss: str, detail: str
) -> None:
    for name, value in change.items():
        setattr(samples, name, value)

    assert detail in _misses(cluster)[miss].detail


OWN = validate_plan(
    PLAN.model_dump(mode="json")
    | {
        "criteria": PLAN.model_dump(mode="json")["criteria"]
        | {
            "ratios": [{"name": "failed checkouts", "events": "orders{status='500'}", "total": "orders"}],
            "gauges": [{"name": "memory", "metric": "memory_bytes", "rollback_above": "512Mi", "for": "2m"}],
        }
    }
)


@pytest.mark.parametrize(
    ("own", "misses"),
    [
        ({"orders": ("stable", ""), "memory_bytes": ("stable",)}, {}),  # nothing has failed yet
        ({"memory_bytes": ("stable",)}, {"ratio failed checkouts": ("orders: no series", "scrape the pods")}),
        (
            {"orders": ("stable",), "memory_bytes": ("", "canary")},
            {"gauge memory": ("memory_bytes: 2 series, none of v1", "version=v1")},
        ),
    ],
)
def test_own_metrics_that_stable_does_not_have_are_misses_but_events_that_have_not_happened(
    cluster: World, samples: Samples, own: dict[str, tuple[str, ...]], misses: dict[str, tuple[str, str]]
) -> None:
    samples.own = own

    missed = {check.name: check for check in checks(cluster, OWN) if not check.ok}

    assert set(missed) == set(misses)
    for name, (detail, fix) in misses.items():
        assert missed[name].detail == detail
        assert fix in missed[name].fix


def test_a_selector_that_the_server_refuses_is_a_miss_of_its_own(cluster: World, samples: Samples) -> None:
    criteria = OWN.criteria.model_copy(
        update={"gauges": (), "ratios": (OWN.criteria.ratios[0].model_copy(update={"total": "refused"}),)}
    )

    missed = {
        check.name: check for check in checks(cluster, OWN.model_copy(update={"criteria": criteria})) if not check.ok
    }

    assert "bad_data" in missed["ratio failed checkouts"].detail
    assert "takes refused" in missed["ratio failed checkouts"].fix


def test_a_canary_that_cannot_run_is_named(cluster: World, server: EmulatedCluster, samples: Samples) -> None:
    _change(server, "deployments", "canary-app-v2", "/spec/template/spec/containers/0/image", "missing:v2")
    cluster.workloads.scale(Track.CANARY, 1)

    assert "ImagePullBackOff" in _misses(cluster)["canary pods"].detail


def test_the_role_that_is_shipped_grants_exactly_what_the_code_asks_for() -> None:
    granted = {
        (group, resource, verb)
        for rule in role_rules()
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }

    assert granted == set(map(tuple, PERMISSIONS))
