"""The running Envoy: how it is started, and what its admin port answers."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from backends.local.children import Child, start_child
from backends.local.damaged_files import read_bounded
from backends.local.envoy_config import ROUTE, bootstrap, endpoint_file, endpoints, route_file, routes, spare_file
from backends.local.folder import Settings, StateFolder, write_atomically
from backends.local.loopback import request
from rollout.errors import UnavailableError
from rollout.model import AT_REST, Track, Weights

SPARE = "spare"
"""Version of the routes that are kept ready."""
ADMIN_SECONDS = 0.25
"""Time limit of one question to the admin port, which answers in a millisecond."""


def prepare_envoy(folder: StateFolder, settings: Settings, *, keeps_routes: bool = False) -> None:
    """Write what Envoy reads: no endpoints yet, and all traffic on stable unless routes are there that are to be kept.

    New routes begin an epoch of their own: whoever steered what was here before can write no more.
    """
    timeout = timedelta(seconds=settings.timeout_seconds)
    if not (keeps_routes and version_of(route_file(folder.gateway))):
        moment = time.time_ns()
        version = f"{moment // 1000}-{moment}-0"
        write_atomically(route_file(folder.gateway), json.dumps(routes(AT_REST, version=version, timeout=timeout)))
    spare_file(folder.gateway).parent.mkdir(exist_ok=True)
    write_atomically(spare_file(folder.gateway), json.dumps(routes(AT_REST, version=SPARE, timeout=timeout)))
    for track in (Track.STABLE, Track.CANARY):
        empty = endpoints(settings.service, track, [], version="start")
        write_atomically(endpoint_file(folder.gateway, track), json.dumps(empty))


def version_of(file: Path) -> str:
    """Return the version of the routes in a file; empty where it holds none."""
    try:
        return str(json.loads(read_bounded(file))["version_info"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""


def start_envoy(folder: StateFolder, settings: Settings, *, gateway_port: int, admin_port: int) -> Child:
    """Start Envoy on these ports, 0 being any; `admin_address` says which one it took."""
    start = bootstrap(
        settings.service,
        folder.gateway,
        gateway_port=gateway_port,
        admin_port=admin_port,
        protocol=settings.protocol,
    )
    file = folder.gateway / "bootstrap.json"
    write_atomically(file, json.dumps(start))
    address_file(folder).unlink(missing_ok=True)
    command = [settings.envoy, "-c", str(file), "--admin-address-path", str(address_file(folder))]
    quiet = ["--disable-hot-restart", "--concurrency", "1", "--drain-time-s", "1", "-l", "warning"]
    return start_child("envoy", [*command, *quiet], log=folder.logs / "envoy.log")


def address_file(folder: StateFolder) -> Path:
    """Return the file into which Envoy writes where its admin port is."""
    return folder.gateway / "admin_address"


def find_ports(folder: StateFolder) -> tuple[int, int] | None:
    """Return the ports of gateway and admin, or None while Envoy does not serve yet."""
    try:
        admin = int(address_file(folder).read_text().rpartition(":")[2])
        listeners = json.loads(request(admin, "/listeners?format=json", seconds=ADMIN_SECONDS))["listener_statuses"]
        request(admin, "/ready", seconds=ADMIN_SECONDS)
    except (OSError, ValueError, KeyError, UnavailableError):
        return None
    ports = [int(listener["local_address"]["socket_address"]["port_value"]) for listener in listeners]
    return (ports[0], admin) if ports else None


def applied_versions(admin_port: int) -> dict[str, str]:
    """Return the version of each file that Envoy has applied: by track, and `routes`."""
    answer = request(admin_port, "/stats?format=json&type=TextReadouts", seconds=ADMIN_SECONDS)
    try:
        readouts = {entry["name"]: str(entry["value"]) for entry in json.loads(answer)["stats"] if "name" in entry}
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        raise UnavailableError(f"read versions from envoy at port {admin_port}: none in its answer") from error
    names = {"routes": f"http.gateway.rds.{ROUTE}.version_text"}
    names |= {str(track): f"cluster.{track}.version_text" for track in (Track.STABLE, Track.CANARY)}
    return {short: readouts.get(name, "") for short, name in names.items()}


def applied_weights(admin_port: int) -> tuple[Weights, str]:
    """Return the split that Envoy has applied, and the version of the file it came from.

    Raises
    ------
    UnavailableError
        When Envoy does not answer, or its answer holds no split.
    """
    answer = request(admin_port, "/config_dump?resource=dynamic_route_configs", seconds=ADMIN_SECONDS)
    try:
        entry = json.loads(answer)["configs"][0]
        shares = _shares(entry["route_config"])
        return Weights(stable=shares.get("stable", 0), canary=shares.get("canary", 0)), entry["version_info"]
    except (LookupError, TypeError, ValueError, StopIteration, RecursionError) as error:
        raise UnavailableError(f"read weights from envoy at port {admin_port}: no split in its answer") from error


def _shares(route_config: dict[str, Any]) -> dict[str, int]:
    routes = [route["route"] for host in route_config["virtual_hosts"] for route in host["routes"] if "route" in route]
    split = next(route["weighted_clusters"]["clusters"] for route in routes if "weighted_clusters" in route)
    # The dump leaves out fields that are zero.
    return {cluster["name"]: int(cluster.get("weight", 0)) for cluster in split}


def wait_applied(admin_port: int, resource: str, version: str, *, seconds: float) -> bool:
    """Return whether Envoy took this version of `routes` or of a track's endpoints in time."""
    deadline = time.monotonic() + seconds
    while applied_versions(admin_port)[resource] != version:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)
    return True
