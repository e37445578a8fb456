"""Which routes split the traffic, whichever way they are written, and in what words none does."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import jsonpatch
import pytest

from backends.route_patches import with_mirror, with_weights
from backends.route_splits import Destinations, find_split, unselected_routes
from rollout.errors import PlanError
from rollout.model import AT_REST, Weights
from tests.emulated.shipped import documents

WANTED = Destinations("stable", "canary", host="shop")
TWENTY = Weights.with_canary(20)


def _to(host: str, subset: str = "", weight: int | None = None) -> dict[str, Any]:
    destination = {"host": host} | ({"subset": subset} if subset else {})
    return {"destination": destination} | ({} if weight is None else {"weight": weight})


def _both(stable: int = 100, canary: int = 0, host: str = "shop") -> list[dict[str, Any]]:
    return [_to(host, "stable", stable), _to(host, "canary", canary)]


def _service(*routes: list[dict[str, Any]], names: tuple[str, ...] = (), **spec: Any) -> dict[str, Any]:
    http = [{"route": route} | ({"name": names[number]} if names else {}) for number, route in enumerate(routes)]
    metadata = {"name": "shop", "namespace": "market", "resourceVersion": "7"}
    return {"kind": "VirtualService", "metadata": metadata, "spec": ({"http": http} if http else {}) | spec}


def _named(names: str) -> Destinations:
    return Destinations("stable", "canary", host="shop", route=names)


def _places(document: dict[str, Any], names: str = "") -> list[str]:
    return [route.rule for route in find_split(document, _named(names)).routes]


TESTERS = [_to("shop", "canary")]
API_AND_REST = _service(TESTERS, _both(), _both(), names=("testers", "api", "live"))


def test_every_route_between_both_destinations_gets_the_split_in_one_patch() -> None:
    patch = with_weights(API_AND_REST, WANTED, TWENTY)

    changed = jsonpatch.apply_patch(API_AND_REST, json.loads(json.dumps(patch)))

    expected = deepcopy(API_AND_REST)
    for number in (1, 2):
        expected["spec"]["http"][number]["route"] = _both(80, 20)
    assert changed == expected
    assert find_split(changed, WANTED).matches(TWENTY)


def test_the_mirror_of_two_routes_comes_and_goes_with_both() -> None:
    mirrored = jsonpatch.apply_patch(API_AND_REST, list(with_mirror(API_AND_REST, WANTED, 10)))

    assert [rule.get("mirrorPercentage") for rule in mirrored["spec"]["http"]] == [
        None,
        {"value": 10.0},
        {"value": 10.0},
    ]
    assert jsonpatch.apply_patch(mirrored, list(with_mirror(mirrored, WANTED, 0))) == API_AND_REST


@pytest.mark.parametrize(
    ("names", "places"),
    [
        ("", ["/spec/http/1", "/spec/http/2"]),
        ("api", ["/spec/http/1"]),
        ("live, api", ["/spec/http/1", "/spec/http/2"]),
    ],
)
def test_routes_are_chosen_by_their_names(names: str, places: list[str]) -> None:
    assert _places(API_AND_REST, names) == places


def test_routes_without_names_are_chosen_by_their_index() -> None:
    assert _places(_service(TESTERS, _both(), _both()), "2") == ["/spec/http/2"]


@pytest.mark.parametrize("names", ["testers", "nobody", "api,nobody", "1"])
def test_a_named_route_that_does_not_split_is_refused_with_those_that_do(names: str) -> None:
    wrong = names.rpartition(",")[2]
    allowed = "allowed: api at /spec/http/1, live at /spec/http/2$"

    with pytest.raises(PlanError, match=f"route '{wrong}' does not lead to both stable and canary, {allowed}"):
        find_split(API_AND_REST, _named(names))


def test_routes_that_are_left_out_are_known() -> None:
    assert unselected_routes(API_AND_REST, WANTED) == ()
    assert unselected_routes(API_AND_REST, _named("live")) == ("api at /spec/http/1",)


@pytest.mark.parametrize(
    ("first", "second", "canary"),
    [
        ((100, 0), (100, 0), 0),
        ((80, 20), (80, 20), 20),
        ((100, 0), (0, 100), 50),
        ((100, 0), (99, 1), 1),
        ((0, 100), (1, 99), 99),
    ],
)
def test_routes_that_differ_amount_to_their_mean_and_a_little_traffic_is_never_none(
    first: tuple[int, int], second: tuple[int, int], canary: int
) -> None:
    split = find_split(_service(_both(*first), _both(*second)), WANTED)

    assert split.weights == Weights.with_canary(canary)
    assert split.matches(split.weights) is (first == second)


def test_one_route_that_somebody_else_changed_is_no_longer_the_split() -> None:
    assert not find_split(_service(_both(80, 20), _both()), WANTED).matches(TWENTY)
    assert not find_split(_service(_both(80, 20), _both()), WANTED).matches(AT_REST)


@pytest.mark.parametrize(
    "host",
    ["shop", "shop.market", "shop.market.svc", "shop.market.svc.cluster.local", "shop.market.svc.clusterset.local"],
)
@pytest.mark.parametrize("wanted", ["shop", "shop.market.svc.cluster.local"])
def test_a_service_is_itself_however_its_host_is_written(host: str, wanted: str) -> None:
    document = _service(_both(host=host))

    assert find_split(document, Destinations("stable", "canary", host=wanted)).matches(AT_REST)


@pytest.mark.parametrize(
    "host", ["shop.other", "shop.other.svc.cluster.local", "shop.market.example.com", "shop-market", "shopping", "sho"]
)
def test_a_host_that_only_begins_alike_or_lies_in_another_namespace_is_not_ours(host: str) -> None:
    with pytest.raises(PlanError, match="VirtualService market/shop: no route between stable and canary of shop: "):
        find_split(_service(_both(host=host)), WANTED)


@pytest.mark.parametrize(
    "change", [{"namespace": "other"}, {"kind": "ServiceImport", "group": "multicluster.x-k8s.io"}]
)
def test_a_backend_of_another_namespace_or_kind_is_not_ours(change: dict[str, str]) -> None:
    refs: list[dict[str, Any]] = [{"name": "shop-stable"}, {"name": "shop-canary", "weight": 0}]
    metadata = {"name": "shop", "namespace": "market"}
    route = {"kind": "HTTPRoute", "metadata": metadata, "spec": {"rules": [{"backendRefs": refs}]}}
    wanted = Destinations("shop-stable", "shop-canary")
    assert find_split(route, wanted).weights == AT_REST

    refs[1] |= change

    with pytest.raises(
        PlanError, match="no route between the Services shop-stable and shop-canary; it has to list both"
    ):
        find_split(route, wanted)


SUBSETS = "two subsets of shop in each route, stable and canary"
ONLY_HTTP = "allowed: http routes, for only HTTP requests can be judged"


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (_service(tcp=[{"route": _both()}]), f"it has tcp routes alone, {ONLY_HTTP}"),
        (_service(tcp=[{"route": _both()}], tls=[{}]), f"it has tcp and tls routes alone, {ONLY_HTTP}"),
        (_service(), f"it has no routes, {ONLY_HTTP}"),
        (
            _service([_to("shop-stable", weight=100), _to("shop-canary", weight=0)], names=("live",)),
            (
                "live at /spec/http/0 splits between the Services shop-stable and shop-canary, "
                f"allowed: {SUBSETS}, or an HTTPRoute between two Services (--kind HTTPRoute)"
            ),
        ),
        (
            _service([_to("shop")]),
            f"0 at /spec/http/0 names no subset of shop, allowed: {SUBSETS}, which a DestinationRule makes",
        ),
        (_service(TESTERS), "it has to list both destinations, also the one without traffic"),
        (
            _service(_both(host="shop.other")),
            "0 at /spec/http/0 leads to shop in namespace other, allowed: the route's own, market",
        ),
        (_service([_to("cart")]), f"no route leads to shop, allowed: {SUBSETS}"),
    ],
)
def test_what_keeps_a_virtual_service_from_splitting_is_said_in_its_own_words(
    document: dict[str, Any], why: str
) -> None:
    with pytest.raises(PlanError) as caught:
        find_split(document, WANTED)

    assert str(caught.value) == f"VirtualService market/shop: no route between stable and canary of shop: {why}"


def test_the_shipped_route_without_its_canary_is_refused() -> None:
    (document,) = documents("istio/virtual-service.yaml")
    del document["spec"]["http"][-1]["route"][1]

    with pytest.raises(PlanError, match="VirtualService canary-app/canary-app: no route between stable and canary"):
        find_split(document, Destinations("stable", "canary", host="canary-app"))
