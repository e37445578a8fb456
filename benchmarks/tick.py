"""What one look costs a rollout's process: thirteen proxies' samples read from a server and judged, and its memory.

    python -m benchmarks.tick [--against REVISION] [--rounds 3] [--json FILE] [--check]

The same look is taken by this tree and by an earlier revision of it, in turns, each in a process of its own; processor
time counts, not the time of day. With --check: no slower than that revision by more than a tenth, which is the noise
of these machines, and at least 40 MiB smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from urllib.parse import parse_qs, urlparse

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
BEFORE = "44e2417"
"""The last revision that added proxies up before it took their growth."""
PROXIES = 13
SLOWER, SMALLER_MIB = 1.1, 40.0
EDGES = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000, 1800000, 3600000)
_STATUSES = (("200", 0.97), ("404", 0.02), ("503", 0.01))
# Runs in either tree: reads and judges a scrape of every five seconds, the first ten of stable alone.
_LOOKS = """
import datetime, json, statistics, sys, time
import psutil
import backends.prometheus
from analysis.judge import Judge
from backends.prometheus import PrometheusMetrics
from rollout.model import Track
from rollout.plan import parse_plan

class At(datetime.datetime):
    moment = None

    @classmethod
    def now(cls, tz=None):
        return cls.moment

sys.modules.get("backends.prometheus.reader", backends.prometheus).datetime = At
judge = Judge.for_plan(parse_plan(open("rollout.yaml").read()))
metrics = PrometheusMetrics(
    sys.argv[1], "canary-app", {Track.STABLE: "v1", Track.CANARY: "v2"}, timeout=datetime.timedelta(seconds=30)
)
state, costs = judge.begin(), []
for look in range(72):
    At.moment = now = datetime.datetime.fromtimestamp(1_750_000_001 + 5 * look, datetime.UTC)
    before = time.process_time()
    samples = metrics.read(now - datetime.timedelta(seconds=20))
    if look < 10:
        state, _ = judge.learn(state, samples)
    else:
        state = judge.look(state, samples, canary_share=0.2, now=now).state
    if look >= 12:
        costs.append(time.process_time() - before)
mib = psutil.Process().memory_info().rss / 2**20
print(json.dumps({"ms": 1000 * statistics.median(costs), "mib": mib}))
"""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a tree's look came to: medians over the rounds."""

    tree: str
    ms: float
    """Processor time of one look."""
    mib: float
    """Memory of the process at the end."""


class _Mesh(BaseHTTPRequestHandler):
    """Answers as a Prometheus that has scraped thirteen proxies every five seconds, each at a moment of its own."""

    def do_GET(self) -> None:
        at = float(parse_qs(urlparse(self.path).query)["time"][0])
        series = [one for proxy in range(PROXIES) for one in _series(proxy, at // 5 * 5 - proxy / PROXIES)]
        body = json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def _series(proxy: int, last: float) -> Iterator[dict[str, object]]:
    for version, rate in (("v1", 80), ("v2", 20)):
        labels = {
            "reporter": "source",
            "job": "pods",
            "instance": f"10.0.0.{proxy}:15020",
            "pod": f"gateway-{proxy}",
            "destination_service_name": "canary-app",
            "destination_service_namespace": "shop",
            "destination_version": version,
            "destination_workload": f"shop-{version}",
            "source_workload": "gateway",
            "request_protocol": "http",
            "connection_security_policy": "unknown",
            "namespace": "istio-system",
        }

        def counted(name: str, part: float, labels: dict[str, str] = labels, rate: float = rate, **own: str) -> object:
            times = (last - 15, last - 10, last - 5, last)
            values = [[time, str(round((time - 1.7e9) * rate / PROXIES * part))] for time in times]
            return {"metric": labels | {"__name__": f"istio_{name}"} | own, "values": values}

        duration = "request_duration_milliseconds"
        yield from (counted("requests_total", part, response_code=code) for code, part in _STATUSES)  # type: ignore[misc]
        for edge in EDGES:
            part = 0.0 if edge < 25 else 0.1 if edge == 25 else 0.9 if edge == 50 else 1.0
            yield counted(f"{duration}_bucket", part, le=f"{edge:g}", response_code="200")  # type: ignore[misc]
        yield counted(f"{duration}_bucket", 1.0, le="+Inf", response_code="200")  # type: ignore[misc]
        yield counted(f"{duration}_sum", 37.0, response_code="200")  # type: ignore[misc]
        yield counted(f"{duration}_count", 1.0, response_code="200")  # type: ignore[misc]


def _serve() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Mesh)
    print(server.server_port, flush=True)
    server.serve_forever()


@contextmanager
def mesh() -> Iterator[str]:
    """Serve the mesh's counters in a process of their own, so that they cost the looks nothing."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.tick", "--serve"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.kill()
        process.wait()


@contextmanager
def revision(name: str) -> Iterator[Path]:
    """Check an earlier revision out beside this one."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), name], check=True)
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def look(tree: Path, url: str) -> dict[str, float]:
    """Return what looks cost in a tree."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    done = subprocess.run(
        [sys.executable, "-c", _LOOKS, url], cwd=tree, env=environment, check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", default=BEFORE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        return _serve()
    with mesh() as url, revision(options.against) as before:
        rounds = [{tree: look(tree, url) for tree in (before, ROOT)} for _ in range(options.rounds)]
        costs = [
            Cost(name, *(median(one[tree][figure] for one in rounds) for figure in ("ms", "mib")))
            for name, tree in ((options.against, before), ("here", ROOT))
        ]
    table = Table(title=f"one look at {PROXIES} proxies")
    for heading in ("tree", "processor ms", "process MiB"):
        table.add_column(heading, justify="right")
    for cost in costs:
        table.add_row(cost.tree, f"{cost.ms:.1f}", f"{cost.mib:.0f}")
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(cost) for cost in costs], indent=1))
    then, now = costs
    if options.check and (now.ms > SLOWER * then.ms or then.mib - now.mib < SMALLER_MIB):
        sys.exit(1)
    return None


if __name__ == "__main__":
    main()
