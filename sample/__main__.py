"""Serve the sample app: `SERVICE=... TRACK=... VERSION=... POD=... python -m sample [--fd N | --port N]`."""

from __future__ import annotations

import argparse
import os
import socket

import uvicorn

from sample.app import Identity, SampleApp

KEEP_ALIVE_SECONDS = 4 * 3600
"""Longer than any proxy keeps an idle connection, so that it is never we who close one under a request."""


def main() -> None:
    """Serve until SIGTERM; then finish what has been begun."""
    parser = argparse.ArgumentParser(prog="sample", description=__doc__)
    parser.add_argument("--fd", type=int, help="a bound socket to listen on, inherited")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    config = uvicorn.Config(
        _app(),
        host=options.host,
        port=options.port,
        loop="uvloop",
        http="httptools",
        lifespan="off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=20,
    )
    inherited = None if options.fd is None else [socket.socket(fileno=options.fd)]
    uvicorn.Server(config).run(sockets=inherited)


def _app() -> SampleApp:
    env = os.environ
    identity = Identity(
        service=env.get("SERVICE", "canary-app"),
        track=env.get("TRACK", "stable"),
        version=env.get("VERSION", "v1"),
        pod=env.get("POD", "canary-app"),
    )
    app = SampleApp(identity, seed=env.get("SEED", "0"))
    until = env.get("FAULT_UNTIL")
    app.switch.turn(env.get("FAULT", ""), float(until) if until else None)
    return app


if __name__ == "__main__":
    main()
