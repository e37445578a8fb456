"""Short requests to our own processes on the loopback."""

from __future__ import annotations

import http.client
import json
import socket

from backends.local.envoy_config import LOOPBACK
from rollout.errors import UnavailableError


def request(port: int, path: str, *, seconds: float, body: object = None) -> bytes:
    """Return the answer to a GET, or to a POST when there is a body.

    Raises
    ------
    UnavailableError
        When there is no answer in time, or it is not 200.
    """
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=seconds)
    try:
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body))
        answer = connection.getresponse()
        content = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise UnavailableError(f"ask {LOOPBACK}:{port}{path}: {error or type(error).__name__}") from error
    finally:
        connection.close()
    if answer.status != 200:
        raise UnavailableError(f"ask {LOOPBACK}:{port}{path}: answered {answer.status}, allowed: 200")
    return content


def responds(port: int, path: str, *, seconds: float = 0.15) -> bool:
    """Return whether there is a good answer."""
    try:
        request(port, path, seconds=seconds)
    except UnavailableError:
        return False
    return True


def bound_socket(*, shared: bool = False) -> socket.socket:
    """Return a socket on a free port that the caller may hand to a child: nobody else can take it.

    A shared one keeps the port for a child that binds it by itself, as gRPC's server does.
    """
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT if shared else socket.SO_REUSEADDR, 1)
    bound.bind((LOOPBACK, 0))
    return bound


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with bound_socket() as bound:
        return int(bound.getsockname()[1])


def is_free(port: int) -> bool:
    """Return whether a port can be listened on."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True
