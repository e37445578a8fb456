"""The plan's own metrics as a real Prometheus has them: which series a selector reads, and what is judged of them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from analysis.judge import Judge
from analysis.offline.backtest import Backtest, backtest_samples, since_canary
from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.samples import Samples
from backends.prometheus import PrometheusMetrics
from backends.prometheus.api import PrometheusApi
from rollout.model import Track
from rollout.plan import RolloutPlan, parse_plan, validate_plan
from rollout.selectors import Matcher, Operator, Selector
from tests.real_prometheus import Counted, holding

VERSIONS = {Track.STABLE: "v1", Track.CANARY: "v2"}
LIMIT = timedelta(minutes=1)
BEGAN = 1_700_000_000.0
"""When the canary gets its first request; nothing of the canary was there before."""
SCRAPE, HISTORY, SCRAPES = 5.0, 24, 120
OTHERS = 18
"""Endpoints beside the one that fails, each with a ratio of its own."""
NAME = "http_server_requests_seconds_count"
EVENTS, TOTAL = f'{NAME}{{status=~"5.."}}', NAME


def gateway(track: Track, rng: np.random.Generator) -> Iterator[Counted]:
    """Yield what the gateway counts: every request answered, in 40 ms or 80 ms."""
    labels = {"destination_service_name": "shop", "destination_service_namespace": "eu", "reporter": "source"}
    labels |= {"destination_version": VERSIONS[track], "response_code": "200", "instance": "10.0.0.9:15020"}
    times = times_of(track)
    fast, slow = (np.cumsum(rng.poisson(mean, len(times))) for mean in (80, 20))
    duration = "istio_request_duration_milliseconds"
    for name, le, counted in (
        ("istio_requests_total", {}, fast + slow),
        (f"{duration}_bucket", {"le": "50"}, fast),
        (f"{duration}_bucket", {"le": "100"}, fast + slow),
        (f"{duration}_bucket", {"le": "+Inf"}, fast + slow),
        (f"{duration}_count", {}, fast + slow),
        (f"{duration}_sum", {}, 40 * fast + 80 * slow),
    ):
        yield {"__name__": name} | labels | le, list(zip(times, counted.tolist(), strict=True))


def times_of(track: Track) -> list[float]:
    first = 0 if track is Track.CANARY else -HISTORY
    return [BEGAN + SCRAPE * index for index in range(first, SCRAPES)]


def own(name: str, counts: list[tuple[float, float]], **labels: str) -> Counted:
    return {"__name__": name, "namespace": "eu"} | labels, counts


def pod_labels(track: Track, pod: str) -> dict[str, str]:
    place = {"pod": f"shop-{VERSIONS[track]}-{pod}", "instance": f"10.0.{track is Track.CANARY:d}.{ord(pod)}:8080"}
    return place | {"version": VERSIONS[track], "app": "shop", "job": "shop"}


def endpoints(track: Track, failing: float, rng: np.random.Generator) -> Iterator[Counted]:
    """Yield what two pods count of each endpoint, by status; a series of errors is born with the first one."""
    times = times_of(track)
    for pod in ("a", "b"):
        for uri in ("/checkout", *(f"/{index}" for index in range(OTHERS))):
            requests = rng.poisson(20, len(times))
            failed = rng.binomial(requests, failing if uri == "/checkout" else 0.02)
            for status, counted in (("200", requests - failed), ("503", failed)):
                total = np.cumsum(counted).tolist()
                born = [(at, value) for at, value in zip(times, total, strict=True) if status == "200" or value > 0]
                yield own(NAME, born, uri=uri, status=status, **pod_labels(track, pod))


def rollout(seed: int, *, canary: float, stable: float = 0.02) -> Iterator[Counted]:
    rng = np.random.default_rng(seed)
    for track, failing in ((Track.STABLE, stable), (Track.CANARY, canary)):
        yield from gateway(track, rng)
        yield from endpoints(track, failing, rng)


def reader(url: str, *metrics: str) -> PrometheusMetrics:
    metric = PrometheusMetrics(url, "shop", VERSIONS, timeout=LIMIT, namespace="eu")
    return metric.with_pods(metrics, "shop")


def moments() -> tuple[datetime, datetime]:
    ends = (BEGAN - SCRAPE * (HISTORY + 1), BEGAN + SCRAPE * SCRAPES)
    return datetime.fromtimestamp(ends[0], UTC), datetime.fromtimestamp(ends[1], UTC)


def read(url: str, *metrics: str) -> Samples:
    return reader(url, *metrics).read_range(*moments())


def plan_with(*ratios: tuple[str, str, str]) -> RolloutPlan:
    written = parse_plan(Path("rollout.yaml").read_text(encoding="utf-8")).model_dump(mode="json")
    named = [{"name": name, "events": events, "total": total} for name, events, total in ratios]
    return validate_plan(written | {"criteria": written["criteria"] | {"ratios": named}})


def judged(url: str, plan: RolloutPlan) -> Backtest:
    return backtest_samples("shop", since_canary(read(url, *plan.criteria.metrics)), Judge.for_plan(plan))


def grown(samples: Samples, metric: str, track: str) -> float:
    growth, _ = increase(CounterState(), samples)
    ours = np.array([one.metric == metric and one.track == track for one in samples.series])
    return float(growth.amount[ours[growth.column]].sum())


ALL = plan_with(
    ("failed checkouts", f"{NAME}{{status=~'5..', uri='/checkout'}}", f"{NAME}{{uri='/checkout'}}"),
    *(
        (f"failed {index}", f"{NAME}{{status=~'5..', uri='/{index}'}}", f"{NAME}{{uri='/{index}'}}")
        for index in range(18)
    ),
    ("failed at all", EVENTS, TOTAL),
)


def test_a_canary_that_fails_more_by_its_status_label_is_rolled_back_among_twenty_ratios(tmp_path: Path) -> None:
    with holding(tmp_path, rollout(1, canary=0.3)) as url:
        result = judged(url, ALL)

    assert len(ALL.criteria.ratios) == 20
    assert result.rollback_at is not None
    assert "checkouts" in result.reason


def test_a_canary_that_fails_as_stable_does_is_not_rolled_back_by_any_of_twenty_ratios(tmp_path: Path) -> None:
    with holding(tmp_path, rollout(2, canary=0.02)) as url:
        result = judged(url, ALL)

    assert result.rollback_at is None
    assert result.promote_at is not None


def test_ratios_that_share_a_total_are_each_judged(tmp_path: Path) -> None:
    shared = plan_with(("failed", EVENTS, TOTAL), ("not found", f"{NAME}{{status='404'}}", TOTAL))
    with holding(tmp_path, rollout(3, canary=0.9)) as url:
        result = judged(url, shared)

    assert result.rollback_at is not None
    assert result.reason.startswith("failed")


def test_a_series_counts_for_every_selector_that_selects_it_and_for_no_other_pods(tmp_path: Path) -> None:
    growing = [(BEGAN + SCRAPE * index, 10.0 * index) for index in range(5)]
    born = growing[2:]
    cart = {"pod": "cart-v2-x", "instance": "10.9.9.9:8080", "app": "cart", "version": "v2"}
    series = [
        *rollout(4, canary=0.0, stable=0.0),
        own("orders", growing, status="200", **pod_labels(Track.CANARY, "a")),
        own("orders", born, status="503", **pod_labels(Track.CANARY, "a")),
        own("orders", growing, **pod_labels(Track.CANARY, "b")),  # without a status: the empty text
        own("orders", growing, status="503", **pod_labels(Track.STABLE, "a")),
        own("orders", growing, status="503", **cart),
        own("orders_created", growing, status="503", **pod_labels(Track.CANARY, "a")),
    ]
    metrics = ("orders", "orders{status=~'5..'}", "orders{status!='200'}", "orders{status=''}", "orders{status!~'2..'}")

    with holding(tmp_path, series) as url:
        counted = {metric: grown(read(url, *metrics), metric, "canary") for metric in metrics}
        alone = grown(read(url, "orders{status=~'5..'}"), "orders{status=~'5..'}", "canary")

    # The error was born at 20 while its pod was scraped: all of its 40 happened since.
    assert counted == dict(zip(metrics, (120.0, 40.0, 80.0, 40.0, 80.0), strict=True))
    assert alone == 20.0  # nothing else shows that its pod was scraped before: its first sample is its baseline


WRITERS: dict[str, tuple[dict[str, str], tuple[str, str] | None]] = {
    "recommended_labels": (
        {"app_kubernetes_io_version": "v2", "app_kubernetes_io_name": "shop", "pod": "x"},
        ("canary", "x"),
    ),
    "release_of_a_chart": (
        {"app_kubernetes_io_version": "v1", "app_kubernetes_io_instance": "shop", "pod": "x"},
        ("stable", "x"),
    ),
    "another_services_version": (
        {"app_kubernetes_io_version": "v2", "app_kubernetes_io_name": "cart", "pod": "x"},
        None,
    ),
    "version_of_an_image": ({"app_kubernetes_io_version": "1.4.2", "pod": "shop-v2-c-d"}, ("canary", "shop-v2-c-d")),
    "another_version": ({"version": "v0", "pod": "shop-v2-c-d"}, None),
    "older_scrape": ({"kubernetes_pod_name": "shop-v2-c-d"}, ("canary", "shop-v2-c-d")),
    "exporter": ({"pod": "metrics-a", "exported_pod": "shop-v1-c-d"}, ("stable", "shop-v1-c-d")),
    "speaks_of_a_peer": ({"pod": "shop-v2-c-d", "exported_pod": "db-0"}, ("canary", "shop-v2-c-d")),
    "instance_alone": ({"version": "v2", "instance": "10.0.0.7:8080"}, ("canary", "10.0.0.7:8080")),
    "sum_over_pods": ({"version": "v2"}, None),
    "like_name": ({"pod": "shopper-v2-c-d"}, None),
    "elsewhere": ({"version": "v2", "pod": "x", "namespace": "us"}, None),
}
"""How scrapes write whose a series is, and whose it is."""


def test_whose_a_series_is_shows_in_what_its_scrape_wrote(tmp_path: Path) -> None:
    counted = [(BEGAN, 1.0), (BEGAN + SCRAPE, 2.0)]
    series = [own(name, counted, **labels) for name, (labels, _) in WRITERS.items()]

    with holding(tmp_path, [*rollout(5, canary=0.0), *series]) as url:
        samples = read(url, *WRITERS)

    owners = {one.metric: (one.track, one.pod) for one in samples.series if one.metric in WRITERS}
    assert owners == {name: owner for name, (_, owner) in WRITERS.items() if owner}


def test_whose_the_series_of_a_metric_are_is_known_before_a_rollout(tmp_path: Path) -> None:
    counted = [(BEGAN, 1.0), (BEGAN + SCRAPE, 2.0)]
    series = [own("orders", counted, status="200", **labels) for labels, _ in WRITERS.values()]

    with holding(tmp_path, series) as url:
        owners = reader(url).owners("orders{status='200'}", "shop", moments()[0])
        absent = reader(url).owners("orders{status='503'}", "shop", moments()[0])

    expected = [owner[0] if owner else "" for labels, owner in WRITERS.values() if "namespace" not in labels]
    assert sorted(owners) == sorted(expected)
    assert absent == ()


def test_what_two_prometheis_or_two_jobs_scrape_is_counted_once(tmp_path: Path) -> None:
    counted = [(BEGAN + SCRAPE * index, 10.0 * index) for index in range(5)]
    later = [(at + 1, value) for at, value in counted]
    ours = pod_labels(Track.CANARY, "a")
    series = [
        own("orders", counted, **ours, prometheus_replica="a"),
        own("orders", later, **ours, prometheus_replica="b"),
        own("orders", later, **ours | {"job": "also"}, prometheus_replica="b"),
        own("orders", counted, **ours | {"instance": "10.0.1.97:9090"}, prometheus_replica="a"),  # another process
    ]

    with holding(tmp_path, [*rollout(6, canary=0.0), *series]) as url:
        samples = read(url, "orders")

    assert grown(samples, "orders", "canary") == 80.0


def test_a_nodes_view_of_a_pod_counts_its_containers_once_for_each_selector(tmp_path: Path) -> None:
    pod = "shop-v1-6d4-abc"
    series = [
        own("memory_bytes", [(BEGAN, 30.0)], pod=pod),
        own("memory_bytes", [(BEGAN, 20.0)], pod=pod, container="app"),
        own("memory_bytes", [(BEGAN, 10.0)], pod=pod, container="istio-proxy"),
        own("memory_bytes", [(BEGAN, 1.0)], pod=pod, container="POD"),
    ]
    metrics = ("memory_bytes", "memory_bytes{container='app'}", "memory_bytes{container=''}")

    with holding(tmp_path, [*rollout(7, canary=0.0), *series]) as url:
        samples = read(url, *metrics)

    sums = {metric: samples.where(one.metric == metric for one in samples.series).values.sum() for metric in metrics}
    assert sums == dict(zip(metrics, (30.0, 20.0, 30.0), strict=True))


VALUES = [
    "",
    "200",
    "503",
    "1503",
    "50",
    "5",
    "a b",
    "A",
    'q"x',
    "\\",
    "é",
    "5.3",
    "{}",
    "500|",
    "(",
    "x" * 300,
]
PATTERNS = [
    *(
        "5..",
        "5.*",
        ".*3",
        "50|5",
        "5[0-9]{2}",
        "[^5]*",
        "(?i)a",
        "\\d+",
        "a\\sb",
        "[[:digit:]]+",
        "\\(",
        "\\.",
        ".+",
        "x{1,}",
    ),
    *(
        "",
        "5\n?",
        'q".',
        "\\\\",
        "é|A",
        "(5|50)(0|3)",
        "5..|",
        "\\x35.*",
        "(?P<first>5).*",
        "^5..$",
        "[{}]+",
        "\\p{L}",
    ),
]


# No line breaks: that a dot takes them is new in Prometheus 3.
def test_series_are_selected_as_the_server_selects_them(tmp_path: Path) -> None:
    at = datetime.fromtimestamp(BEGAN, UTC)
    series = [own("orders", [(BEGAN, 1.0)], number=str(number), status=value) for number, value in enumerate(VALUES)]
    selectors = [
        Selector("orders", (Matcher("status", operator, pattern),))
        for operator in Operator
        for pattern in (PATTERNS if operator in (Operator.MATCH, Operator.NO_MATCH) else VALUES)
    ]

    with holding(tmp_path, series) as url:
        api = PrometheusApi(url)
        by_server = {
            one.promql: {series.labels["number"] for series in api.instant(one.promql, at, timeout=LIMIT).series}
            for one in selectors
        }

    by_us = {one.promql: {labels["number"] for labels, _ in series if one.selects(labels)} for one in selectors}
    assert by_us == by_server
