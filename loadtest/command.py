"""What Locust's processes are started with."""

from __future__ import annotations

import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from loadtest.load_spec import SPEC_VARIABLE, LoadSpec

START_SECONDS = 30.0
"""How long a master waits for its workers, and whoever started it for an answer."""


@dataclass(frozen=True, slots=True)
class UserLocustfile:
    """A person's own locustfile, and how it is run."""

    path: Path
    workdir: Path
    """Where it runs: what its relative paths and imports begin at."""
    options: tuple[str, ...] = ()
    """Of Locust's command line: tags, and the locustfile's own arguments."""
    user_classes: tuple[str, ...] = ()
    """The user classes that run; none for all."""


def locust_commands(spec: LoadSpec, user: UserLocustfile | None) -> list[list[str]]:
    """Return each process's command line: one that does all, or a master and its workers."""
    return [_command(spec, options, user) for options in _roles(spec)]


def locust_environment(order_file: Path) -> dict[str, str]:
    """Return the processes' environment: ours, without what would change Locust's options."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    return environment | {SPEC_VARIABLE: str(order_file)}


def _roles(spec: LoadSpec) -> list[list[str]]:
    users, totals = str(spec.users or spec.processes), str(spec.folder / "locust")
    leads = ["--headless", "--only-summary", "--users", users, "--spawn-rate", users, "--json-file", totals]
    if spec.processes == 1:
        return [leads]
    port = str(_free_port())
    master = ["--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", port, "--enable-rebalancing"]
    waiting = ["--expect-workers", str(spec.processes), "--expect-workers-max-wait", str(int(START_SECONDS))]
    worker = ["--worker", "--master-host", "127.0.0.1", "--master-port", port]
    return [[*leads, *master, *waiting], *[worker] * spec.processes]


def _command(spec: LoadSpec, options: list[str], user: UserLocustfile | None) -> list[str]:
    here = Path(__file__).parent / "worker"
    users = here / ("grpc_users.py" if spec.protocol == "grpc" else "locustfile.py")
    files = f"{here / 'user_locustfile.py'},{user.path.absolute()}" if user else str(users)
    return [
        *(sys.executable, "-m", "locust", *(user.options if user else ()), *options),
        *("--locustfile", files, "--host", spec.host),
        *("--stop-timeout", f"{spec.grace_seconds:g}", "--exit-code-on-error", "0"),
        *(user.user_classes if user else ()),
    ]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
