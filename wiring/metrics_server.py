"""A small HTTP server that neither many nor slow nor silent readers can make grow."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socketserver import ThreadingMixIn
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from rollout.errors import PlanError, SetupError

MOST_CONNECTIONS = 32
"""Connections that are open at once, each with a thread; another one is closed at once, and may come again."""
SILENT_SECONDS = 3.0
"""How long a connection may say nothing."""
LONGEST_SECONDS = 20.0
"""How long a connection may last, however it talks."""

log = logging.getLogger(__name__)


class _Handler(WSGIRequestHandler):
    timeout = SILENT_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, address: tuple[str, int]) -> None:
        self._since = dict[socket.socket, float]()
        self._lock = threading.Lock()
        if ":" in address[0]:
            self.address_family = socket.AF_INET6
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        # The standard one asks a name server who we are, which can take its time.
        socket_address = self.server_address
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(socket_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            is_full = len(self._since) >= MOST_CONNECTIONS
            if not is_full:
                self._since[request] = monotonic()
        if is_full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._since.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """End connections that have lasted too long; called between requests, at least twice a second."""
        with self._lock:
            late = [request for request, since in self._since.items() if monotonic() - since > LONGEST_SECONDS]
        for request in late:
            with suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the library's names
        log.debug("a request ended before its answer", exc_info=True)


@contextmanager
def listening(host: str, port: int, app: Callable[..., Any]) -> Iterator[int]:
    """Answer with a WSGI application while the body runs, and yield the port.

    Raises
    ------
    SetupError
        When the port is taken.
    PlanError
        When the host is none.
    """
    try:
        server = _Server((host, port))
    except OSError as error:
        raise SetupError(f"port {port}: cannot be listened on: {error.strerror}") from error
    except (TypeError, ValueError) as error:  # what Python says of a name that cannot be one
        raise PlanError(f"--host: got {host!r}, allowed: an address or name of this machine") from error
    server.set_app(app)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
