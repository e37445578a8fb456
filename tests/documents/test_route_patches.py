"""What each patch of a route writes, literally: gateways read these names and fields, and people with kubectl do."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta
from typing import Any

import jsonpatch
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.route_patches import (
    check_drill,
    epoch_of,
    has_drill,
    last_writer,
    subset_labels,
    with_drill,
    with_epoch,
    with_mirror,
    with_selector,
    with_subset,
    with_weights,
)
from rollout.errors import PlanError
from rollout.model import Weights
from tests.documents.routes import WANTED, virtual_services

Document = dict[str, Any]
LATE = timedelta(milliseconds=750)
HEADER = "x-canary-drill"
EPOCH = "canary-pipeline/epoch"


def entry(subset: str, weight: int) -> Document:
    return {"destination": {"host": "shop", "subset": subset}, "weight": weight}


def virtual_service(**rule: Any) -> Document:
    live = {"name": "live", "timeout": "3s", "route": [entry("stable", 100), entry("canary", 0)]} | rule
    metadata = {"name": "shop", "namespace": "market", "resourceVersion": "812", "annotations": {EPOCH: "7"}}
    return {"kind": "VirtualService", "metadata": metadata, "spec": {"http": [{"redirect": {"uri": "/"}}, live]}}


def patched(document: Document, patch: Any) -> Document:
    changed: Document = jsonpatch.apply_patch(document, list(patch))
    return changed


def test_a_drills_route_is_the_live_one_but_for_the_mark_and_the_delay() -> None:
    live = virtual_service(mirror={"host": "audit"}, mirrorPercentage={"value": 5}, retries={"attempts": 2})

    drilled = patched(live, with_drill(live, WANTED, "m1", LATE, epoch=7))

    assert drilled["spec"]["http"] == [
        {"redirect": {"uri": "/"}},
        {
            "name": "canary-drill",
            "timeout": "3s",
            "retries": {"attempts": 2},
            "match": [{"headers": {HEADER: {"exact": "m1"}}}],
            "fault": {"delay": {"fixedDelay": "0.75s", "percentage": {"value": 100.0}}},
            "route": [{"destination": {"host": "shop", "subset": "canary"}}],
        },
        live["spec"]["http"][1],
    ]


@settings(max_examples=100, deadline=None)
@given(virtual_services(), st.lists(st.sampled_from([{"uri": {"prefix": "/api"}}, {"port": 80}]), max_size=2))
def test_a_drill_takes_no_request_without_its_mark_and_none_that_the_live_route_would_not(
    document: Document, matches: list[Document]
) -> None:
    """A rule of Istio's without a match takes every request: the drill's must have one, and the mark in each."""
    for rule in document["spec"]["http"]:
        if len(rule.get("route", ())) > 1 and matches:
            rule["match"] = [match | {"headers": {"x-team": {"exact": "a"}}} for match in matches]
    drilled = patched(document, with_drill(document, WANTED, "m1", LATE))
    rules = drilled["spec"]["http"]
    places = [place for place, rule in enumerate(rules) if rule.get("name") == "canary-drill"]

    assert places
    for place in places:
        mine, live = rules[place]["match"], rules[place + 1].get("match") or [{}]
        assert mine == [match | {"headers": match.get("headers", {}) | {HEADER: {"exact": "m1"}}} for match in live]


def test_a_second_drill_is_refused_and_names_the_way_out() -> None:
    live = virtual_service()
    drilled = patched(live, with_drill(live, WANTED, "m1", LATE))

    assert (has_drill(live), has_drill(drilled)) == (False, True)
    check_drill(live)
    for refused in (lambda: check_drill(drilled), lambda: with_drill(drilled, WANTED, "m2", LATE)):
        with pytest.raises(PlanError, match="market/shop: has the route canary-drill of a drill already"):
            refused()


def test_the_routes_of_two_drills_go_together_with_the_next_split() -> None:
    live = virtual_service()
    live["spec"]["http"].append(deepcopy(live["spec"]["http"][1]) | {"name": "api", "match": [{"port": 80}]})
    drilled = patched(live, with_drill(live, WANTED, "m1", LATE))

    assert [rule.get("name") for rule in drilled["spec"]["http"]] == [
        None,
        *["canary-drill", "live"],
        "canary-drill",
        "api",
    ]
    assert patched(drilled, with_weights(drilled, WANTED, Weights(100, 0))) == live


PATCHES = {
    "weights": lambda document: with_weights(document, WANTED, Weights(80, 20), epoch=7),
    "drill": lambda document: with_drill(document, WANTED, "m1", LATE, epoch=7),
    "mirror": lambda document: with_mirror(document, WANTED, 20, epoch=7),
}


@pytest.mark.parametrize("name", PATCHES)
@pytest.mark.parametrize("foreign", [{"resourceVersion": "813"}, {"annotations": {EPOCH: "8"}}])
def test_a_patch_is_refused_by_another_version_and_by_another_owners_route(name: str, foreign: Document) -> None:
    document = virtual_service()
    patch = list(PATCHES[name](document))

    patched(document, patch)
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        patched(document | {"metadata": document["metadata"] | foreign}, patch)


@pytest.mark.parametrize("kind", ["mirror", "mirrors", "mirror_percent", "mirrorPercentage"])
def test_a_mirror_of_somebody_elses_is_neither_replaced_nor_ended(kind: str) -> None:
    document = virtual_service(**{kind: {"host": "audit"}})

    with pytest.raises(PlanError, match="mirrors to somebody else, allowed: a route without a mirror"):
        with_mirror(document, WANTED, 20)
    assert with_mirror(document, WANTED, 0) == ()


def test_a_mirror_copies_this_percentage_to_the_canary_and_can_be_changed_and_ended() -> None:
    live = virtual_service()

    mirrored = patched(live, with_mirror(live, WANTED, 20))
    more = patched(mirrored, with_mirror(mirrored, WANTED, 50))

    assert mirrored["spec"]["http"][1]["mirror"] == {"host": "shop", "subset": "canary"}
    assert mirrored["spec"]["http"][1]["mirrorPercentage"] == {"value": 20.0}
    assert more["spec"]["http"][1]["mirrorPercentage"] == {"value": 50.0}
    assert patched(more, with_mirror(more, WANTED, 0)) == live


@pytest.mark.parametrize("annotations", [None, {}, {EPOCH: "7"}, {EPOCH: "7", "canary-pipeline/abort": "errors"}])
def test_a_new_epoch_is_written_where_there_was_none_and_forgets_an_abort(annotations: Document | None) -> None:
    document = virtual_service()
    document["metadata"]["annotations"] = annotations
    if annotations is None:
        del document["metadata"]["annotations"]

    changed = patched(document, with_epoch(document, 8))

    assert changed["metadata"]["annotations"] == {EPOCH: "8"}
    assert epoch_of(changed) == 8
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        patched(changed | {"metadata": changed["metadata"] | {"resourceVersion": "1"}}, with_epoch(document, 8))


def test_a_subset_keeps_its_other_labels_and_one_that_is_missing_is_named() -> None:
    subsets = [{"name": "stable", "labels": {"version": "v1", "tier": "web"}}, {"name": "canary"}, {"labels": {}}]
    rule = {
        "kind": "DestinationRule",
        "metadata": {"name": "shop", "namespace": "market", "resourceVersion": "5"},
        "spec": {"subsets": subsets},
    }

    changed = patched(rule, with_subset(rule, "stable", "v2"))

    assert changed["spec"]["subsets"] == [{"name": "stable", "labels": {"version": "v2", "tier": "web"}}, *subsets[1:]]
    assert subset_labels(rule) == {"stable": {"version": "v1", "tier": "web"}, "canary": {}}
    with pytest.raises(PlanError, match="DestinationRule market/shop: no subset next"):
        with_subset(rule, "next", "v2")
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        patched(changed | {"metadata": {"resourceVersion": "6"}}, with_subset(rule, "stable", "v2"))


def test_a_services_selector_keeps_its_other_labels() -> None:
    service = {"metadata": {"resourceVersion": "5"}, "spec": {"selector": {"app": "shop", "version": "v1"}}}

    changed = patched(service, with_selector(service, "v2"))

    assert changed["spec"]["selector"] == {"app": "shop", "version": "v2"}
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        patched(service | {"metadata": {"resourceVersion": "6"}}, with_selector(service, "v2"))


def written(manager: str | None, time: str | None, operation: str = "Update", field: str = "http") -> Document:
    fields = {"f:spec": {f"f:{field}": {}}}
    return {"manager": manager, "time": time, "operation": operation, "fieldsType": "FieldsV1", "fieldsV1": fields}


def test_the_writer_of_a_field_is_the_last_of_those_who_own_it() -> None:
    books = [
        written("helm", "2026-01-05T09:00:00Z", "Apply"),
        written("kubectl", "2026-01-05T08:00:00Z"),
        written("argocd", "2026-01-05T10:00:00Z", field="hosts"),
    ]
    document = {"metadata": {"managedFields": books}}

    assert str(last_writer(document, "spec", "http")) == "helm (by server-side apply, 2026-01-05T09:00:00Z)"
    assert str(last_writer(document, "spec", "hosts")) == "argocd (by an update, 2026-01-05T10:00:00Z)"
    assert last_writer(document, "spec", "tls") is None
    assert last_writer({"metadata": {}}, "spec") is None


def test_a_writer_without_name_and_time_is_told_as_such() -> None:
    document = {"metadata": {"managedFields": [written(None, None)]}}

    assert str(last_writer(document, "spec")) == "unknown (by an update, at an unknown time)"
