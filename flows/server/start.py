"""Starts Prefect's server behind our checks of where requests come from.

    python -m flows.server.start [--host 127.0.0.1] [--port 4200]

Prefect's own settings keep other sites' pages from reading its answers, and want credentials of everybody. They look
neither at the `Host` of a request, so that a page whose name was bound to our address is taken for Prefect's own, nor
at the `Origin` of one that needs no permission, such as a WebSocket.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import uvicorn

from rollout.errors import PlanError
from wiring.same_origin import is_loopback, same_origin_only
from wiring.settings import Settings

CREDENTIALS = "PREFECT_SERVER_API_AUTH_STRING"


def start(host: str, port: int, hosts: Sequence[str] = ()) -> None:
    """Serve Prefect's API and UI until SIGTERM or SIGINT.

    Parameters
    ----------
    host
        Where to listen.
    port
        Where to listen.
    hosts
        Names under which it is reached beside those of the loopback.

    Raises
    ------
    PlanError
        When others than this machine could reach it without credentials.
    """
    if not is_loopback(host) and not os.environ.get(CREDENTIALS):
        raise PlanError(
            f"--host: got {host!r}, allowed: 127.0.0.1, or another one with {CREDENTIALS}=user:password set"
        )
    # Its pages ask the server that they came from, by whatever name; no other origin is permitted anything.
    os.environ.setdefault("PREFECT_UI_API_URL", "/api")
    os.environ.setdefault("PREFECT_SERVER_CORS_ALLOWED_ORIGINS", f"http://127.0.0.1:{port}")
    from prefect.server.api.server import create_app  # reads its settings as it is imported
    from prefect.settings import get_current_settings

    settings = get_current_settings().server
    uvicorn.run(
        same_origin_only(create_app(final=True), hosts),
        host=host,
        port=port,
        timeout_keep_alive=settings.api.keepalive_timeout,
        ws_ping_interval=settings.api.websocket_ping_interval,
        ws_ping_timeout=settings.api.websocket_ping_timeout,
        log_level=settings.logging_level.lower(),
    )


def main() -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="where to listen; beyond loopback only with credentials")
    parser.add_argument("--port", type=int, default=4200, help="where to listen")
    options = parser.parse_args()
    try:
        start(options.host, options.port, Settings().prefect_hosts)
    except PlanError as error:
        sys.exit(f"{parser.prog}: {error}")


if __name__ == "__main__":
    main()
