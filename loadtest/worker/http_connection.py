"""Requests on the wire, as bare as can be: geventhttpclient's parser on connections of our own.

Locust's client spends more on a request than a small service does. Here each request's bytes are made once, it is sent
exactly once, no redirect is followed and no cookie stored: either would count it twice, or tie it to one track.
"""

from __future__ import annotations

import select
import ssl
from urllib.parse import urlsplit

import gevent.socket
from gevent import monkey
from geventhttpclient.response import HTTPSocketResponse

from loadtest.load_spec import SYNTHETIC_HEADER, LoadSpec, Request

_poll = monkey.get_original("select", "poll")
_BLOCK_BYTES = 16_384


class ConnectionPool:
    """Connections to one host, kept alive from request to request."""

    def __init__(self, spec: LoadSpec, host: str) -> None:
        target = urlsplit(host)
        self._address = (target.hostname or "", target.port or (443 if target.scheme == "https" else 80))
        self._context = _unverified_context() if target.scheme == "https" else None
        self._timeout_seconds = spec.timeout_seconds
        self._bytes = [(request.method, _encoded(request, target.netloc)) for request in spec.requests]
        self._idle: list[tuple[gevent.socket.socket, select.poll]] = []

    def send(self, number: int) -> HTTPSocketResponse:
        """Send the specification's request of this number, and return the answer once it has been read to its end.

        Raises
        ------
        OSError, HTTPParseError
            No connection, no answer in time, or none that is HTTP.
        """
        method, text = self._bytes[number]
        connection = self._connection()
        try:
            connection[0].sendall(text)
            answer = HTTPSocketResponse(connection[0], block_size=_BLOCK_BYTES, method=method)
            answer.read()
        except BaseException:
            connection[0].close()
            raise
        if answer.should_close():
            connection[0].close()
        else:
            self._idle.append(connection)
        return answer

    def _connection(self) -> tuple[gevent.socket.socket, select.poll]:
        while self._idle:
            connection = self._idle.pop()
            if not connection[1].poll(0):
                return connection
            connection[0].close()  # an idle connection with something to say has been closed by the server
        sock = gevent.socket.create_connection(self._address, self._timeout_seconds)
        if self._context is not None:
            sock = self._context.wrap_socket(sock, server_hostname=self._address[0])
        poll = _poll()
        poll.register(sock.fileno(), select.POLLIN | select.POLLHUP)
        return sock, poll


def _unverified_context() -> ssl.SSLContext:
    """Return a context that checks no certificate: the test is of the service, often under another name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _encoded(request: Request, host: str) -> bytes:
    body = (request.body or "").encode()
    fields = {"host": host, "user-agent": "canary-loadtest", "accept": "*/*", SYNTHETIC_HEADER: "locust"}
    fields |= {name.lower(): value for name, value in request.headers.items()}
    if body or request.method in ("POST", "PUT", "PATCH"):
        fields["content-length"] = str(len(body))
    lines = [f"{request.method} {request.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
