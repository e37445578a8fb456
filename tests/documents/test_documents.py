"""A change of the split touches two fields and nothing else, whatever people wrote around them."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.cluster.pods.deployments import as_pod, canary_deployment, ready_within
from backends.route_patches import (
    ABORT,
    DRILL,
    EPOCH,
    Destinations,
    abort_of,
    epoch_of,
    last_writer,
    with_drill,
    with_epoch,
    with_mirror,
    with_selector,
    with_subset,
    with_weights,
)
from backends.route_splits import find_split
from rollout.errors import PlanError
from rollout.model import AT_REST, Track, Weights
from rollout.ports import DRILL_HEADER
from tests.documents.routes import SERVICES, WANTED, http_routes, virtual_services
from tests.emulated.shipped import documents, service_at_rest

MIRRORS = ("mirror", "mirrorPercentage")
SHARES = st.lists(st.integers(0, 100), min_size=1, max_size=4)


def _without_weights(document: dict[str, Any], wanted: Destinations) -> str:
    """Return a document as bytes, with the two weights blanked out."""
    places = [place for route in find_split(document, wanted).routes for place in (route.stable, route.canary)]
    blanks = [{"op": "add", "path": f"{place}/weight", "value": "?"} for place in places]
    return json.dumps(jsonpatch.apply_patch(document, blanks))


def _changed(document: dict[str, Any], wanted: Destinations, weights: Weights) -> dict[str, Any]:
    epoch = epoch_of(document) or None
    patch = json.loads(json.dumps(with_weights(document, wanted, weights, epoch=epoch)))
    changed: dict[str, Any] = jsonpatch.apply_patch(document, patch)
    return changed


@settings(max_examples=500, deadline=None)
@given(st.integers(1, 3).flatmap(lambda live: virtual_services(live=live)), SHARES)
def test_a_whole_rollout_leaves_everything_but_two_weights_byte_for_byte(
    document: dict[str, Any], shares: list[int]
) -> None:
    before = _without_weights(document, WANTED)

    for share in (*shares, 0):
        document = _changed(document, WANTED, Weights.with_canary(share))
        assert find_split(document, WANTED).weights == Weights.with_canary(share)
        assert _without_weights(document, WANTED) == before

    assert find_split(document, WANTED).matches(AT_REST)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3).flatmap(lambda live: virtual_services(live=live)))
def test_a_drill_adds_one_route_for_its_mark_alone_and_the_next_write_of_the_split_takes_it_away(
    document: dict[str, Any],
) -> None:
    document = _changed(document, WANTED, AT_REST)
    rules = deepcopy(document["spec"]["http"])

    patch = with_drill(document, WANTED, "m1", timedelta(milliseconds=750), epoch=epoch_of(document) or None)
    drilled = jsonpatch.apply_patch(document, json.loads(json.dumps(patch)))
    after = _changed(drilled, WANTED, AT_REST)

    added = [rule for rule in drilled["spec"]["http"] if rule.get("name") == DRILL]
    assert len(added) == len(find_split(document, WANTED).routes)
    assert [rule for rule in drilled["spec"]["http"] if rule.get("name") != DRILL] == rules
    for rule in added:
        assert all(match["headers"][DRILL_HEADER] == {"exact": "m1"} for match in rule["match"])
        assert [entry["destination"]["subset"] for entry in rule["route"]] == ["canary"]
        assert rule["fault"]["delay"]["fixedDelay"] == "0.75s"
    assert find_split(drilled, WANTED).matches(AT_REST)
    assert after == document


@settings(max_examples=20, deadline=None)
@given(http_routes())
def test_marked_requests_cannot_be_made_to_fail_in_an_http_route(document: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="cannot let marked requests fail, allowed: a VirtualService"):
        with_drill(document, SERVICES, "m1", timedelta(seconds=1))


@settings(max_examples=100, deadline=None)
@given(http_routes(), SHARES)
def test_an_http_route_keeps_everything_but_two_weights(document: dict[str, Any], shares: list[int]) -> None:
    before = _without_weights(document, SERVICES)

    for share in shares:
        document = _changed(document, SERVICES, Weights.with_canary(share))

    assert find_split(document, SERVICES).weights == Weights.with_canary(shares[-1])
    assert _without_weights(document, SERVICES) == before


@settings(max_examples=100, deadline=None)
@given(virtual_services())
def test_a_patch_applies_only_to_the_document_that_was_read(document: dict[str, Any]) -> None:
    patch = list(with_weights(document, WANTED, Weights.with_canary(20)))
    other = deepcopy(document)
    other["metadata"]["resourceVersion"] += "1"

    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(other, patch)


@settings(max_examples=100, deadline=None)
@given(virtual_services(), st.integers(8, 10**6))
def test_a_new_epoch_changes_one_annotation_and_forgets_an_old_abort(document: dict[str, Any], epoch: int) -> None:
    document["metadata"].setdefault("annotations", {})[ABORT] = "yesterday's"
    kept = deepcopy(document["metadata"]["annotations"])

    changed = jsonpatch.apply_patch(document, list(with_epoch(document, epoch)))

    assert (epoch_of(changed), abort_of(changed)) == (epoch, "")
    assert changed["spec"] == document["spec"]
    del kept[ABORT]
    assert changed["metadata"]["annotations"] == kept | {EPOCH: str(epoch)}


def test_an_epoch_of_ones_own_is_tested_before_any_weight_is_written() -> None:
    (document,) = documents("istio/virtual-service.yaml")
    document["metadata"] |= {"resourceVersion": "7", "annotations": {EPOCH: "4"}}

    patch = list(with_weights(document, _SHIPPED, Weights.with_canary(20), epoch=3))

    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        jsonpatch.apply_patch(document, patch)


_SHIPPED = Destinations("stable", "canary", host="canary-app")


def test_the_shipped_route_is_found_beside_the_testers_route_and_is_at_rest() -> None:
    (document,) = documents("istio/virtual-service.yaml")

    split = find_split(document, _SHIPPED)

    assert split.matches(AT_REST)
    (route,) = split.routes
    assert (route.stable, route.canary) == ("/spec/http/2/route/0", "/spec/http/2/route/1")


def test_a_third_destination_with_traffic_is_refused() -> None:
    (document,) = documents("istio/virtual-service.yaml")
    document["spec"]["http"][-1]["route"].append({"destination": {"host": "canary-app", "subset": "old"}, "weight": 5})

    with pytest.raises(PlanError, match="third destination"):
        find_split(document, _SHIPPED)


@pytest.mark.parametrize(
    ("written", "share"), [((80, 30), 27), ((1, 1), 50), ((999, 1), 1), ((1, 999), 99), ((0, 7), 100)]
)
def test_weights_of_any_sum_are_read_as_shares_and_a_little_traffic_is_never_none(
    written: tuple[int, int], share: int
) -> None:
    (document,) = documents("istio/virtual-service.yaml")
    for entry, weight in zip(document["spec"]["http"][-1]["route"], written, strict=True):
        entry["weight"] = weight

    assert find_split(document, _SHIPPED).weights == Weights.with_canary(share)


def test_a_subset_is_pointed_at_another_version() -> None:
    (document,) = documents("istio/destination-rule.yaml")
    document["metadata"]["resourceVersion"] = "7"

    changed = jsonpatch.apply_patch(document, list(with_subset(document, "stable", "v2")))

    assert changed["spec"]["subsets"] == [
        {"name": "stable", "labels": {"version": "v2"}},
        {"name": "canary", "labels": {"version": "v2"}},
    ]


def test_the_last_writer_of_a_field_is_known_by_the_servers_books() -> None:
    fields = {"f:spec": {"f:http": {}}}
    books = [
        {"manager": "canary-pipeline", "operation": "Update", "time": "2026-01-05T09:00:00Z", "fieldsV1": fields},
        {"manager": "argocd", "operation": "Apply", "time": "2026-01-05T09:05:00Z", "fieldsV1": fields},
        {"manager": "kubectl", "operation": "Update", "time": "2026-01-05T09:09:00Z", "fieldsV1": {"f:metadata": {}}},
    ]

    writer = last_writer({"metadata": {"managedFields": books}}, "spec", "http")

    assert str(writer) == "argocd (by server-side apply, 2026-01-05T09:05:00Z)"


def test_the_canarys_deployment_is_stables_with_another_version_and_image() -> None:
    stable = next(one for one in service_at_rest() if one["metadata"]["name"] == "canary-app-v1")
    stable["metadata"] |= {"uid": "u", "resourceVersion": "7", "managedFields": []}

    canary = canary_deployment(stable, name="canary-app-v9", version="v9", container="app", image="shop:v9")

    ours = {"app.kubernetes.io/managed-by": "canary-pipeline"}
    assert canary["metadata"]["labels"] == {"app": "canary-app", "version": "v9", "track": "canary"} | ours
    assert canary["spec"]["selector"]["matchLabels"] == {"app": "canary-app", "version": "v9"}
    assert canary["spec"]["replicas"] == 0
    assert not {"uid", "resourceVersion", "managedFields"} & set(canary["metadata"])
    text = json.dumps(canary)
    assert "v1" not in text.replace("apps/v1", "")
    undone = text.replace("v9", "v1").replace("shop:v1", "canary-app:v1")
    template = json.loads(undone)["spec"]["template"]["spec"]
    assert template == stable["spec"]["template"]["spec"]


TRACKED = {
    "labels": {
        "app": "shop",
        "app.kubernetes.io/instance": "shop",
        "app.kubernetes.io/managed-by": "Helm",
        "argocd.argoproj.io/instance": "shop",
        "helm.sh/chart": "shop-1.2.3",
        "kustomize.toolkit.fluxcd.io/name": "apps",
        "kustomize.toolkit.fluxcd.io/namespace": "flux-system",
        "objectset.rio.cattle.io/hash": "0123",
    },
    "annotations": {
        "argocd.argoproj.io/tracking-id": "shop:apps/Deployment:market/shop-v1",
        "argocd.argoproj.io/sync-wave": "1",
        "deployment.kubernetes.io/revision": "7",
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "meta.helm.sh/release-name": "shop",
        "objectset.rio.cattle.io/applied": "H4sI",
        "objectset.rio.cattle.io/id": "helm-controller",
    },
    "finalizers": ["example.com/kept"],
    "generateName": "shop-",
    "generation": 7,
    "managedFields": [{"manager": "argocd"}],
    "name": "shop-v1",
    "namespace": "market",
    "ownerReferences": [{"kind": "App", "name": "shop", "controller": True, "blockOwnerDeletion": True}],
    "resourceVersion": "812",
    "uid": "4a",
}
"""What Argo CD, Flux, Helm, K3s, kubectl, the server and an owner put on a Deployment."""


def _tracked(selector: dict[str, Any], **spec: Any) -> dict[str, Any]:
    labels = {"app": "shop", "app.kubernetes.io/instance": "shop", "version": "v1", "track": "stable"}
    pods = {"containers": [{"name": "shop", "image": "shop:v1"}]}
    template = {"metadata": {"labels": labels, "creationTimestamp": None}, "spec": pods}
    status = {"readyReplicas": 3, "observedGeneration": 7}
    return {"kind": "Deployment", "metadata": TRACKED, "status": status} | {
        "spec": {"replicas": 3, "selector": selector, "template": template} | spec
    }


def _copied(stable: dict[str, Any]) -> dict[str, Any]:
    return canary_deployment(stable, name="shop-v2", version="v2", container="shop", image="shop:v2")


def test_a_copy_of_stables_deployment_belongs_to_nobody_elses_tool_nor_owner() -> None:
    before = deepcopy(stable := _tracked({"matchLabels": {"app": "shop", "version": "v1"}}, paused=True))

    canary = _copied(stable)

    labels = {"app": "shop", "version": "v2", "track": "canary", "app.kubernetes.io/managed-by": "canary-pipeline"}
    assert canary["metadata"] == {"name": "shop-v2", "labels": labels}
    assert set(canary) == {"apiVersion", "kind", "metadata", "spec"}
    assert set(canary["spec"]) == {"replicas", "selector", "template"}
    assert stable == before


def test_a_copys_pods_keep_the_labels_that_others_select_them_by() -> None:
    template = _copied(_tracked({"matchLabels": {"app": "shop", "version": "v1"}}))["spec"]["template"]

    labels = {"app": "shop", "app.kubernetes.io/instance": "shop", "version": "v2", "track": "canary"}
    assert template["metadata"] == {"labels": labels}


def _in(key: str, *values: str) -> dict[str, Any]:
    return {"key": key, "operator": "In", "values": list(values)}


@pytest.mark.parametrize(
    ("stables", "canarys"),
    [
        ({"matchLabels": {"app": "shop"}}, {"matchLabels": {"app": "shop", "version": "v2"}}),
        (
            {"matchLabels": {"app": "shop", "version": "v1", "track": "stable"}},
            {"matchLabels": {"app": "shop", "version": "v2", "track": "canary"}},
        ),
        (
            {"matchExpressions": [_in("app", "shop"), _in("version", "v1")]},
            {"matchLabels": {"version": "v2"}, "matchExpressions": [_in("app", "shop")]},
        ),
        (
            {
                "matchLabels": {"app": "shop"},
                "matchExpressions": [{"key": "track", "operator": "NotIn", "values": ["x"]}],
            },
            {"matchLabels": {"app": "shop", "version": "v2", "track": "canary"}},
        ),
    ],
)
def test_a_copy_selects_its_own_pods_alone(stables: dict[str, Any], canarys: dict[str, Any]) -> None:
    assert _copied(_tracked(stables))["spec"]["selector"] == canarys


def test_a_copy_waits_and_updates_as_stable_does_and_spreads_its_own_pods() -> None:
    kept = {
        "strategy": {"type": "Recreate"},
        "minReadySeconds": 5,
        "progressDeadlineSeconds": 900,
        "revisionHistoryLimit": 2,
    }
    stable = _tracked({"matchLabels": {"version": "v1"}}, **kept)
    pods = stable["spec"]["template"]["spec"]
    pods["affinity"] = {"podAntiAffinity": {"x": [{"labelSelector": {"matchExpressions": [_in("version", "v1")]}}]}}
    pods["topologySpreadConstraints"] = [{"labelSelector": {"matchLabels": None}}, {"labelSelector": None}]

    spec = _copied(stable)["spec"]

    assert {key: spec[key] for key in kept} == kept
    (term,) = spec["template"]["spec"]["affinity"]["podAntiAffinity"]["x"]
    assert term["labelSelector"]["matchExpressions"] == [_in("version", "v2")]


def _pod(**status: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", "labels": {}}, "status": status}


def test_a_pod_tells_why_it_waits_and_a_restarted_sidecar_is_not_its_fault() -> None:
    app = {
        "name": "app",
        "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137}},
    }
    proxy = {"name": "istio-proxy", "restartCount": 9, "state": {"running": {}}}

    pod = as_pod(_pod(containerStatuses=[proxy, app]), Track.CANARY)

    assert (pod.ready, pod.restarts, pod.waiting) == (False, 3, "CrashLoopBackOff (OOMKilled)")
    assert not pod.cannot_start


@pytest.mark.parametrize(
    "reason", ["ImagePullBackOff", "ErrImagePull", "InvalidImageName", "CreateContainerConfigError"]
)
def test_a_pod_that_cannot_start_says_so(reason: str) -> None:
    app = {"name": "app", "restartCount": 0, "state": {"waiting": {"reason": reason}}}

    pod = as_pod(_pod(containerStatuses=[app]), Track.CANARY)

    assert (pod.waiting, pod.cannot_start) == (reason, True)


def test_a_pod_that_is_starting_waits_for_nothing_and_one_without_a_node_does() -> None:
    starting = {"name": "app", "restartCount": 0, "state": {"waiting": {"reason": "ContainerCreating"}}}
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}]
    pods = [
        as_pod(_pod(**status), Track.CANARY)
        for status in ({"containerStatuses": [starting]}, {"conditions": conditions})
    ]

    assert [(pod.waiting, pod.cannot_start) for pod in pods] == [("", False), ("Unschedulable", False)]


def test_a_pod_that_is_being_deleted_is_not_ready() -> None:
    document = _pod(conditions=[{"type": "Ready", "status": "True"}])
    document["metadata"]["deletionTimestamp"] = "2026-01-05T09:00:00Z"

    pod = as_pod(document, Track.STABLE)

    assert (pod.ready, pod.waiting) == (False, "Terminating")


def test_a_pod_is_ready_once_every_gateway_has_surely_heard_of_it() -> None:
    since = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-05T09:00:00Z"}
    seconds = {
        after: as_pod(_pod(conditions=[since]), Track.CANARY, datetime(2026, 1, 5, 9, 0, after, tzinfo=UTC)).ready
        for after in (0, 1, 2, 59)
    }

    assert seconds == {0: False, 1: False, 2: True, 59: True}
    assert not as_pod(_pod(conditions=[since | {"status": "False"}]), Track.CANARY).ready


@settings(max_examples=200, deadline=None)
@given(virtual_services(), st.integers(1, 100))
def test_a_mirror_comes_and_goes_and_leaves_every_byte_as_it_was(document: dict[str, Any], share: int) -> None:
    place = find_split(document, WANTED).routes[0].rule
    rule = document["spec"]["http"][int(place.rpartition("/")[2])]
    if any(key in rule for key in MIRRORS):
        with pytest.raises(PlanError, match="mirrors to somebody else, allowed: a route without a mirror"):
            with_mirror(document, WANTED, share)
        assert with_mirror(document, WANTED, 0) == ()
        return

    mirrored = jsonpatch.apply_patch(document, with_mirror(document, WANTED, share))
    ended = jsonpatch.apply_patch(mirrored, with_mirror(mirrored, WANTED, 0))

    found = mirrored["spec"]["http"][int(place.rpartition("/")[2])]
    assert (found["mirror"]["subset"], found["mirrorPercentage"]) == ("canary", {"value": float(share)})
    assert find_split(mirrored, WANTED) == find_split(document, WANTED)
    assert json.dumps(ended) == json.dumps(document)


@settings(max_examples=5, deadline=None)
@given(http_routes())
def test_an_http_route_is_no_place_for_a_mirror(document: dict[str, Any]) -> None:
    with pytest.raises(PlanError, match="cannot mirror a percentage"):
        with_mirror(document, SERVICES, 20)


@pytest.mark.parametrize(
    ("spec", "seconds"),
    [
        ({}, None),
        ({"progressDeadlineSeconds": 600}, 600),
        ({"progressDeadlineSeconds": 2**31 - 1}, None),
        ({"template": {"spec": {"containers": [{"startupProbe": {"failureThreshold": 50}}]}}}, 500),
        ({"template": {"spec": {"containers": [{"startupProbe": {"exec": {}}}]}}}, 30),
        (
            {
                "progressDeadlineSeconds": 120,
                "template": {
                    "spec": {
                        "initContainers": [{"startupProbe": {"periodSeconds": 5, "failureThreshold": 100}}],
                        "containers": [{"startupProbe": {"initialDelaySeconds": 400, "periodSeconds": 10}}],
                    }
                },
            },
            500,
        ),
    ],
)
def test_pods_are_given_what_deadline_and_startup_probes_give_them(spec: dict[str, Any], seconds: int | None) -> None:
    assert ready_within({"spec": spec}) == (seconds and timedelta(seconds=seconds))


def test_an_init_container_that_fails_is_named_and_the_meshs_own_is_not_its_fault() -> None:
    out = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
    warm = {"name": "warm", "restartCount": 2, "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": out}
    mesh = {"name": "istio-init", "restartCount": 5, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    app = {"name": "app", "restartCount": 0, "state": {"waiting": {"reason": "PodInitializing"}}}

    pod = as_pod(_pod(containerStatuses=[app], initContainerStatuses=[mesh, warm]), Track.CANARY)

    assert (pod.restarts, pod.out_of_memory) == (2, True)
    assert pod.waiting == "CrashLoopBackOff (OOMKilled) in init container warm"


@pytest.mark.parametrize("labels", [{}, {"labels": None}])
def test_a_subset_without_labels_is_pointed_at_a_version_all_the_same(labels: dict[str, Any]) -> None:
    rule = {"metadata": {"resourceVersion": "7"}, "spec": {"subsets": [{"name": "other"}, {"name": "stable"} | labels]}}

    changed = jsonpatch.apply_patch(rule, list(with_subset(rule, "stable", "v2")))

    assert changed["spec"]["subsets"] == [{"name": "other"}, {"name": "stable", "labels": {"version": "v2"}}]


@pytest.mark.parametrize("spec", [{}, {"selector": None}, {"selector": {}}])
def test_a_service_that_selects_no_pods_is_not_made_to_select_those_of_others(spec: dict[str, Any]) -> None:
    service = {"kind": "Service", "metadata": {"name": "shop", "namespace": "market"}, "spec": spec}

    with pytest.raises(PlanError, match="Service market/shop: selects no pods, allowed: a selector"):
        with_selector(service, "v2")


@pytest.mark.parametrize("epoch", ["", "soon", "-3", "²"])
def test_an_epoch_that_is_no_number_is_the_time_before_the_first_owner(epoch: str) -> None:
    assert epoch_of({"metadata": {"annotations": {EPOCH: epoch}}}) == 0
