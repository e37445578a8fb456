"""HTTP to a server that is not trusted: every read ends at its time, and with so many bytes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from backends.prometheus.address import origin_of
from backends.prometheus.deadline import in_time, seconds_left
from backends.prometheus.failures import check_status
from rollout.errors import UnavailableError

MOST_REDIRECTS: Final = 5
_CHUNK: Final = 64 * 1024
_REDIRECTS: Final = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's whole answer to one request."""

    status_code: int
    content: bytes

    def json(self) -> dict[str, Any]:
        """Return the body where PrometheusConnect looks for the result: it gives away all else of an answer."""
        return {"data": {"result": self.content}}


class LimitedSession(requests.Session):
    """A session whose requests end at `ending_in`'s time, keep to one host, and hold no more than so many bytes."""

    def __init__(self, adapter: HTTPAdapter, *, most_bytes: int, follow_redirects: bool = True) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = "gzip"
        self._adapter, self._most_bytes, self._follows = adapter, most_bytes, follow_redirects

    def get_adapter(self, url: str) -> HTTPAdapter:  # noqa: ARG002
        """Return our adapter, also where another one was mounted."""
        return self._adapter

    def request(self, method: str, url: str, **options: Any) -> Reply:  # type: ignore[override]
        """Return the answer to a request, redirects within the server followed."""
        origin = origin_of(url)
        for _ in range(MOST_REDIRECTS + 1):
            with super().request(method, url, **options | {"stream": True, "allow_redirects": False}) as response:
                if response.status_code not in _REDIRECTS or not self._follows:
                    body = _body(response, self._most_bytes)
                    check_status(response.status_code, body)
                    return Reply(response.status_code, body)
                url = _next(response, origin)
            options["params"] = None  # the new address has them
        raise UnavailableError(f"redirected more than {MOST_REDIRECTS} times")


def _next(response: requests.Response, origin: str) -> str:
    """Return where a redirect leads, or raise: to another host nothing is carried, and a password least of all."""
    url = urljoin(str(response.url), response.headers.get("location", ""))
    parts = urlsplit(url)
    if origin_of(url) != origin:
        raise UnavailableError(
            f"HTTP {response.status_code}, redirected to {parts.scheme}://{parts.hostname}: not followed to another "
            "host; is it a login page, or Prometheus' new address?"
        )
    return parts._replace(netloc=urlsplit(origin).netloc).geturl()


def _body(response: requests.Response, most: int) -> bytes:
    """Return the body, unpacked; it is never held when it is larger."""
    parts, size = list[bytes](), 0
    while part := response.raw.read(_CHUNK, decode_content=True):
        seconds_left()
        parts.append(part)
        if (size := size + len(part)) > most:
            raise UnavailableError(f"the answer is larger than {most / 1024**2:g} MiB, the limit of one read")
    return b"".join(parts)


class _Ending:
    """A socket whose every wait ends with the read; a time limit of each wait would begin anew with every byte."""

    settimeout: Any

    def recv(self, *args: Any) -> bytes:
        self.settimeout(seconds_left())
        return super().recv(*args)  # type: ignore[misc, no-any-return]

    def recv_into(self, *args: Any, **options: Any) -> int:
        self.settimeout(seconds_left())
        return super().recv_into(*args, **options)  # type: ignore[misc, no-any-return]

    def send(self, *args: Any) -> int:
        self.settimeout(seconds_left())
        return super().send(*args)  # type: ignore[misc, no-any-return]

    def sendall(self, *args: Any) -> None:
        self.settimeout(seconds_left())
        super().sendall(*args)  # type: ignore[misc]


class _Socket(_Ending, socket.socket):
    pass


class TlsSocket(_Ending, ssl.SSLSocket):
    """What an `SSLContext` here has for its `sslsocket_class`."""

    def do_handshake(self, block: bool = False) -> None:
        """Shake hands until the read ends."""
        self.settimeout(seconds_left())
        super().do_handshake(block)


class _Connecting:
    """A connection of such sockets."""

    host: str
    port: int
    socket_options: Any

    def _new_conn(self: Any) -> socket.socket:
        host, port = self._dns_host.strip("[]"), self.port
        try:
            places = in_time((host, port), lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            return _connected(places, self.socket_options)
        except TimeoutError as error:
            raise ConnectTimeoutError(self, "timed out") from error
        except (socket.gaierror, UnicodeError) as error:
            raise NameResolutionError(self.host, self, socket.gaierror(str(error))) from error
        except OSError as error:
            raise NewConnectionError(self, str(error.strerror or error)) from error


def _connected(places: list[Any], options: Any) -> socket.socket:
    """Return a socket to the first of several addresses that takes one."""
    refusal: OSError = OSError("it has no address")
    for family, kind, protocol, _, place in places:
        attempt = _Socket(family, kind, protocol)
        try:
            for option in options or ():
                attempt.setsockopt(*option)
            attempt.settimeout(seconds_left())
            attempt.connect(place)
            return attempt
        except OSError as error:
            attempt.close()
            refusal = error
    raise refusal


class _HttpConnection(_Connecting, HTTPConnection):
    pass


class _HttpsConnection(_Connecting, HTTPSConnection):
    def connect(self) -> None:
        super().connect()
        self.is_verified = True  # or the settings say that it need not be, and a warning a scrape helps nobody


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


_POOLS: Final[Mapping[str, Any]] = {"http": _HttpPool, "https": _HttpsPool}


class LimitedAdapter(HTTPAdapter):
    """An adapter that connects with such sockets, retries nothing, and takes TLS from our settings alone."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = dict(_POOLS)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the pools of connections by a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = dict(_POOLS)
        return manager

    def tls(self) -> dict[str, Any]:
        """Return what a connection with TLS is made of."""
        return {"ssl_context": default_context()}

    def build_connection_pool_key_attributes(self, request: Any, *_: Any, **__: Any) -> Any:
        """Return where a request goes, and our own TLS."""
        host, _ = super().build_connection_pool_key_attributes(request, False, None)
        return host, self.tls() if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave it to the context."""


def default_context(authorities: str | None = None) -> ssl.SSLContext:
    """Return a TLS context that trusts the authorities of a file, or those that requests trusts."""
    context = ssl.create_default_context(cafile=authorities or DEFAULT_CA_BUNDLE_PATH)
    context.sslsocket_class = TlsSocket
    return context
