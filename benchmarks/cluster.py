"""What a rollout's calls cost on a cluster's API server: from the decision to the patched route, and each tick's.

    python -m benchmarks.cluster [--calls 50] [--real] [--json FILE] [--check]

Without `--real` the API server is the emulated one of the tests, in this very process: its times are this project's
own overhead, client and server sharing one interpreter. With it, a namespace of its own is made on the cluster that
KUBECONFIG names, and every call is made with the shipped Role's rights and no others.

set weights   decision -> the server has the new split: one read, one patch with its preconditions
in force      the same again: one read, nothing is written
tick          what one look at the world costs: lock, signals, pods, state
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from statistics import median, quantiles

from rich.console import Console
from rich.table import Table

from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.environment import World, attach
from rollout.events import WeightsSet
from rollout.model import AT_REST, Weights
from tests.cluster.real import real_cluster
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import role_rules, service_at_rest

MOST_MS = 15.0
"""From the decision to the patched route, median."""
_STATE = json.dumps({"evidence": [0.1 * number for number in range(1000)]})


def measured(action: Callable[[], object], calls: int) -> list[float]:
    """Return how long each call took, in ms; two calls before the first are not counted."""
    times = []
    for _ in range(calls + 2):
        began = time.perf_counter()
        action()
        times.append((time.perf_counter() - began) * 1000)
    return times[2:]


def actions(world: World) -> dict[str, Callable[[], object]]:
    """Return what is measured, by name; to be called in this order."""
    numbers = count()
    shares = (Weights.with_canary(20), Weights.with_canary(50))
    lock, ledger, signals = world.lock("benchmark"), world.ledger("benchmark"), world.signals("benchmark")
    lock.acquire()
    event = WeightsSet(at=datetime.now(UTC), stable=80, canary=20, reason="benchmark", milliseconds=1.0)

    def tick() -> None:
        lock.renew()
        signals.read()
        world.workloads.pods()
        ledger.save_state(f"{_STATE}{next(numbers)}")

    return {
        "set weights": lambda: world.router.set_weights(shares[next(numbers) % 2]),
        "in force": lambda: world.router.set_weights(world.router.read_weights()),
        "read weights": world.router.read_weights,
        "renew lock": lock.renew,
        "read pods": world.workloads.pods,
        "read signals": signals.read,
        "append event": lambda: ledger.append(event),
        "save state": lambda: ledger.save_state(f"{_STATE}{next(numbers)}"),
        "tick": tick,
        "seize (emergency)": lambda: world.router.seize(AT_REST),
    }


@contextmanager
def service(folder: Path, *, real: bool) -> Iterator[ClusterSettings]:
    """Yield a service at rest, on the real cluster or on the emulated one."""
    if real:
        with real_cluster(folder) as found:
            yield found.settings
        return
    with EmulatedCluster(role_rules()) as server:
        server.put(*service_at_rest())
        yield ClusterSettings(kubeconfig=server.kubeconfig(folder))


def show(times: dict[str, list[float]], where: str) -> None:
    """Print median and 95th percentile of each kind of call."""
    table = Table(title=f"API time in ms, {where}", title_justify="left")
    for heading in ("", "median", "p95", "calls"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, values in times.items():
        table.add_row(name, f"{median(values):.1f}", f"{quantiles(values, n=20)[-1]:.1f}", str(len(values)))
    Console().print(table)


def main() -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=50)
    parser.add_argument("--real", action="store_true", help="the cluster that KUBECONFIG names")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help=f"exit 1 when setting weights takes over {MOST_MS:g} ms")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, service(Path(folder), real=options.real) as settings:
        found = actions(attach(settings))
        times = {name: measured(action, options.calls) for name, action in found.items()}
    show(times, "real cluster" if options.real else "emulated server")
    if options.json:
        options.json.write_text(json.dumps(times))
    return int(options.check and median(times["set weights"]) > MOST_MS)


if __name__ == "__main__":
    sys.exit(main())
