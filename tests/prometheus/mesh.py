"""A mesh whose proxies count as Istio's do, as OpenMetrics for `promtool tsdb create-blocks-from openmetrics`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

START = 1_767_607_200
"""2026-01-05 10:00 UTC, in unix seconds: the beginning of a block."""
EDGES_MS = (1, 5, 10, 25, 50, 100, 250, 500, 1000)
OK = ("200", "-", "")
Answer = tuple[str, str, str]
"""HTTP status, Envoy's response flags, gRPC status."""


@dataclass
class Proxy:
    """A gateway: what it has counted, as (version, answer) -> (requests, ms each)."""

    instance: str
    counted: dict[tuple[str, Answer], int] = field(default_factory=dict)
    ms: dict[str, float] = field(default_factory=lambda: {"v1": 20.0, "v2": 20.0})
    timed: dict[str, dict[float, int]] = field(default_factory=lambda: {"v1": {}, "v2": {}})

    @classmethod
    def old(cls, instance: str) -> Proxy:
        """Return one that has counted for months, among that errors of an earlier try of v2."""
        proxy = cls(instance)
        proxy.serve("v1", OK, 500_000)
        proxy.serve("v2", OK, 20_000)
        proxy.serve("v2", ("503", "UF", ""), 900)
        return proxy

    def serve(self, version: str, answer: Answer, requests: float, ms: float = 20.0) -> None:
        """Count requests that were answered."""
        if number := round(requests):
            self.counted[version, answer] = self.counted.get((version, answer), 0) + number
            self.timed[version][ms] = self.timed[version].get(ms, 0) + number

    def restart(self) -> None:
        """Lose all counters, as a container that is started again in its pod."""
        self.counted.clear()
        self.timed = {"v1": {}, "v2": {}}


class Scraped:
    """The samples of all cases, each a service of its own."""

    def __init__(self) -> None:
        self._families: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))

    def scrape(self, service: str, proxy: Proxy, at: float, *, job: str = "pods", **labels: str) -> None:
        """Write what a proxy exposes at a moment; labels are those of who scrapes."""
        target = {"instance": f"{proxy.instance}:15020", "job": job, **labels}
        own = {"reporter": "source", "destination_service_name": service, **target}
        for (version, (status, flags, grpc)), number in proxy.counted.items():
            answer = {"response_code": status, "response_flags": flags} | (
                {"grpc_response_status": grpc} if grpc else {}
            )
            protocol = {"request_protocol": "grpc" if grpc else "http"}
            named = own | {"destination_version": version} | answer | protocol
            self._write("istio_requests", "counter", "istio_requests_total", named, number, at)
        for version, timed in proxy.timed.items():
            if not timed:
                continue
            named, name = own | {"destination_version": version}, "istio_request_duration_milliseconds"
            for edge in (*EDGES_MS, float("inf")):
                below = sum(number for ms, number in timed.items() if ms <= edge)
                le = {"le": "+Inf" if edge == float("inf") else f"{edge}"}
                self._write(name, "histogram", f"{name}_bucket", named | le, below, at)
            self._write(name, "histogram", f"{name}_count", named, sum(timed.values()), at)
            total = sum(ms * number for ms, number in timed.items())
            self._write(name, "histogram", f"{name}_sum", named, total, at)

    def process_started(self, proxy: Proxy, started: float, at: float, *, job: str = "pods") -> None:
        """Write when a proxy's process started, as it says itself."""
        labels = {"instance": f"{proxy.instance}:15020", "job": job}
        name = "istio_agent_process_start_time_seconds"
        self._write(name, "gauge", name, labels, started, at)

    def _write(self, family: str, kind: str, name: str, labels: Mapping[str, str], value: float, at: float) -> None:
        text = ",".join(f'{label}="{value}"' for label, value in labels.items())
        self._families[f"{family} {kind}"][f"{name}{{{text}}}"].append(f"{value:.10g} {at:.3f}")

    def lines(self) -> Iterator[str]:
        """Yield the samples as OpenMetrics."""
        for family, series in self._families.items():
            yield f"# TYPE {family}"
            for name, samples in series.items():
                yield from (f"{name} {sample}" for sample in samples)
        yield "# EOF"
