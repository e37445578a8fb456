"""Generated VirtualServices and HTTPRoutes, as full of other people's settings as real ones are."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from backends.route_patches import Destinations

WANTED = Destinations("stable", "canary", host="shop")
SERVICES = Destinations("shop-stable", "shop-canary")

_words = st.text("abcdefghij-", min_size=1, max_size=8)
_hosts = st.sampled_from(["shop", "shop.market", "shop.market.svc.cluster.local"])
_seconds = st.integers(1, 60).map("{}s".format)
_headers = st.fixed_dictionaries(
    {}, optional={"request": st.just({"set": {"x-a": "1"}}), "response": st.just({"remove": ["server", "via"]})}
)
_extras = st.fixed_dictionaries(
    {},
    optional={
        "timeout": _seconds,
        "retries": st.fixed_dictionaries({"attempts": st.integers(0, 5), "perTryTimeout": _seconds}),
        "headers": _headers,
        "mirror": st.just({"host": "audit", "subset": "v9"}),
        "mirrorPercentage": st.just({"value": 12.5}),
        "fault": st.just({"delay": {"fixedDelay": "1s", "percentage": {"value": 0.1}}}),
        "corsPolicy": st.just({"allowOrigins": [{"exact": "https://shop"}], "maxAge": "1h"}),
        "rewrite": st.just({"uri": "/"}),
    },
)
_matches = st.lists(
    st.one_of(
        st.just({"uri": {"prefix": "/api"}}),
        st.builds(lambda name: {"headers": {name: {"exact": "always"}}}, _words),
        st.just({"queryParams": {"v": {"regex": "^2.*$"}}, "port": 80}),
    ),
    max_size=3,
)


@st.composite
def _live_route(draw: st.DrawFn) -> dict[str, Any]:
    host, share = draw(_hosts), draw(st.integers(0, 100))
    entries = [
        {"destination": {"host": host, "subset": "stable"}, "weight": 100 - share},
        {"destination": {"host": host, "subset": "canary"}, "weight": share},
    ]
    if draw(st.booleans()):
        del entries[1]["weight"]
    for entry in entries:
        if headers := draw(_headers):
            entry["headers"] = headers
        if draw(st.booleans()):
            entry["destination"]["port"] = {"number": 8080}
    others = draw(st.lists(st.just({"destination": {"host": "old-shop"}, "weight": 0}), max_size=1))
    return draw(_extras) | {"route": draw(st.permutations([*entries, *others]))}


_other_routes = st.one_of(
    st.builds(
        lambda extras, matches: (
            extras | {"match": matches, "route": [{"destination": {"host": "shop", "subset": "canary"}}]}
        ),
        _extras,
        _matches,
    ),
    st.builds(
        lambda extras: extras | {"route": [{"destination": {"host": "cart", "subset": "stable"}, "weight": 100}]},
        _extras,
    ),
    st.just({"match": [{"uri": {"exact": "/closed"}}], "directResponse": {"status": 404}}),
    st.just({"redirect": {"uri": "/new", "authority": "shop.example"}}),
)


def _metadata(draw: st.DrawFn, name: str) -> dict[str, Any]:
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": "market",
        "resourceVersion": str(draw(st.integers(1, 10**9))),
    }
    if labels := draw(st.dictionaries(_words, _words, max_size=3)):
        metadata["labels"] = labels
    if draw(st.booleans()):
        metadata["annotations"] = {"canary-pipeline/epoch": "7", "example.com/owner~team": "a/b"}
    return metadata


@st.composite
def virtual_services(draw: st.DrawFn, *, live: int = 1) -> dict[str, Any]:
    """A VirtualService with so many routes between the two subsets, among others."""
    rules = draw(st.lists(_other_routes, max_size=3))
    for _ in range(live):
        rules.insert(draw(st.integers(0, len(rules))), draw(_live_route()))
    for number, rule in enumerate(rules):
        if draw(st.booleans()):
            rule["name"] = f"rule-{number}"
    spec: dict[str, Any] = {"hosts": ["shop.example"], "gateways": ["mesh", "edge/shop"], "http": rules}
    if draw(st.booleans()):
        spec["tcp"] = [{"route": [{"destination": {"host": "shop", "subset": "stable"}}]}]
    kind = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService"}
    return kind | {"metadata": _metadata(draw, "shop"), "spec": spec}


@st.composite
def http_routes(draw: st.DrawFn) -> dict[str, Any]:
    """An HTTPRoute with one rule between the two Services, among others."""
    backends = [{"name": "shop-stable", "port": 80, "weight": 100}, {"name": "shop-canary", "port": 80, "weight": 0}]
    live: dict[str, Any] = {"backendRefs": draw(st.permutations(backends))}
    if draw(st.booleans()):
        live |= {"timeouts": {"request": "15s"}, "filters": [{"type": "RequestHeaderModifier"}]}
    others = [{"matches": [{"path": {"value": "/canary"}}], "backendRefs": [{"name": "shop-canary", "port": 80}]}]
    rules = draw(st.permutations([live, *others]))
    spec = {"parentRefs": [{"name": "edge"}], "hostnames": ["shop.example"], "rules": rules}
    kind = {"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute"}
    return kind | {"metadata": _metadata(draw, "shop"), "spec": spec}
