"""Prefect's own server and UI as a child process, and a flow served to it."""

from __future__ import annotations

import json
import logging
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

from backends.local.children import Child, end_children, start_child
from backends.local.loopback import free_port, responds
from flows.server.postgres import running_postgres
from rollout.errors import SetupError
from wiring.settings import Settings

log = logging.getLogger(__name__)

_FLOW_GRACE_SECONDS = 10.0
"""A flow that is ended puts all traffic on stable first."""


class PrefectServer:
    """A Prefect server on loopback with a database of its own in the state folder: Postgres where it is found.

    Parameters
    ----------
    state
        The state folder.
    port
        Where the UI is to be found; 0 chooses a free port.
    """

    def __init__(self, state: Path, *, port: int = 0) -> None:
        self._state = state
        self._port = port
        self._child: Child | None = None
        self._parts = ExitStack()
        self.database = "SQLite"
        """Where it keeps its runs, and why not in Postgres."""

    def __enter__(self) -> Self:
        self._port = _checked_port(self._port) if self._port else free_port()
        try:
            self._state.mkdir(parents=True, exist_ok=True)
            env = self.environment() | self._open_database()
            self._child = start_child("prefect-server", self._command(), log=self._log, env=env)
        except OSError as error:
            self._parts.close()
            raise SetupError(f"{self._state}: {error.strerror}; choose a folder that can be written") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._child is not None:
            end_children([self._child])
        self._parts.close()

    @property
    def pid(self) -> int | None:
        """The server's process id, once it was started."""
        return self._child.process.pid if self._child else None

    @property
    def ended(self) -> bool:
        """Whether it was started, and lives no more."""
        return self._child is not None and self._child.ended

    @property
    def url(self) -> str:
        """Address of the UI."""
        return f"http://127.0.0.1:{self._port}"

    def environment(self) -> dict[str, str]:
        """Return what a process needs to talk to this server."""
        return {
            "PREFECT_HOME": str((self._state / "prefect").absolute()),
            "PREFECT_API_URL": f"{self.url}/api",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            "PREFECT_CLI_PROMPT": "false",
            "PREFECT_LOGGING_EXTRA_LOGGERS": "conductor",
        }

    def wait_ready(self) -> None:
        """Return once the server answers.

        Raises
        ------
        SetupError
            It ended, or did not answer in the time that the settings allow.
        """
        until = time.monotonic() + Settings().prefect_start_seconds
        while time.monotonic() < until:
            if responds(self._port, "/api/health", seconds=1.0):
                return
            if self._child is None or self._child.ended:
                raise SetupError(f"Prefect's server ended at its start; see {self._log}")
            time.sleep(0.1)
        raise SetupError(f"Prefect's server did not answer at {self.url}; see {self._log}")

    def _open_database(self) -> dict[str, str]:
        """Start Postgres where that works here, and return what the server alone has to know of it."""
        if Settings().prefect_database == "sqlite":
            return {}
        try:
            url = self._parts.enter_context(running_postgres(self._state / "postgres"))
        except SetupError as error:
            self.database = f"SQLite ({error})"
            log.info("Prefect keeps its runs in SQLite: %s", error)
            return {}
        self.database = "Postgres"
        return {"PREFECT_API_DATABASE_CONNECTION_URL": url}

    @property
    def _log(self) -> Path:
        return self._state / "prefect-server.log"

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "flows.server.start", "--port", str(self._port)]


@contextmanager
def served_rollout(state: Path, server: PrefectServer, parameters: dict[str, Any], *, file: Path) -> Iterator[Child]:
    """Serve the rollout flow and start one run of it, with a file's plan; the child is ended on the way out."""
    command = [sys.executable, "-m", "flows.server.serve_rollout", json.dumps(parameters)]
    environment = {"CANARY_END_WITH_PARENT": "true", "CANARY_PLAN": str(file.absolute())}
    child = start_child("flow", command, log=state / "flow.log", env=server.environment() | environment)
    try:
        yield child
    finally:
        end_children([child], grace=_FLOW_GRACE_SECONDS)


def _checked_port(port: int) -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise SetupError(
                f"port {port} for the Prefect UI is taken: {error.strerror}; name another, or 0"
            ) from error
    return port
