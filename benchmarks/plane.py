"""The data plane of many services: emulated gateways and one real Prometheus that scrapes them all."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import yaml

from backends.local.children import Child, end_children, start_child
from backends.local.loopback import free_port, responds
from backends.local.prometheus_process import find_prometheus
from benchmarks.gateways import lay_out
from rollout.plan import RolloutPlan

_START_SECONDS = 60.0


class Plane:
    """Processes in a folder, ended with the stack; services have their state folders below `services`."""

    def __init__(self, folder: Path, plans: Sequence[RolloutPlan], parts: ExitStack) -> None:
        self.folder = folder
        self.scrape: timedelta = plans[0].scrape
        self.children: dict[str, Child] = {}
        for plan in plans:
            lay_out(self.service(plan.service), plan)
        self._port = free_port()
        parts.callback(lambda: end_children(self.children.values()))
        self._start_prometheus(self._start_gateways())

    @property
    def prometheus_url(self) -> str:
        """Where Prometheus answers."""
        return f"http://127.0.0.1:{self._port}"

    def service(self, name: str) -> Path:
        """Return a service's state folder."""
        return self.folder / "services" / name

    def pid(self, name: str) -> int:
        """Return the process id of a part."""
        return self.children[name].process.pid

    def start(self, name: str, command: Sequence[str], **env: str) -> None:
        """Start a part, its output in a log of its own."""
        self.children[name] = start_child(name, command, log=self.folder / f"{name}.log", env=env)

    def written(self, file: Path, who: str) -> str:
        """Return what a part writes to a file once it is up."""
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until and not self.children[who].ended:
            if file.exists() and (text := file.read_text()):
                return text
            time.sleep(0.1)
        raise SystemExit(f"{who}: did not start\n{(self.folder / f'{who}.log').read_text()[-2000:]}")

    def _start_gateways(self) -> list[int]:
        services = self.folder / "services"
        where = [str(services), "--prometheus-port", str(self._port)]
        self.start("gateways", [sys.executable, "-m", "benchmarks.gateways", *where])
        return list(json.loads(self.written(services / "ports.json", "gateways")))

    def _start_prometheus(self, ports: Sequence[int]) -> None:
        interval = f"{self.scrape.total_seconds():g}s"
        job = {"job_name": "gateways", "metrics_path": "/stats/prometheus"}
        job |= {"scrape_interval": interval, "scrape_timeout": interval}
        targets = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
        file = self.folder / "prometheus.yml"
        file.write_text(yaml.safe_dump({"scrape_configs": [{**job, "static_configs": targets}]}))
        where = [f"--config.file={file}", f"--storage.tsdb.path={self.folder / 'tsdb'}"]
        listen = f"--web.listen-address=127.0.0.1:{self._port}"
        self.start("Prometheus", [find_prometheus(), *where, listen, "--log.level=warn"])
        until = time.monotonic() + _START_SECONDS
        while not responds(self._port, "/-/ready") and time.monotonic() < until:
            time.sleep(0.1)
