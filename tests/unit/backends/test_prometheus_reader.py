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

import pandas as pd
import pytest

from backends.prometheus import PrometheusMetrics
from rollout.errors import NoSamplesError, UnavailableError
from rollout.model import Track

VERSIONS = {Track.STABLE: "v1", Track.CANARY: "v2"}
SINCE = datetime.now(UTC) - timedelta(seconds=30)


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
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": found}}).encode()
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


def read(prometheus: Any, *, seconds: float = 2) -> pd.DataFrame:
    metrics = PrometheusMetrics(prometheus.url, "canary-app", VERSIONS, timeout=timedelta(seconds=seconds))
    return metrics.read(SINCE)


def series(values: dict[float, float | str], name: str = "istio_requests_total", **labels: str) -> dict[str, Any]:
    known = {"reporter": "source", "destination_version": "v1", "response_code": "200", "instance": "gateway-1"}
    return {
        "metric": {"__name__": name} | known | labels,
        "values": [[at, str(value)] for at, value in values.items()],
    }


def values(frame: pd.DataFrame, metric: str, track: str = "stable", pod: str = "") -> dict[float, float]:
    rows = frame[(frame["metric"] == metric) & (frame["track"] == track) & (frame["pod"] == pod)]
    return dict(zip(rows["time"], rows["value"], strict=True))


def test_codes_are_added_up_at_each_scrape_and_a_code_that_comes_later_counts_from_its_first_value(
    prometheus: Any,
) -> None:
    prometheus.result = [
        series({1: 100, 2: 200, 3: 300}),
        series({2: 4, 3: 9}, response_code="503"),
        series({3: 1}, response_code="404"),
    ]

    frame = read(prometheus)

    assert values(frame, "requests_total") == {1: 100, 2: 204, 3: 310}
    assert values(frame, "errors_total") == {1: 0, 2: 4, 3: 9}


def test_pods_own_counts_are_kept_apart_from_the_gateways(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 10}),
        series({1: 4}, reporter="destination", pod="a"),
        series({1: 5}, reporter="destination", pod="b", response_code="500"),
        series({1: 9}, reporter="destination"),
        series({1: 7}, pod="the gateway's own pod", response_code="201"),
    ]

    frame = read(prometheus)

    assert values(frame, "requests_total") == {1: 17}
    assert values(frame, "requests_total", pod="a") == {1: 4}
    assert values(frame, "errors_total", pod="a") == {1: 0}
    assert values(frame, "errors_total", pod="b") == {1: 5}
    assert set(frame["pod"]) == {"", "a", "b"}


def test_versions_become_tracks_and_requests_without_a_pod_are_unknown(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 10}),
        series({1: 3}, destination_version="v2"),
        series({1: 2}, destination_version="unknown", response_code="503", response_flags="UH"),
        series({1: 8}, destination_version="v0"),
    ]

    frame = read(prometheus)

    assert set(frame["track"]) == {"stable", "canary", "unknown"}
    assert values(frame, "requests_total", "canary") == {1: 3}
    assert values(frame, "errors_total", "unknown") == {1: 2}


def test_buckets_of_all_codes_are_added_up_by_edge(prometheus: Any) -> None:
    bucket = "istio_request_duration_milliseconds_bucket"
    prometheus.result = [
        series({1: 10}),
        *(series({1: count}, bucket, le=le) for le, count in (("50", 6), ("100", 9), ("+Inf", 10))),
        *(series({1: count}, bucket, le=le, response_code="500") for le, count in (("50", 1), ("100", 1), ("+Inf", 2))),
        series({1: 420.5}, "istio_request_duration_milliseconds_sum"),
    ]

    frame = read(prometheus)

    buckets = frame[frame["metric"] == "duration_ms_bucket"]
    assert dict(zip(buckets["le"], buckets["value"], strict=True)) == {50: 7, 100: 10, float("inf"): 12}
    assert values(frame, "duration_ms_sum") == {1: 420.5}
    assert frame.loc[frame["metric"] != "duration_ms_bucket", "le"].isna().all()


def test_a_proxy_that_two_jobs_scrape_is_counted_once(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 10, 4: 40}, instance="10.0.0.1:15020", job="kubernetes-pods"),
        series({2: 20, 3: 30, 5: 50}, instance="10.0.0.1:15090", job="canary"),
        series({2: 7}, instance="10.0.0.2:15020", job="kubernetes-pods"),
        series({1: 5, 4: 9}, instance="10.0.0.3:15020", job="kubernetes-pods", reporter="destination", pod="a"),
        series({2: 6, 3: 8, 5: 9}, instance="10.0.0.3:15090", job="canary", reporter="destination", pod="a"),
    ]

    frame = read(prometheus)

    assert values(frame, "requests_total") == {2: 27, 3: 37, 5: 57}
    assert values(frame, "requests_total", pod="a") == {2: 6, 3: 8, 5: 9}


def test_gateways_that_are_scraped_at_different_moments_become_one_counter_that_only_grows(prometheus: Any) -> None:
    prometheus.result = [
        series({1.0: 10, 2.0: 20, 3.0: 30}),
        series({1.5: 100, 2.5: 200}, instance="gateway-2"),
    ]

    frame = read(prometheus)

    assert values(frame, "requests_total") == {1.0: 10, 1.5: 110, 2.0: 120, 2.5: 220, 3.0: 230}
    assert values(frame, "errors_total") == dict.fromkeys((1.0, 1.5, 2.0, 2.5, 3.0), 0)


def test_a_reset_of_one_gateway_is_a_fall_of_the_sum(prometheus: Any) -> None:
    prometheus.result = [series({1: 10, 2: 3}), series({1.5: 100}, instance="gateway-2")]

    assert values(read(prometheus), "requests_total") == {1: 10, 1.5: 110, 2: 103}


def test_the_only_gateways_series_ends_with_its_last_sample(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 10, 2: 20, 3: 30}),
        series({1: 4}, destination_version="v2"),
        series({1: "NaN", 2: "NaN"}, instance="gateway-2"),
    ]

    assert values(read(prometheus), "requests_total", "canary") == {1: 4}


def test_rows_stand_in_order_of_time_track_pod_metric_and_edge(prometheus: Any) -> None:
    bucket = "istio_request_duration_milliseconds_bucket"
    prometheus.result = [
        *(series({2: 1, 1: 1}, bucket, le=le) for le in ("+Inf", "100", "50")),
        series({1: 3}, reporter="destination", pod="a"),
        series({1: 3}),
        series({1: 2}, destination_version="v2"),
    ]

    frame = read(prometheus)

    assert list(frame.columns) == ["time", "track", "pod", "metric", "le", "value"]
    pd.testing.assert_frame_equal(frame, frame.sort_values(list(frame.columns), ignore_index=True))
    assert [str(kind) for kind in frame[["time", "le", "value"]].dtypes] == ["float64"] * 3


def test_a_range_holds_the_same_rows_as_a_read(prometheus: Any) -> None:
    start = SINCE.timestamp()
    prometheus.result = [
        series({start + 60 * minute: minute for minute in range(41)}),
        series({start + 60 * minute + 20: minute for minute in range(40)}, instance="gateway-2"),
    ]
    reader = PrometheusMetrics(prometheus.url, "canary-app", VERSIONS, timeout=timedelta(seconds=2))

    found = reader.read_range(SINCE, SINCE + timedelta(minutes=40))

    whole = read(prometheus)
    assert len(prometheus.asked) == 4
    assert {str(found[name].dtype) for name in ("track", "pod", "metric")} == {"category"}
    rows = found.drop_duplicates()  # this server answers with all that it has, whatever part was asked for
    rows = rows.astype(dict.fromkeys(("track", "pod", "metric"), "str"))
    pd.testing.assert_frame_equal(
        rows.sort_values(list(rows.columns), ignore_index=True), whole[whole["time"] > start].reset_index(drop=True)
    )


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

    assert values(read(prometheus), "requests_total") == {1: 10, 3: 12}


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


def read_own(prometheus: Any, *metrics: str) -> pd.DataFrame:
    reader = PrometheusMetrics(prometheus.url, "shop", VERSIONS, timeout=timedelta(seconds=4), namespace="eu")
    return reader.with_pods(metrics, "shop").read(SINCE)


def test_the_pods_own_counters_are_read_by_their_version_label_and_added_up_over_other_labels(prometheus: Any) -> None:
    prometheus.result = [
        series({1: 100, 2: 200}),
        own("failures_total", {1: 3, 2: 4}, pod="shop-x1", version="v2", app="shop", reason="card"),
        own("failures_total", {1: 1, 2: 1}, pod="shop-x1", version="v2", app="shop", reason="stock"),
        own("failures_total", {1: 9}, pod="cart-y", version="v2", app="cart"),
        own("failures_total", {1: 9}, pod="shop-z", version="v0"),
    ]

    frame = read_own(prometheus, "failures_total", "checkouts_total")

    assert values(frame, "failures_total", "canary", "shop-x1") == {1: 4, 2: 5}
    assert set(frame[frame["metric"] == "failures_total"]["pod"]) == {"shop-x1"}
    assert frame["time"].is_monotonic_increasing
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

    frame = read_own(prometheus, "memory_bytes")

    assert values(frame, "memory_bytes", "stable", "shop-v1-6d4-abc") == {1: 30}
    assert len(frame[frame["metric"] == "memory_bytes"]) == 1


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
