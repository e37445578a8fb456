"""The reader of samples, against an HTTP server that answers as Prometheus does."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlparse

import pytest

from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.samples import Samples
from backends.prometheus import PrometheusMetrics
from rollout.errors import NoSamplesError, UnavailableError
from rollout.model import Track

VERSIONS = {Track.STABLE: "v1", Track.CANARY: "v2"}
SINCE = datetime.fromtimestamp(0, UTC)


class _Answers(BaseHTTPRequestHandler):
    result: ClassVar[list[dict[str, Any]]] = []
    status: ClassVar[int] = 200
    delay: ClassVar[float] = 0
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        time.sleep(self.delay)
        self.asked.append(parse_qs(urlparse(self.path).query)["query"][0])
        names = re.search(r'__name__=~"([^"]+)"|^(\w+)', self.asked[-1])
        found = [one for one in self.result if names and re.fullmatch(names[1] or names[2], one["metric"]["__name__"])]
        kind = "matrix" if self.asked[-1].endswith("]") else "vector"
        if kind == "vector":
            found = [{"metric": one["metric"], "value": one["values"][-1]} for one in found]
        body = json.dumps({"status": "success", "data": {"resultType": kind, "result": found}}).encode()
        self.send_response(self.status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def prometheus() -> Iterator[type[_Answers]]:
    _Answers.result, _Answers.status, _Answers.delay, _Answers.asked = [], 200, 0, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    _Answers.url = f"http://127.0.0.1:{server.server_port}"  # type: ignore[attr-defined]
    yield _Answers
    server.shutdown()
    server.server_close()
    thread.join()


def read(prometheus: Any, *, seconds: float = 2) -> Samples:
    metrics = PrometheusMetrics(prometheus.url, "canary-app", VERSIONS, timeout=timedelta(seconds=seconds))
    return metrics.read(SINCE)


def series(values: dict[float, float | str], name: str = "istio_requests_total", **labels: str) -> dict[str, Any]:
    known = {"reporter": "source", "destination_version": "v1", "response_code": "200", "instance": "gateway-1"}
    return {
        "metric": {"__name__": name} | known | labels,
        "values": [[at, str(value)] for at, value in values.items()],
    }


def values(
    samples: Samples, metric: str, track: str = "stable", pod: str = "", **of: object
) -> list[dict[float, float]]:
    """Return the samples of each series that is meant."""
    return [
        dict(zip(times.tolist(), values.tolist(), strict=True))
        for series, times, values in samples.each()
        if (series.metric, series.track, series.pod) == (metric, track, pod)
        and all(getattr(series, name) == value for name, value in of.items())
    ]


def grown(samples: Samples, track: str = "stable", pod: str = "") -> dict[float, float]:
    """Return by how much a track's requests grew at each moment, over all its proxies and codes."""
    growth, _ = increase(CounterState(), samples)
    total: dict[float, float] = {}
    for column, at, amount in zip(growth.column.tolist(), growth.time.tolist(), growth.amount.tolist(), strict=True):
        series = samples.series[column]
        if (series.metric, series.track, series.pod) == ("requests_total", track, pod):
            total[at] = total.get(at, 0) + amount
    return dict(sorted(total.items()))


def test_each_code_is_a_series_of_its_own_and_one_that_comes_later_counts_from_its_first_value(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 100, 2: 200, 3: 300}),
        series({2: 4, 3: 9}, response_code="503", response_flags="UF,URX"),
        series({3: 1}, response_code="404"),
        series({3: 2}, grpc_response_status="14"),
    ]

    samples = read(prometheus)

    assert values(samples, "requests_total", answer="200") == [{1: 100, 2: 200, 3: 300}]
    assert values(samples, "requests_total", answer="503 UF URX") == [{2: 4, 3: 9}]
    assert {one.answer for one in samples.series} == {"200", "503 UF URX", "404", "grpc 14"}
    assert grown(samples) == {1: 0, 2: 104, 3: 108}


def test_pods_own_counts_are_kept_apart_from_the_gateways(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 10}),
        series({1: 4}, reporter="destination", pod="a"),
        series({1: 5}, reporter="destination", pod="b", response_code="500"),
        series({1: 9}, reporter="destination"),
        series({1: 7}, pod="the gateway's own pod", response_code="201"),
    ]

    samples = read(prometheus)

    assert values(samples, "requests_total") == [{1: 10}, {1: 7}]
    assert values(samples, "requests_total", pod="a") == [{1: 4}]
    assert values(samples, "requests_total", pod="b", answer="500") == [{1: 5}]
    assert {one.pod for one in samples.series} == {"", "a", "b"}


def test_versions_become_tracks_and_requests_without_a_pod_are_unknown(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 10}),
        series({1: 3}, destination_version="v2"),
        series({1: 2}, destination_version="unknown", response_code="503", response_flags="UH"),
        series({1: 8}, destination_version="v0"),
    ]

    samples = read(prometheus)

    assert {one.track for one in samples.series} == {"stable", "canary", "unknown"}
    assert values(samples, "requests_total", "canary") == [{1: 3}]
    assert values(samples, "requests_total", "unknown", answer="503 UH") == [{1: 2}]


def test_buckets_have_their_edge_and_stay_apart_by_code(prometheus: Any) -> None:
    bucket = "istio_request_duration_milliseconds_bucket"
    prometheus.result = [
        series({1: 10}),
        *(series({1: count}, bucket, le=le) for le, count in (("50", 6), ("100", 9), ("+Inf", 10))),
        *(series({1: count}, bucket, le=le, response_code="500") for le, count in (("50", 1), ("+Inf", 2))),
        series({1: 3}, bucket, le="not a number"),
        series({1: 420.5}, "istio_request_duration_milliseconds_sum"),
    ]

    samples = read(prometheus)

    edges = (50, 100, float("inf"))
    assert [values(samples, "duration_ms_bucket", le=le) for le in edges] == [
        [{1: 6}, {1: 1}],
        [{1: 9}],
        [{1: 10}, {1: 2}],
    ]
    assert values(samples, "duration_ms_sum") == [{1: 420.5}]
    assert {one.le for one in samples.series if one.metric != "duration_ms_bucket"} == {-1.0}


def test_a_proxy_that_two_jobs_scrape_is_counted_once(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 10, 4: 40}, instance="10.0.0.1:15020", job="kubernetes-pods"),
        series({2: 20, 3: 30, 5: 50}, instance="10.0.0.1:15090", job="canary"),
        series({2: 7, 3: 9}, instance="10.0.0.2:15020", job="kubernetes-pods"),
        series({1: 5, 4: 8}, instance="10.0.0.3:15020", job="kubernetes-pods", reporter="destination", pod="a"),
        series({2: 6, 3: 8, 5: 9}, instance="10.0.0.3:15090", job="canary", reporter="destination", pod="a"),
    ]

    samples = read(prometheus)

    assert grown(samples) == {1: 0, 2: 10, 3: 12, 4: 10, 5: 10}
    assert grown(samples, pod="a") == {1: 0, 2: 1, 3: 2, 4: 0, 5: 1}


@pytest.mark.parametrize("label", ["replica", "prometheus_replica", "prometheus", "__replica__", "receive_replica"])
def test_what_two_replicas_of_prometheus_scraped_is_counted_once(prometheus: Any, label: str) -> None:
    prometheus.result = [series({1: 10, 3: 30}, **{label: "a"}), series({2: 20, 4: 40}, **{label: "b"})]

    assert grown(read(prometheus)) == {1: 0, 2: 10, 3: 10, 4: 10}


def test_gateways_that_are_scraped_at_different_moments_grow_each_from_their_own_first_sample(prometheus: Any) -> None:
    prometheus.result = [
        series({1.0: 10, 2.0: 20, 3.0: 30}),
        series({1.5: 100, 2.5: 200}, instance="gateway-2"),
    ]

    assert grown(read(prometheus)) == {1.0: 0, 1.5: 0, 2.0: 10, 2.5: 100, 3.0: 10}


def test_a_reset_of_one_gateway_counts_what_it_has_counted_since(prometheus: Any) -> None:
    # Scraped less often than a scrape can be late: no replica of Prometheus can have stepped back so far.
    prometheus.result = [series({15: 10, 30: 3}), series({22: 100}, instance="gateway-2")]

    assert grown(read(prometheus)) == {15: 0, 22: 0, 30: 3}


def test_a_gateway_that_leaves_takes_nothing_away(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 10, 2: 20, 3: 30}),
        series({1: 4}, destination_version="v2"),
        series({1: 500, 2: "NaN"}, instance="gateway-2"),
    ]

    samples = read(prometheus)

    assert values(samples, "requests_total", "canary") == [{1: 4}]
    assert grown(samples) == {1: 0, 2: 10, 3: 10}


def test_samples_are_ordered_by_time_and_cannot_be_changed(prometheus: Any) -> None:
    prometheus.result = [series({2: 2, 1: 1, 3: 3})]

    samples = read(prometheus)

    assert samples.times.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match="read-only"):
        samples.values[0] = 9


def test_a_range_is_read_in_parts_and_holds_each_sample_once(prometheus: Any) -> None:
    start = SINCE.timestamp()
    prometheus.result = [
        series({start + 60 * minute: minute for minute in range(1, 41)}),
        series({start + 60 * minute + 20: minute for minute in range(40)}, instance="gateway-2"),
    ]
    reader = PrometheusMetrics(prometheus.url, "canary-app", VERSIONS, timeout=timedelta(seconds=2))

    samples = reader.read_range(SINCE, SINCE + timedelta(minutes=40))

    assert len([query for query in prometheus.asked if "istio_requests_total" in query]) == 3
    assert len(samples) == 80
    assert sum(grown(samples).values()) == 39 + 39


def test_one_question_asks_for_raw_samples_of_the_service(prometheus: Any) -> None:
    prometheus.result = [series({1: 10})]

    read(prometheus)

    (query,) = prometheus.asked
    assert 'destination_service_name="canary-app"' in query
    assert query.endswith("ms]")


def test_a_service_a_track_is_asked_for_in_one_question_too(prometheus: Any) -> None:
    prometheus.result = [series({1: 10})]
    names = {Track.STABLE: "canary-app-stable", Track.CANARY: "canary-app-canary"}

    PrometheusMetrics(prometheus.url, "canary-app", VERSIONS, destinations=names, timeout=timedelta(seconds=2)).read(
        SINCE
    )

    (query,) = prometheus.asked
    assert 'destination_service_name=~"canary-app|canary-app-stable|canary-app-canary"' in query


@pytest.mark.parametrize(
    "result",
    [
        [],
        [series({1: 4}, reporter="destination", pod="a")],
        [series({1: 8}, destination_version="v0")],
        [series({})],
        [series({1: "NaN"})],
    ],
    ids=["nothing", "pods alone", "another version", "no samples", "not a number"],
)
def test_having_nothing_is_an_error_and_never_a_number(prometheus: Any, result: list[dict[str, Any]]) -> None:
    prometheus.result = result

    with pytest.raises(NoSamplesError, match="istio_requests_total"):
        read(prometheus)


def test_not_a_number_is_no_sample(prometheus: Any) -> None:
    prometheus.result = [series({1: 10, 2: "NaN", 3: 12})]

    assert values(read(prometheus), "requests_total") == [{1: 10, 3: 12}]


def test_an_answer_that_is_an_error_is_unavailable(prometheus: Any) -> None:
    prometheus.status = 503

    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1.*503"):
        read(prometheus)

    assert len(prometheus.asked) == 1


def test_an_answer_that_comes_too_late_is_unavailable(prometheus: Any) -> None:
    prometheus.delay = 0.4

    with pytest.raises(UnavailableError, match="timed out"):
        read(prometheus, seconds=0.05)


def test_nobody_there_is_unavailable() -> None:
    metrics = PrometheusMetrics("http://127.0.0.1:9", "canary-app", VERSIONS)

    with pytest.raises(UnavailableError, match="query http://127"):
        metrics.read(SINCE)


def own(name: str, sampled: dict[float, float], **labels: str) -> dict[str, Any]:
    return {"metric": {"__name__": name} | labels, "values": [[at, str(value)] for at, value in sampled.items()]}


def read_own(prometheus: Any, *metrics: str) -> Samples:
    reader = PrometheusMetrics(prometheus.url, "shop", VERSIONS, timeout=timedelta(seconds=4), namespace="eu")
    return reader.with_pods(metrics, "shop").read(SINCE)


def test_the_pods_own_counters_are_read_by_their_version_label_and_stay_apart_by_other_labels(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 100, 2: 200}),
        own("failures_total", {1: 3, 2: 4}, pod="shop-x1", version="v2", app="shop", reason="card"),
        own("failures_total", {1: 1, 2: 1}, pod="shop-x1", version="v2", app="shop", reason="stock"),
        own("failures_total", {1: 9}, pod="cart-y", version="v2", app="cart"),
        own("failures_total", {1: 9}, pod="shop-z", version="v0"),
    ]

    samples = read_own(prometheus, "failures_total", "checkouts_total")

    assert values(samples, "failures_total", "canary", "shop-x1") == [{1: 3, 2: 4}, {1: 1, 2: 1}]
    assert {one.pod for one in samples.series if one.metric == "failures_total"} == {"shop-x1"}
    assert '__name__=~"failures_total|checkouts_total"' in prometheus.asked[-1]
    assert 'namespace="eu"' in prometheus.asked[-1]


def test_what_the_node_says_of_a_pod_is_told_by_its_name_and_its_containers_count_once(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 100}),
        own("memory_bytes", {1: 30}, pod="shop-v1-6d4-abc"),
        own("memory_bytes", {1: 20}, pod="shop-v1-6d4-abc", container="app"),
        own("memory_bytes", {1: 10}, pod="shop-v1-6d4-abc", container="istio-proxy"),
        own("memory_bytes", {1: 1}, pod="shop-v1-6d4-abc", container="POD"),
        own("memory_bytes", {1: 50}, pod="shopper-v2-6d4-abc"),
    ]

    samples = read_own(prometheus, "memory_bytes")

    assert values(samples, "memory_bytes", "stable", "shop-v1-6d4-abc") == [{1: 20}, {1: 10}]
    assert len([one for one in samples.series if one.metric == "memory_bytes"]) == 2


def test_a_plan_without_metrics_of_its_own_asks_one_query(prometheus: Any) -> None:
    prometheus.result = [series({1: 100})]

    read_own(prometheus)

    assert len(prometheus.asked) == 1


def test_a_counter_of_the_users_own_grows_over_all_its_series_and_past_a_reset(prometheus: Any) -> None:
    prometheus.result = [
        {"metric": {"__name__": "complaints_total", "desk": "a"}, "values": [[1, "5"], [2, "7"], [3, "1"]]},
        {"metric": {"__name__": "complaints_total", "desk": "b"}, "values": [[1, "0"], [3, "4"]]},
    ]
    reader = PrometheusMetrics(prometheus.url, "shop", VERSIONS)

    assert reader.increase('complaints_total{service="shop"}', SINCE) == 7
    assert prometheus.asked[-1].startswith('complaints_total{service="shop"}[')
    assert reader.increase("unheard_of_total", SINCE) == 0


def test_a_counter_of_the_users_own_that_two_replicas_of_prometheus_scraped_counts_once(prometheus: Any) -> None:
    labels = {"__name__": "complaints_total", "desk": "a", "instance": "desk:80", "job": "desks"}
    prometheus.result = [
        {"metric": labels | {"replica": "a"}, "values": [[1, "5"], [31, "7"]]},
        {"metric": labels | {"replica": "b"}, "values": [[16, "6"], [46, "9"]]},
    ]

    assert PrometheusMetrics(prometheus.url, "shop", VERSIONS).increase("complaints_total", SINCE) == 4


def test_own_counters_that_two_replicas_of_prometheus_scraped_count_once(prometheus: Any) -> None:
    labels = {"pod": "shop-x1", "version": "v2", "app": "shop", "instance": "10.0.0.9:8080", "job": "pods"}
    prometheus.result = [
        series({1: 100}),
        own("failures_total", {1: 3, 31: 5}, **labels, replica="a"),
        own("failures_total", {16: 4, 46: 6}, **labels, replica="b"),
    ]

    samples = read_own(prometheus, "failures_total")

    growth, _ = increase(CounterState(), samples.where(one.metric == "failures_total" for one in samples.series))
    assert growth.amount.sum() == 3


def test_a_gateways_own_start_tells_not_that_of_an_application_behind_the_same_port(prometheus: Any) -> None:
    reader = PrometheusMetrics(prometheus.url, "canary-app", VERSIONS, timeout=timedelta(seconds=2))
    prometheus.result = [series({1: 100, 2: 110})]
    reader.read(SINCE)
    prometheus.result = [
        series({3: 120}),
        series({3: 900}, instance="gateway-2", job="pods"),
        own("process_start_time_seconds", {3: 2.5}, instance="gateway-2", job="pods"),
        own("istio_agent_process_start_time_seconds", {3: 0.5}, instance="gateway-2", job="pods"),
    ]

    samples = reader.read(SINCE)

    assert list(samples.started.values()) == [0.5]


def test_counts_of_the_pods_own_proxies_alone_are_named_as_such(prometheus: Any) -> None:
    prometheus.result = [series({0: 1, 5: 9}, reporter="destination", pod="shop-v1-abc")]

    with pytest.raises(
        NoSamplesError, match=r'only the pods\' own .* no series istio_requests_total{reporter="source"}'
    ):
        read(prometheus)


def test_requests_of_which_nobody_says_how_they_were_answered_are_no_evidence(prometheus: Any) -> None:
    """Whoever drops the label to save series would else promote every canary: no errors in so many requests."""
    prometheus.result = [series({0: 1, 5: 9})]
    del prometheus.result[0]["metric"]["response_code"]

    with pytest.raises(NoSamplesError, match="no series istio_requests_total with the label response_code"):
        read(prometheus)
