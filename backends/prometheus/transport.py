"""HTTP to a server that is not trusted: every read ends at its time, and with so many bytes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final
from urllib.parse import urljoin

import requests
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from backends.prometheus.address import origin_of
from backends.prometheus.connection_errors import checked_body
from backends.prometheus.deadline import run_in_time, seconds_left
from rollout.errors import UnavailableError

MOST_REDIRECTS: Final = 5
_CHUNK: Final = 64 * 1024
_REDIRECTS: Final = {301, 302, 303, 307, 308}


@dataclass(frozen=True, slots=True)
class Reply:
    """A server's whole answer to one request, of status 200."""

    content: bytes
    status_code: int = 200

    def json(self) -> dict[str, Any]:
        """Return the body where PrometheusConnect looks for the result: it gives away all else of an answer."""
        return {"data": {"result": self.content}}


class LimitedSession(requests.Session):
    """A session whose requests end at `time_limit`'s moment, keep to one host, and hold no more than so many bytes.

    Parameters
    ----------
    adapter
        How it connects.
    most_bytes
        Limit of one answer, unpacked.
    follow_redirects
        Whether redirects within the host are followed.
    hide
        Takes what is secret from a server's text that is quoted.
    """

    def __init__(
        self, adapter: HTTPAdapter, *, most_bytes: int, follow_redirects: bool, hide: Callable[[str], str]
    ) -> None:
        super().__init__()
        self.headers["Accept-Encoding"] = "gzip"
        self.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        self._adapter, self._most_bytes, self._follows, self._hide = adapter, most_bytes, follow_redirects, hide

    def get_adapter(self, url: str) -> HTTPAdapter:  # noqa: ARG002
        """Return our adapter, also where another one was mounted."""
        return self._adapter

    def request(self, method: str, url: str, **options: Any) -> Reply:  # type: ignore[override]
        """Return the answer to a request, redirects within the server followed."""
        origin = origin_of(url)
        options |= {"stream": True, "allow_redirects": False, "auth": self.auth}
        for _ in range(MOST_REDIRECTS + 1):
            with super().request(method, url, **options) as response:
                if response.status_code not in _REDIRECTS:
                    return Reply(checked_body(response.status_code, _body(response, self._most_bytes), self._hide))
                if not self._follows:
                    raise UnavailableError(f"HTTP {response.status_code}, and redirects are not followed")
                url = self._next(response, origin)
            options["params"] = None  # the new address has them
        raise UnavailableError(f"redirected more than {MOST_REDIRECTS} times")

    def _next(self, response: requests.Response, origin: str) -> str:
        """Return where a redirect leads, or raise: nothing is carried to another host, credentials least of all."""
        url = urljoin(str(response.url), response.headers.get("location", ""))
        if origin_of(url) == origin:
            return url
        place = self._hide(origin_of(url))
        raise UnavailableError(
            f"HTTP {response.status_code}, redirected to {place}, and not followed to another server: "
            "a login page, or Prometheus' new address?"
        )


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
            places = run_in_time((host, port), lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
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
    """An adapter that connects with such sockets and retries nothing.

    Parameters
    ----------
    tls
        What gives urllib3's options of a connection with TLS, asked for with each request.
    """

    def __init__(self, tls: Callable[[], dict[str, Any]]) -> None:
        super().__init__()
        self._tls = tls

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = dict(_POOLS)

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the pools of connections by a proxy."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = dict(_POOLS)
        return manager

    def build_connection_pool_key_attributes(self, request: Any, *_: Any, **__: Any) -> Any:
        """Return where a request goes, and our own TLS."""
        host, _tls = super().build_connection_pool_key_attributes(request, False, None)
        return host, self._tls() if host["scheme"] == "https" else {}

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave it to the context."""


def default_context(authorities: str | None = None) -> ssl.SSLContext:
    """Return a TLS context that trusts the authorities of a file, or those that requests trusts."""
    context = ssl.create_default_context(cafile=authorities or DEFAULT_CA_BUNDLE_PATH)
    context.sslsocket_class = TlsSocket
    return context
