"""The running Prometheus: found, configured, started."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import yaml

from backends.local.children import Child, start_child
from backends.local.envoy_config import LOOPBACK
from backends.local.folder import Settings, StateFolder, write_atomically
from rollout.errors import SetupError

_TOOLS = (Path(".tools"), Path(__file__).parents[2] / ".tools")


def find_prometheus() -> str:
    """Return the program's path.

    Raises
    ------
    SetupError
        Saying how to get it.
    """
    if executable := shutil.which("prometheus"):
        return executable
    for folder in _TOOLS:
        if (program := folder / "prometheus").is_file():
            return str(program.resolve())
    raise SetupError("prometheus: not found on the PATH nor in .tools/; run `make setup`, which fetches it")


def add_scrape_target(state: Path, port: int) -> None:
    """Let the Prometheus of a state folder scrape what is served at a port, from its next discovery on."""
    file = _targets(state) / f"{port}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps([{"targets": [f"{LOOPBACK}:{port}"]}]))


def remove_scrape_target(state: Path, port: int) -> None:
    """Remove that target. Harmless when it was never added."""
    (_targets(state) / f"{port}.json").unlink(missing_ok=True)


def _targets(state: Path) -> Path:
    return StateFolder(state).prometheus / "targets"


def start_prometheus(folder: StateFolder, settings: Settings, *, port: int, admin_port: int) -> Child:
    """Start a Prometheus that scrapes this Envoy, and what `add_scrape_target` names."""
    file = folder.prometheus / "prometheus.yml"
    write_atomically(file, yaml.safe_dump(_configuration(folder, settings, admin_port)))
    command = [
        settings.prometheus,
        f"--config.file={file}",
        f"--storage.tsdb.path={folder.prometheus / 'data'}",
        "--storage.tsdb.retention.time=6h",
        f"--web.listen-address={LOOPBACK}:{port}",
        "--web.enable-lifecycle",
        "--log.level=warn",
    ]
    return start_child("prometheus", command, log=folder.logs / "prometheus.log")


def _configuration(folder: StateFolder, settings: Settings, admin_port: int) -> dict[str, object]:
    interval = f"{round(settings.scrape_seconds * 1000)}ms"
    # Envoy puts its own name before each series; without it they are called as on Istio.
    strip = {"source_labels": ["__name__"], "regex": "envoy_(.+)", "target_label": "__name__", "replacement": "$1"}
    return {
        "global": {"scrape_interval": interval, "scrape_timeout": interval, "evaluation_interval": "1m"},
        "scrape_configs": [
            {
                "job_name": "gateway",
                "metrics_path": "/stats/prometheus",
                "params": {"usedonly": [""], "filter": ["^istio"]},
                "static_configs": [{"targets": [f"{LOOPBACK}:{admin_port}"]}],
                "metric_relabel_configs": [strip],
            },
            {
                "job_name": "canary-pipeline",
                "file_sd_configs": [
                    {"files": [str(_targets(folder.path).absolute() / "*.json")], "refresh_interval": "2s"}
                ],
            },
        ],
    }
