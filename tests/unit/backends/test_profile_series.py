"""What a profile makes of single series, and what is refused."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.scrapes.samples import BUCKET, COUNT, REQUESTS, SUM, UNKNOWN
from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.environment import World
from backends.profiles.shipped import SHIPPED, load_profile, parse_profile, profile_schema
from backends.prometheus.deadline import time_limit
from backends.prometheus.native_histograms import power_edges
from backends.prometheus.profile_series import ProfileSeries
from backends.prometheus.query_results import SampledSeries, decode, matrix
from backends.prometheus.service_names import ServiceNames
from rollout.errors import PlanError
from rollout.model import Track
from rollout.plan import dump_plan, parse_plan
from wiring.files import read_live_plan, read_plan

ROOT = Path(__file__).parents[3]
VERSIONS = {Track.STABLE: "v1", Track.CANARY: "v2"}
SERVICES = {Track.STABLE: "shop-stable", Track.CANARY: "shop-canary"}
SUBSETS = {Track.STABLE: "stable", Track.CANARY: "canary"}
SUBJECT = ServiceNames("shop", VERSIONS, "eu", SERVICES, SUBSETS)
OWN = """
durations: request_seconds
unit: s
status: {label: code}
description: our own proxy
track: {label: deploy, value: "{service}-{version}"}
"""


def series(profile: str, subject: ServiceNames = SUBJECT) -> ProfileSeries:
    return ProfileSeries(load_profile(profile), subject)


def sampled(name: str, values: list[float], **labels: str) -> SampledSeries:
    return SampledSeries(
        labels := {"__name__": name} | labels, str(labels), np.arange(len(values), dtype=float), np.array(values)
    )


@pytest.mark.parametrize(
    ("profile", "label", "value", "track"),
    [
        ("envoy", "envoy_cluster_name", "shop-canary", "canary"),
        ("envoy", "envoy_cluster_name", "outbound|8080|canary|shop.eu.svc.cluster.local", "canary"),
        ("envoy", "envoy_cluster_name", "outbound|8080||shop-stable.eu.svc.cluster.local;", "stable"),
        ("envoy", "envoy_cluster_name", "outbound|8080|canary|shop.us.svc.cluster.local", None),
        ("envoy", "envoy_cluster_name", "xds_cluster", None),
        ("linkerd", "dst_deployment", "shop-v2", "canary"),
        ("linkerd", "dst_deployment", "shop-v2-admin", None),
        ("traefik", "service", "eu-shop-stable-80@kubernetes", "stable"),
        ("traefik", "service", "eu-shop-canary-http@kubernetescrd", "canary"),
        ("traefik", "service", "eu-shop-canary-http-8080@kubernetesgateway", "canary"),
        ("traefik", "service", "eu-shop-canary-admin-80@kubernetes", None),
        ("ingress-nginx", "canary", "", "stable"),
        ("ingress-nginx", "canary", "-", "stable"),
        ("ingress-nginx", "canary", "eu-shop-canary-80", "canary"),
        ("ingress-nginx", "canary", "eu-till-canary-80", None),
        ("otel-http", "service_version", "v2", "canary"),
        ("istio", "destination_version", "unknown", UNKNOWN),
        ("istio", "destination_version", "v3", None),
    ],
)
def test_the_track_is_told_by_the_label_that_the_source_has_for_it(
    profile: str, label: str, value: str, track: str | None
) -> None:
    name = load_profile(profile).requests or f"{load_profile(profile).durations}_count"
    meant = series(profile).series_of({"__name__": name, "reporter": "source", label: value})

    assert (meant.track if meant else None) == track


@pytest.mark.parametrize(
    ("profile", "labels", "answer"),
    [
        ("istio", {"response_code": "503", "response_flags": "UF,URX"}, "503 UF URX"),
        ("istio", {"response_code": "200", "grpc_response_status": "14"}, "grpc 14"),
        ("istio", {"response_code": "500", "grpc_response_status": "0"}, "500"),
        ("istio", {"response_code": "503", "grpc_response_status": "14"}, "grpc 14"),
        ("envoy", {"envoy_response_code": "404"}, "404"),
        ("envoy-classes", {"envoy_response_code_class": "5"}, "500"),
        ("linkerd", {"status_code": "200", "grpc_status": "Unavailable"}, "grpc 14"),
        ("linkerd", {"classification": "failure", "error": "connect error"}, "0"),
        ("traefik", {"code": "499"}, "499"),
        ("ingress-nginx", {"status": "301"}, "301"),
        ("otel-http", {"http_response_status_code": "429"}, "429"),
        ("otel-http", {"error_type": "timeout"}, "0"),
    ],
)
def test_the_answer_is_read_from_the_labels_that_the_source_has_for_it(
    profile: str, labels: dict[str, str], answer: str
) -> None:
    track = {
        "istio": {"destination_version": "v1", "reporter": "source"},
        "envoy": {"envoy_cluster_name": "shop-stable"},
        "envoy-classes": {"envoy_cluster_name": "shop-stable"},
        "linkerd": {"dst_deployment": "shop-v1"},
        "traefik": {"service": "eu-shop-stable-80@kubernetes"},
        "ingress-nginx": {},
        "otel-http": {"service_version": "v1"},
    }[profile]
    name = load_profile(profile).requests or f"{load_profile(profile).durations}_count"

    ((meant, *_), *others) = [
        each for each in series(profile).read([sampled(name, [1.0], **track, **labels)]) if each[0].metric == REQUESTS
    ]

    assert (meant.answer, others) == (answer, [])


def test_the_status_as_a_class_counts_as_its_first() -> None:
    own = ProfileSeries(parse_profile(OWN, source="own"), SUBJECT)

    answers = [
        own.series_of({"__name__": "request_seconds_count", "deploy": "shop-v1", "code": code})
        for code in ("2xx", "5XX", "4")
    ]

    assert [meant and meant.answer for meant in answers] == ["200", "500", "400"]


def test_istios_pods_counts_are_their_own_and_a_waypoints_are_no_pods() -> None:
    labels = {"__name__": "istio_requests_total", "destination_version": "v1", "pod": "shop-v1-7d-x2"}

    istio = [
        series("istio").series_of(labels | {"reporter": reporter}) for reporter in ("source", "destination", "waypoint")
    ]
    ambient = series("istio-ambient").series_of(labels | {"reporter": "waypoint"})

    assert [meant and meant.pod for meant in istio] == ["", "shop-v1-7d-x2", None]
    assert ambient
    assert ambient.pod == ""
    assert 'reporter="waypoint"' in series("istio-ambient").selector


def test_two_scrapes_of_one_proxy_are_two_targets_of_it_and_the_series_own_labels_name_neither() -> None:
    labels = {"__name__": "traefik_service_requests_total", "service": "eu-shop-stable-80@kubernetes"}
    scraped = [
        {"instance": "10.0.0.1:9100", "job": "traefik"},
        {"instance": "10.0.0.1:9101", "job": "other", "replica": "b"},
    ]

    one, two = (series("traefik").series_of(labels | target | {"code": "200", "method": "GET"}) for target in scraped)
    post = series("traefik").series_of(labels | scraped[0] | {"code": "502", "method": "POST"})

    assert one
    assert two
    assert post
    assert (one.target != two.target, one.proxy == two.proxy == "instance=10.0.0.1") == (True, True)
    assert post.target == one.target


def test_names_are_put_into_selectors_as_they_are_and_never_as_patterns() -> None:
    hostile = ServiceNames('a"b\\c.d|e', {Track.STABLE: "v.1", Track.CANARY: 'v"2'}, 'n"s')

    assert 'destination_service_name=~"a\\"b\\\\\\\\c\\\\.d\\\\|e"' in series("istio", hostile).selector
    assert 'destination_service_namespace="n\\"s"' in series("istio", hostile).selector
    assert 'dst_deployment=~"a\\"b\\\\\\\\c\\\\.d\\\\|e-v\\\\.1|' in series("linkerd", hostile).selector
    assert (
        series("istio").series_of(
            {"__name__": "istio_requests_total", "reporter": "source", "destination_version": "vx1"}
        )
        is None
    )


def test_names_with_dots_are_quoted_and_others_are_not() -> None:
    assert '"service.name"="shop"' in series("otel-http-utf8").selector
    assert "http\\\\.server\\\\.request\\\\.duration_bucket" in series("otel-http-utf8").selector
    assert ', service_name="shop"' in series("otel-http").selector


def native(
    *histograms: tuple[float, str, str, list[list[object]]], name: str = "http_server_request_duration_seconds"
) -> SampledSeries:
    """As Prometheus 2.40 and later answers, through our own reading of it."""
    points = [[at, {"count": count, "sum": total, "buckets": buckets}] for at, count, total, buckets in histograms]
    labels = {
        "__name__": name,
        "service_name": "shop",
        "service_version": "v1",
        "http_response_status_code": "200",
        "instance": "a",
    }
    body = {"status": "success", "data": {"resultType": "matrix", "result": [{"metric": labels, "histograms": points}]}}
    with time_limit(timedelta(seconds=10)):
        return matrix(decode(json.dumps(body).encode(), str)).series[0]


def test_a_native_histogram_counts_as_above_an_edge_what_its_buckets_do_not_show_to_be_below() -> None:
    one = native(
        (
            5,
            "10",
            "2.5",
            [[0, "0.0625", "0.125", "4"], [0, "0.2", "0.3", "3"], [0, "0.4", "0.5", "2"], [0, "3", "5", "1"]],
        )
    )

    read = {(meant.metric, meant.le): values.tolist() for meant, _, values in series("otel-http").read([one])}

    below = {le: values for (metric, le), values in read.items() if metric == BUCKET}
    assert {le: below[le] for le in (62.5, 125.0, 250.0, 500.0, 4000.0, 8000.0, np.inf)} == {
        62.5: [0.0],
        125.0: [4.0],
        250.0: [4.0],
        500.0: [9.0],
        4000.0: [9.0],
        8000.0: [10.0],
        np.inf: [10.0],
    }
    assert (read[SUM, -1.0], read[COUNT, -1.0], read[REQUESTS, -1.0]) == ([2500.0], [10.0], [10.0])


def test_halving_the_resolution_takes_nothing_away_from_below_an_edge() -> None:
    fine = [[0, "0.0883883", "0.125", "4"], [0, "0.125", "0.1767767", "3"], [0, "0.1767767", "0.25", "2"]]
    coarse = [[0, "0.0625", "0.125", "4"], [0, "0.125", "0.25", "6"]]
    one = native((5, "9", "1", fine), (10, "10", "1.1", coarse))

    for meant, _, values in series("otel-http").read([one]):
        assert (np.diff(values) >= 0).all(), meant


def test_what_is_exported_both_ways_is_read_once_and_by_the_same_way_ever_after() -> None:
    histogram = native((5, "10", "2.5", [[0, "0.0625", "0.125", "10"]]))
    classic = [
        sampled(
            f"http_server_request_duration_seconds_{kind}",
            [10.0],
            **{**histogram.labels, "__name__": f"http_server_request_duration_seconds_{kind}"},
            **le,
        )
        for kind, le in (("bucket", {"le": "0.1"}), ("bucket", {"le": "+Inf"}), ("sum", {}), ("count", {}))
    ]
    both, native_first = series("otel-http"), series("otel-http")

    counts = [sum(meant.metric == REQUESTS for meant, _, _ in both.read([histogram, *classic])) for _ in range(2)]
    edges = {meant.le for meant, _, _ in both.read([histogram, *classic]) if meant.metric == BUCKET}
    alone = list(native_first.read([histogram]))
    later = list(native_first.read([histogram, *classic]))

    assert counts == [1, 1]
    assert edges == {100.0, np.inf}
    assert [meant for meant, _, _ in alone] == [meant for meant, _, _ in later]


def test_edges_for_native_histograms_hold_the_usual_limits() -> None:
    assert {0.25, 0.5, 1.0} < set(power_edges(1000.0))
    assert (min(power_edges(1.0)), max(power_edges(1.0))) == (0.5, 65536.0)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("unit: fortnight", "own: unit: got 'fortnight', allowed: input should be 'ns', 'us', 'ms' or 's'"),
        (
            "track: {label: deploy, value: '{vresion}'}",
            "own: track.value[0]: got '{vresion}', {vresion} is no name, allowed: *, {",
        ),
        ("track: {label: deploy}", "own: track.value: missing, allowed: value, or stable and canary"),
        ("stauts: {label: code}", "own: stauts: unknown key (value {'label': 'code'}), did you mean 'status'?"),
        ("fallback: isto", "own: fallback: got 'isto', allowed: envoy, "),
        ("edges: [2, 1]", "own: edges is [2.0, 1.0], allowed: numbers that grow"),
        ("where: {a: [1]}", "own: where.a[0]: got 1, allowed: input should be a valid string"),
    ],
)
def test_a_wrong_profile_is_refused_with_field_value_and_what_is_allowed(text: str, complaint: str) -> None:
    key = text.partition(":")[0]
    kept = [line for line in OWN.splitlines() if not line.startswith(f"{key}:")]

    with pytest.raises(PlanError) as refused:
        parse_profile("\n".join([*kept, text]), source="own")

    assert str(refused.value).startswith(complaint)


@pytest.mark.parametrize("text", ["[]", "a: [", "", "just words"])
def test_what_is_no_profile_is_one_line(text: str) -> None:
    with pytest.raises(PlanError) as refused:
        parse_profile(text, source="own")

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("subject", "complaint"),
    [
        (ServiceNames("shop", VERSIONS), "metrics.namespace: missing, it has to be given"),
        (
            ServiceNames("shop", VERSIONS, "eu", {}, SUBSETS),
            "metrics.profile: got one that tells the tracks apart by {destination}",
        ),
    ],
)
def test_a_profile_that_needs_a_name_nobody_gives_is_refused(subject: ServiceNames, complaint: str) -> None:
    with pytest.raises(PlanError) as refused:
        series("traefik", subject)

    assert str(refused.value).startswith(complaint)


def plan_with(folder: Path, metrics: str) -> Path:
    plan = folder / "plan.yaml"
    plan.write_text((ROOT / "rollout.yaml").read_text() + f"\nmetrics: {metrics}\n")
    return plan


def test_a_plan_names_a_profile_of_its_own_by_a_path_from_its_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ours.yaml").write_text(OWN)
    plan = read_live_plan(plan_with(tmp_path, "{profile: ours.yaml}"))
    (tmp_path / "ours.yaml").unlink()  # as for a guard on another machine
    monkeypatch.chdir("/")

    kept = parse_plan(dump_plan(plan))

    assert load_profile(kept.metrics.profile).description == "our own proxy"


@pytest.mark.parametrize(
    ("metrics", "complaint"),
    [
        ("{profile: isto}", "metrics.profile: got 'isto', allowed: envoy, envoy-classes, envoy-gateway, "),
        ("{profile: nowhere.yaml}", "nowhere.yaml', allowed: a file that can be read"),
        ("{profile: plan.yaml}", "plan.yaml: metrics.profile: description: missing"),
    ],
)
def test_a_rollout_is_refused_before_it_begins_and_an_abort_is_not(
    tmp_path: Path, metrics: str, complaint: str
) -> None:
    plan = plan_with(tmp_path, metrics)

    with pytest.raises(PlanError, match=r"plan\.yaml: ") as refused:
        read_live_plan(plan)

    assert complaint in str(refused.value)
    assert read_plan(plan).service == "canary-app"


def test_every_shipped_profile_is_valid_and_the_schema_is_current() -> None:
    assert {"istio", "istio-ambient", "envoy", "linkerd", "traefik", "ingress-nginx", "otel-http"} < set(SHIPPED)
    for name in SHIPPED:
        load_profile(name)
    assert json.loads((ROOT / "docs" / "profile.schema.json").read_text()) == profile_schema()


@pytest.mark.parametrize(("kind", "name"), [("VirtualService", "stable"), ("HTTPRoute", "canary-app-stable")])
def test_on_a_cluster_the_plans_profile_is_read_for_the_services_own_namespace_and_tracks(kind: Any, name: str) -> None:
    plan = parse_plan((ROOT / "rollout.yaml").read_text() + "\nmetrics: {profile: envoy}\n")
    settings = ClusterSettings(kind=kind, namespace="eu").for_plan(plan)

    (metrics, *_) = World(settings, api=None).metrics._sources  # type: ignore[arg-type]

    cluster = f"outbound|80|{name}|canary-app.eu.svc.cluster.local"
    if kind == "HTTPRoute":
        cluster = f"outbound|80||{name}.eu.svc.cluster.local"
    meant = metrics.series_of({"__name__": "envoy_cluster_upstream_rq", "envoy_cluster_name": cluster})
    assert meant
    assert meant.track == "stable"


def test_how_long_a_web_socket_stays_open_is_no_latency_but_it_is_a_request() -> None:
    ours = {"destination_service_name": "shop", "destination_version": "v2", "reporter": "source"}
    answered = {code: ours | {"response_code": code} for code in ("200", "101")}
    name = "istio_request_duration_milliseconds"

    assert all(series("istio").series_of(labels | {"__name__": "istio_requests_total"}) for labels in answered.values())
    for ending in ("_bucket", "_sum", "_count", ""):
        labels = {"__name__": f"{name}{ending}"} | ({"le": "250"} if ending == "_bucket" else {})
        assert series("istio").series_of(answered["200"] | labels)
        assert series("istio").series_of(answered["101"] | labels) is None


def test_a_service_of_that_name_in_two_namespaces_is_never_added_up() -> None:
    ours = {"destination_service_name": "shop", "destination_version": "v2", "reporter": "source"}
    scraped = [
        sampled("istio_requests_total", [1.0, 2.0], **ours, response_code="200", destination_service_namespace=name)
        for name in ("unknown", "shop", "staging")
    ]
    anywhere, named = ServiceNames("shop", VERSIONS), ServiceNames("shop", VERSIONS, "shop")

    assert len(list(series("istio", anywhere).read(scraped[:2]))) == 2
    assert list(series("istio", named).read(scraped))
    with pytest.raises(PlanError, match=r"^metrics\.namespace: missing, .* allowed: one of shop, staging$"):
        list(series("istio", anywhere).read(scraped))
