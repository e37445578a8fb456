"""Shipped profiles, judged from recorded text of the real thing that a real Prometheus holds."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlparse

import pytest
import requests
import yaml

from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.samples import BUCKET, COUNT, REQUESTS, SUM
from backends.local.prometheus_process import find_prometheus
from backends.prometheus import PrometheusMetrics
from cli.command_line import run as main
from rollout.errors import NoSamplesError
from rollout.model import Track
from tests.unit.backends.recorded import MEAN_MS, History, exported, history
from tests.unit.backends.remote_write import histogram, write_request

ROOT = Path(__file__).parents[3]
VERSIONS = {Track.STABLE: "v1", Track.CANARY: "v2"}
SOURCES = {
    "istio": "shop",
    "istio-ambient": "cart",
    "envoy": "shop",
    "envoy-classes": "till",
    "envoy-gateway": "shop",
    "linkerd": "shop",
    "traefik": "shop",
    "traefik-exported": "till",
    "ingress-nginx": "shop",
    "otel-http": "shop",
}
"""Each profile's service in the recordings."""


class Recorded:
    """A Prometheus that holds what every source exported, of a healthy canary and of a failing one."""

    def __init__(self, url: str, healthy: History, failing: History) -> None:
        self.url, self.healthy, self.failing = url, healthy, failing


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recorded]:
    folder = tmp_path_factory.mktemp("recorded")
    now = int(time.time()) // 60 * 60
    healthy = history(now - 7200, failing=0.0005, seed=1)
    failing = history(now - 3600, failing=0.05, seed=2)
    lines = [
        line
        for name in sorted({"envoy" if name == "envoy-classes" else name for name in SOURCES})
        for place, one in (("10.42.0.7:9100", healthy), ("10.42.1.9:9100", failing))
        for line in exported(name, one, instance=place)
    ]
    (folder / "recorded.om").write_text("\n".join([*lines, "# EOF\n"]))
    promtool = shutil.which("promtool") or str(Path(find_prometheus()).with_name("promtool"))
    blocks = ["tsdb", "create-blocks-from", "openmetrics", str(folder / "recorded.om"), str(folder / "data")]
    subprocess.run([promtool, *blocks], check=True, capture_output=True)
    with prometheus(folder) as url:
        yield Recorded(url, healthy, failing)


@contextmanager
def prometheus(folder: Path, *more: str) -> Iterator[str]:
    """Run a Prometheus on the folder's data, and yield its address."""
    (folder / "prometheus.yml").write_text("{}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--storage.tsdb.retention.time=1y", f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"]
    files = [f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}"]
    process = subprocess.Popen([find_prometheus(), *files, *options, *more])
    try:
        _wait_ready(f"http://127.0.0.1:{port}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=20)


def _wait_ready(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if requests.get(f"{url}/-/ready", timeout=2).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} is not ready")


def reader(recorded: Recorded, profile: str, service: str) -> PrometheusMetrics:
    return PrometheusMetrics(
        recorded.url,
        service,
        VERSIONS,
        timeout=timedelta(seconds=30),
        namespace="eu",
        destinations={track: f"{service}-{track}" for track in VERSIONS},
        profile=profile,
    )


def moments(one: History) -> tuple[datetime, datetime]:
    return datetime.fromtimestamp(one.began, UTC), datetime.fromtimestamp(one.until, UTC)


@pytest.fixture
def backtest(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., dict[str, Any]]:
    def run(profile: str, service: str, one: History) -> dict[str, Any]:
        plan = yaml.safe_load((ROOT / "rollout.yaml").read_text())
        plan |= {"service": service, "metrics": {"profile": profile, "namespace": "eu"}}
        (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
        since, until = (moment.isoformat() for moment in moments(one))
        server = ["--prometheus", recorded.url, "--start", since, "--end", until]
        monkeypatch.setattr(
            "sys.argv", ["canary", "backtest", "--plan", f"{tmp_path / 'plan.yaml'}", *server, "--summary"]
        )
        with pytest.raises(SystemExit):
            main()
        return dict(json.loads(capsys.readouterr().out))

    return run


@pytest.mark.parametrize(("profile", "service"), SOURCES.items())
def test_a_healthy_canary_is_promotable_and_a_failing_one_is_rolled_back_from_what_each_source_exports(
    profile: str, service: str, recorded: Recorded, backtest: Callable[..., dict[str, Any]]
) -> None:
    healthy = backtest(profile, service, recorded.healthy)
    failing = backtest(profile, service, recorded.failing)

    assert (healthy["rollback_at"], failing["promote_at"]) == (None, None)
    assert healthy["promote_at"] is not None
    assert failing["rollback_at"] is not None
    assert "canary requests failed" in failing["reason"]


@pytest.mark.parametrize(("profile", "service"), SOURCES.items())
def test_every_request_of_the_service_is_counted_once_and_nobody_elses(
    profile: str, service: str, recorded: Recorded
) -> None:
    one = recorded.healthy
    samples = reader(recorded, profile, service).read_range(*moments(one))

    counters = samples.where(series.metric == REQUESTS for series in samples.series)
    growth, _ = increase(CounterState(), counters)
    counted = {"stable": 0.0, "canary": 0.0}
    for column, amount in zip(growth.column.tolist(), growth.amount.tolist(), strict=True):
        counted[counters.series[column].track] += amount

    first = one.counts["stable.ok"][0] + one.counts["stable.failed"][0]  # the baseline
    assert counted["stable"] == one.counts["stable.ok"][-1] + one.counts["stable.failed"][-1] - first
    assert counted["canary"] == one.counts["canary.ok"][-1] + one.counts["canary.failed"][-1]


@pytest.mark.parametrize(("profile", "service"), SOURCES.items())
def test_durations_are_in_milliseconds_whatever_the_sources_unit(
    profile: str, service: str, recorded: Recorded
) -> None:
    samples = reader(recorded, profile, service).read_range(*moments(recorded.healthy))

    totals = {
        metric: increase(CounterState(), samples.where(one.metric == metric for one in samples.series))[0].amount.sum()
        for metric in (SUM, COUNT)
    }
    assert totals[SUM] / totals[COUNT] == pytest.approx(MEAN_MS, rel=0.01)
    assert {500.0, 5000.0} & {one.le for one in samples.series}


def test_where_statuses_are_not_kept_their_classes_are_read_instead(recorded: Recorded) -> None:
    samples = reader(recorded, "envoy", "till").read_range(*moments(recorded.healthy))

    assert {one.answer for one in samples.series if one.metric == REQUESTS} == {"200", "500"}


def test_where_a_scrape_renamed_traefiks_label_the_renamed_one_is_read(recorded: Recorded) -> None:
    samples = reader(recorded, "traefik", "till").read_range(*moments(recorded.healthy))

    assert {one.track for one in samples.series} == {"stable", "canary"}
    assert all("service=traefik-metrics" in one.target for one in samples.series)


def test_a_server_that_refuses_quoted_names_has_none_of_their_series(recorded: Recorded) -> None:
    with pytest.raises(NoSamplesError, match="http_server_request_duration_seconds"):
        reader(recorded, "otel-http", "nobody").read_range(*moments(recorded.healthy))


@pytest.mark.parametrize("service", ['sh"op', "sh\\op", "shop|till", ".*", "{shop}", 'shop"} or {x="', "shöp"])
@pytest.mark.parametrize("profile", ["istio", "linkerd", "envoy-classes"])
def test_a_strange_name_is_looked_for_as_it_is(recorded: Recorded, profile: str, service: str) -> None:
    with pytest.raises(NoSamplesError):
        reader(recorded, profile, service).read_range(*moments(recorded.healthy))


class _Prometheus3(BaseHTTPRequestHandler):
    """Answers as Prometheus 3 does, for a service that sends OpenTelemetry's names untranslated."""

    labels: ClassVar = {"service.name": "shop", "http.request.method": "GET", "job": "shop", "instance": "a"}

    def do_GET(self) -> None:
        query = parse_qs(urlparse(self.path).query)["query"][0]
        result = []
        if '"service.name"="shop"' in query and r"http\\.server\\.request\\.duration_count" in query:
            for version, status, count in (("v1", "200", 90), ("v2", "200", 8), ("v2", "500", 2)):
                metric = {"__name__": "http.server.request.duration_count", **self.labels, "service.version": version}
                values = [[time.time() - 5, "0"], [time.time() - 1, str(count)]]
                result.append({"metric": metric | {"http.response.status_code": status}, "values": values})
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_opentelemetrys_own_names_are_read_where_the_server_has_only_those() -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Prometheus3) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        url = f"http://127.0.0.1:{server.server_port}"
        since = datetime.now(UTC) - timedelta(seconds=30)
        limit = timedelta(seconds=20)
        samples = PrometheusMetrics(url, "shop", VERSIONS, timeout=limit, profile="otel-http").read(since)
        server.shutdown()

    counted = {(one.track, one.answer): values[-1] for one, _, values in samples.each() if one.metric == REQUESTS}
    assert counted == {("stable", "200"): 90, ("canary", "200"): 8, ("canary", "500"): 2}


def test_native_histograms_of_a_real_prometheus_are_read_at_edges_that_they_have(tmp_path: Path) -> None:
    now, scrapes = int(time.time()), range(1, 4)
    series = [
        (
            {"__name__": "http_server_request_duration_seconds", "service_name": "shop", "instance": "a"}
            | {"service_version": version, "http_response_status_code": status},
            [
                histogram(
                    at_ms=1000 * (now - 20 + 5 * scrape),
                    total=1.5 * slow * scrape,
                    schema=0,
                    buckets={-3: 10 * scrape, -1: slow * scrape, 3: scrape},
                )
                for scrape in scrapes
            ],
        )
        for version, status, slow in (("v1", "200", 5), ("v2", "200", 20), ("v2", "500", 1))
    ]
    features = ["--web.enable-remote-write-receiver", "--enable-feature=native-histograms"]
    with prometheus(tmp_path, *features) as url:
        headers = {"Content-Encoding": "snappy", "Content-Type": "application/x-protobuf"}
        requests.post(f"{url}/api/v1/write", write_request(series), headers=headers, timeout=10).raise_for_status()
        reader = PrometheusMetrics(url, "shop", VERSIONS, timeout=timedelta(seconds=20), profile="otel-http")
        samples = reader.read(datetime.fromtimestamp(now - 60, UTC))

    read = {(one.track, one.metric, one.le, one.answer): values.tolist() for one, _, values in samples.each()}
    assert read["stable", REQUESTS, -1.0, "200"] == [16, 32, 48]
    assert read["canary", REQUESTS, -1.0, "500"] == [12, 24, 36]
    below = {le: values for (track, metric, le, _), values in read.items() if (track, metric) == ("stable", BUCKET)}
    assert [below[le][-1] for le in (62.5, 125.0, 250.0, 500.0, 4000.0, 8000.0, float("inf"))] == [
        0,
        30,
        30,
        45,
        45,
        48,
        48,
    ]
    assert read["stable", SUM, -1.0, ""] == [7500, 15000, 22500]
