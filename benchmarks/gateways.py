"""Gateways of many services, emulated in one process: what rollouts ask and read, and no traffic.

    python -m benchmarks.gateways FOLDER [--rate 500]

Each folder below FOLDER is a service's state folder. For each of them this process answers as Envoy's admin does (the
split in force, its version, the counters that Prometheus scrapes, by gateway and by pod) and reports its pods as the
supervisor does. Requests come at a rate, split by the weights in force, with seeded latencies and without errors.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from asyncio import StreamReader, StreamWriter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backends.local.envoy_config import EDGES_MS, LOOPBACK, ROUTE, route_file, routes
from backends.local.folder import DesiredState, ObservedPod, ObservedState, Settings, StateFolder
from rollout.model import AT_REST, Track
from rollout.plan import RolloutPlan

Counts = npt.NDArray[np.int64]

_REPORT_SECONDS = 1.0
_MEDIAN_MS, _SIGMA = 35.0, 0.3
_EDGES = (*EDGES_MS, np.inf)


def lay_out(folder: Path, plan: RolloutPlan) -> None:
    """Make the state folder of a service at rest."""
    made = StateFolder(folder)
    made.make()
    versions = {Track.STABLE: plan.stable.version, Track.CANARY: plan.canary.version}
    made.write(
        Settings(
            service=plan.service,
            versions=versions,
            scrape_seconds=plan.scrape.total_seconds(),
            timeout_seconds=plan.timeout.total_seconds(),
            seed=1,
            envoy="emulated",
            prometheus="",
        )
    )
    made.write(DesiredState(replicas={Track.STABLE: plan.stable.replicas, Track.CANARY: 0}))
    at_rest = routes(AT_REST, version="at rest", timeout=plan.timeout)
    route_file(made.gateway).write_text(json.dumps(at_rest))


@dataclass(slots=True)
class Gateway:
    """One service: its split, its pods, and what they have counted."""

    folder: StateFolder
    settings: Settings
    rate: float
    prometheus_port: int
    draw: np.random.Generator
    port: int = 0
    counted_to: float = field(default_factory=time.time)
    buckets: dict[tuple[Track, str], Counts] = field(default_factory=dict)
    weights: dict[Track, int] = field(default_factory=lambda: {Track.STABLE: 100})
    _routes: tuple[int, dict[str, Any]] = (0, {})

    def routes(self) -> dict[str, Any]:
        """Return the route file in force, read again when it has changed."""
        file = route_file(self.folder.gateway)
        changed = file.stat().st_mtime_ns
        if changed != self._routes[0]:
            self.count(self.folder.desired())  # until now the old split was in force
            self._routes = (changed, json.loads(file.read_bytes()))
            live = self._routes[1]["resources"][0]["virtual_hosts"][0]["routes"][-1]["route"]
            self.weights = {Track(one["name"]): int(one["weight"]) for one in live["weighted_clusters"]["clusters"]}
        return self._routes[1]

    def count(self, desired: DesiredState) -> None:
        """Let the requests since the last count have arrived."""
        now = time.time()
        seconds, self.counted_to = now - self.counted_to, now
        for track, percent in self.weights.items():
            pods = self.pods(track, desired)
            for pod in pods if percent else ():
                arrived = self.draw.poisson(self.rate * seconds * percent / 100 / len(pods))
                latencies = np.sort(_MEDIAN_MS * np.exp(_SIGMA * self.draw.standard_normal(arrived)))
                before = self.buckets.get((track, pod), np.zeros(len(_EDGES), dtype=np.int64))
                self.buckets[track, pod] = before + np.searchsorted(latencies, _EDGES, side="right")

    def pods(self, track: Track, desired: DesiredState) -> list[str]:
        """Return the names of a track's pods."""
        name = f"{self.settings.service}-{self.settings.versions[track]}"
        return [f"{name}-{number}" for number in range(desired.replicas.get(track, 0))]

    def report(self) -> None:
        """Say what there is, as the supervisor does."""
        desired = self.folder.desired()
        pods = [
            ObservedPod(name=pod, track=track, version=version, port=1, pid=1, ready=True, restarts=0, waiting="")
            for track, version in self.settings.versions.items()
            for pod in self.pods(track, desired)
        ]
        observed = ObservedState(
            at=time.time(),
            supervisor=os.getpid(),
            gateway_port=self.port,
            admin_port=self.port,
            prometheus_port=self.prometheus_port,
            pods=tuple(pods),
            serving=True,
        )
        self.folder.write(observed)

    def answer(self, path: str) -> str:
        """Return what Envoy's admin says at this path."""
        if path.startswith("/stats/prometheus"):
            return self._exposition()
        found = self.routes()
        version = found["version_info"]
        if path.startswith("/config_dump"):
            return json.dumps({"configs": [{"version_info": version, "route_config": found["resources"][0]}]})
        return json.dumps({"stats": [{"name": f"http.gateway.rds.{ROUTE}.version_text", "value": version}]})

    def _exposition(self) -> str:
        self.count(self.folder.desired())
        lines: list[str] = []
        for track, version in self.settings.versions.items():
            own = {pod: counts for (of, pod), counts in self.buckets.items() if of is track}
            for pod, counts in own.items():
                lines += self._series(version, counts, f'reporter="destination",pod="{pod}"')
            if own:
                lines += self._series(version, sum(own.values(), np.zeros_like(counts)), 'reporter="source"')
        return "\n".join(lines) + "\n"

    def _series(self, version: str, counts: Counts, reporter: str) -> list[str]:
        service = self.settings.service
        labels = f'{reporter},destination_service_name="{service}",destination_workload="{service}-{version}"'
        labels += f',destination_version="{version}",response_code="200",response_flags="-"'
        name, total = "istio_request_duration_milliseconds", counts[-1]
        edges = [f"{edge:g}" if np.isfinite(edge) else "+Inf" for edge in _EDGES]
        return [
            f"istio_requests_total{{{labels}}} {total}",
            f"{name}_sum{{{labels}}} {total * _MEDIAN_MS * np.exp(_SIGMA**2 / 2):.0f}",
            f"{name}_count{{{labels}}} {total}",
            *(f'{name}_bucket{{{labels},le="{edge}"}} {count}' for edge, count in zip(edges, counts, strict=True)),
        ]

    async def converse(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Answer one client's requests."""
        try:
            while request := await reader.readuntil(b"\r\n\r\n"):
                body = self.answer(request.split(b" ", 2)[1].decode()).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n"
                writer.write(head.encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def serve(folders: list[Path], *, rate: float, prometheus_port: int, ports: Path) -> None:
    """Stand in for every service's gateway, for good; their ports are written to a file once all answer."""
    gateways = []
    for number, path in enumerate(folders):
        draw = np.random.default_rng(number)
        gateway = Gateway(StateFolder(path), StateFolder(path).settings(), rate, prometheus_port, draw)
        server = await asyncio.start_server(gateway.converse, LOOPBACK, 0)
        gateway.port = server.sockets[0].getsockname()[1]
        gateway.report()
        gateways.append(gateway)
    ports.write_text(json.dumps([gateway.port for gateway in gateways]))
    while True:
        for gateway in gateways:
            gateway.report()
            await asyncio.sleep(_REPORT_SECONDS / len(gateways))


def main() -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rate", type=float, default=500.0, help="requests a second of each service")
    parser.add_argument("--prometheus-port", type=int, required=True)
    options = parser.parse_args()
    folders = sorted(path for path in options.folder.iterdir() if path.is_dir())
    ports = options.folder / "ports.json"
    asyncio.run(serve(folders, rate=options.rate, prometheus_port=options.prometheus_port, ports=ports))


if __name__ == "__main__":
    main()
