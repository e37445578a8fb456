"""A real Prometheus that holds what a test wrote in OpenMetrics, as if it had scraped it."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from backends.local.prometheus_process import find_prometheus

Counted = tuple[dict[str, str], list[tuple[float, float]]]
"""A series: its labels, `__name__` among them, and its samples in Unix seconds."""


@contextmanager
def holding(folder: Path, series: Iterable[Counted]) -> Iterator[str]:
    """Start a Prometheus that holds the series, and yield where it answers."""
    program = Path(find_prometheus())
    written, data = folder / "series.om", folder / "data"
    written.write_text(openmetrics(series), encoding="utf-8")
    subprocess.run(
        [program.with_name("promtool"), "tsdb", "create-blocks-from", "openmetrics", written, data],
        check=True,
        capture_output=True,
    )
    configuration = folder / "prometheus.yml"
    configuration.write_text("scrape_configs: []\n", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    command = [program, f"--config.file={configuration}", f"--storage.tsdb.path={data}"]
    command += ["--storage.tsdb.retention.time=90y", f"--web.listen-address={address}"]
    with (folder / "prometheus.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            _wait_ready(f"http://{address}", process)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait()


def openmetrics(series: Iterable[Counted]) -> str:
    """Return series as OpenMetrics; their type is unknown, so that any name may be a counter's."""
    families: dict[str, list[str]] = {}
    for labels, sampled in series:
        name, rest = labels["__name__"], {key: value for key, value in labels.items() if key != "__name__"}
        start = name + "{" + ",".join(f"{key}={_quoted(value)}" for key, value in rest.items()) + "}"
        families.setdefault(name, []).extend(f"{start} {value} {at:.3f}" for at, value in sampled)
    return "\n".join([*(line for lines in families.values() for line in lines), "# EOF", ""])


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _wait_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "Prometheus has ended"
        try:
            if requests.get(f"{url}/-/ready", timeout=5).ok:
                return
        except requests.ConnectionError:
            pass
        time.sleep(0.1)
    raise AssertionError("Prometheus did not become ready")
