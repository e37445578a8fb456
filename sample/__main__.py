"""Serve the sample app: `SERVICE=... TRACK=... VERSION=... POD=... python -m sample [--fd N | --port N]`."""

from __future__ import annotations

import argparse
import os
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sample.app import CLOSE, SampleApp
from sample.behaviour import Behaviour, Identity

KEEP_ALIVE_SECONDS = 4 * 3600
"""Longer than any proxy keeps an idle connection, so that it is never we who close one under a request."""


class _Closable(HttpToolsProtocol):
    """HTTP whose app can close the connection under its answer, which ASGI knows no message for."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][CLOSE] = self.transport.close


def main() -> None:
    """Serve until SIGTERM; then finish what has been begun."""
    parser = argparse.ArgumentParser(prog="sample", description=__doc__)
    parser.add_argument("--fd", type=int, help="a bound socket to listen on, inherited")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--grpc-port", type=int, help="serve gRPC too, at this port")
    options = parser.parse_args()
    config = uvicorn.Config(
        _app(options.host, options.grpc_port),
        host=options.host,
        port=options.port,
        loop="uvloop",
        http=_Closable,
        lifespan="on" if options.grpc_port else "off",
        access_log=False,
        log_level="warning",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=20,
    )
    inherited = None if options.fd is None else [socket.socket(fileno=options.fd)]
    uvicorn.Server(config).run(sockets=inherited)


def _app(host: str, grpc_port: int | None) -> Any:
    env = os.environ
    identity = Identity(
        service=env.get("SERVICE", "canary-app"),
        track=env.get("TRACK", "stable"),
        version=env.get("VERSION", "v1"),
        pod=env.get("POD", "canary-app"),
    )
    behaviour = Behaviour(identity, seed=env.get("SEED", "0"), noise=env.get("NOISE", ""))
    until = env.get("FAULT_UNTIL")
    behaviour.switch.turn(env.get("FAULT", ""), float(until) if until else None)
    if grpc_port is None:
        return SampleApp(behaviour)
    from sample.rpc import RpcApp  # gRPC takes long to load

    return RpcApp(behaviour, f"{host}:{grpc_port}")


if __name__ == "__main__":
    main()
