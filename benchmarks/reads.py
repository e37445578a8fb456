"""What reading costs the one Prometheus of many services: a tick's queries, together at one instant or spread.

    python -m benchmarks.reads [--services 100] [--seconds 30] [--json FILE]

Each service is read once a scrape, as a rollout's tick does: the series of its last four scrapes. Emulated gateways of
all services are scraped by a real Prometheus.

one query     all series of a service by a pattern on their names, as `backends.prometheus` asks
by name       a query for each of the four names, for comparison
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median, quantiles

import psutil
from prometheus_api_client import PrometheusConnect
from rich.console import Console
from rich.table import Table

from backends.prometheus import PrometheusMetrics
from benchmarks.fleet import service_plan
from benchmarks.plane import Plane
from rollout.model import Track
from rollout.plan import RolloutPlan
from wiring.interruption import interruptible

_NAMES = ("requests_total", *(f"request_duration_milliseconds_{part}" for part in ("bucket", "sum", "count")))
_SCRAPES = 4
Read = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Cost:
    """What one way of reading came to."""

    way: str
    queries_a_second: float
    cores: float
    """Processor seconds a second of Prometheus, its scrapes included."""
    median_ms: float
    p99_ms: float
    failed: int


def one_query(plane: Plane, plan: RolloutPlan) -> Read:
    """Return how a tick reads a service."""
    versions = {Track.STABLE: plan.stable.version, Track.CANARY: plan.canary.version}
    metrics = PrometheusMetrics(plane.prometheus_url, plan.service, versions, timeout=0.8 * plan.scrape)
    return lambda: metrics.read(datetime.now(UTC) - _SCRAPES * plan.scrape)


def by_name(plane: Plane, plan: RolloutPlan) -> Read:
    """Return how a service would be read with a query a name."""
    client = PrometheusConnect(plane.prometheus_url)
    window = f"[{_SCRAPES * plan.scrape.total_seconds():g}s]"
    queries = [f'istio_{name}{{destination_service_name="{plan.service}"}}{window}' for name in _NAMES]
    return lambda: [client.custom_query(query) for query in queries]


def cost(plane: Plane, way: str, reads: Sequence[Read], *, queries: int, spread: bool, seconds: float) -> Cost:
    """Read every service once a scrape for so many seconds."""
    scrape = plane.scrape.total_seconds()
    offsets = [scrape * number / len(reads) if spread else 0.0 for number in range(len(reads))]
    process = psutil.Process(plane.pid("Prometheus"))
    before, began, failed = sum(process.cpu_times()[:2]), time.monotonic(), 0
    taken: list[float] = []

    def tick(read: Read, offset: float) -> None:
        nonlocal failed
        due = began + offset
        while due < began + seconds:
            time.sleep(max(due - time.monotonic(), 0))
            asked = time.monotonic()
            try:
                read()
            except Exception:  # whatever goes wrong is counted
                failed += 1
            taken.append(time.monotonic() - asked)
            due += scrape

    with ThreadPoolExecutor(len(reads)) as threads:
        list(threads.map(tick, reads, offsets))
    wall = time.monotonic() - began
    used = sum(process.cpu_times()[:2]) - before
    p99 = quantiles(taken, n=100)[98]
    return Cost(way, queries * len(taken) / wall, used / wall, 1000 * median(taken), 1000 * p99, failed)


def shown(costs: Sequence[Cost], services: int) -> Table:
    """Return the figures as a table."""
    table = Table(title=f"{services} services read once a scrape")
    for heading in ("way", "queries/s", "Prometheus, cores", "median ms", "p99 ms", "failed"):
        table.add_column(heading, justify="right")
    for one in costs:
        figures = (f"{one.queries_a_second:.0f}", f"{one.cores:.2f}", f"{one.median_ms:.0f}", f"{one.p99_ms:.0f}")
        table.add_row(one.way, *figures, str(one.failed))
    return table


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=30.0, help="for each way")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    plans = [service_plan(number, "30s") for number in range(options.services)]
    with interruptible(), tempfile.TemporaryDirectory() as folder, ExitStack() as parts:
        plane = Plane(Path(folder), plans, parts)
        time.sleep((_SCRAPES + 1) * plans[0].scrape / timedelta(seconds=1))
        costs = []
        for name, made, queries in (("by name", by_name, len(_NAMES)), ("one query", one_query, 1)):
            reads = [made(plane, plan) for plan in plans]
            for when, spread in (("together", False), ("spread", True)):
                way = f"{name}, {when}"
                costs.append(cost(plane, way, reads, queries=queries, spread=spread, seconds=options.seconds))
    Console().print(shown(costs, options.services))
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in costs], indent=1))


if __name__ == "__main__":
    main()
