"""Which HTTP requests come from our own pages and clients, and not from another site's page in somebody's browser."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_HOSTS: Final = ("127.0.0.1", "localhost", "[::1]")
"""Names under which a server on this machine is reached, as the `Host` header writes them."""
_REFUSED: Final = "refused: sent by a page of another site\n"


def same_origin_only(app: ASGIApp, hosts: Sequence[str] = ()) -> ASGIApp:
    """Return the application behind the checks that keep other sites' pages out.

    403 for a foreign `Origin` and for what a browser marks as another site's (`Sec-Fetch-Site`), links to a page
    excepted; 400 for a `Host` by which this server is not known, as a page sends it whose name was bound to our address
    (DNS rebinding). No answer can be shown in another site's frame.

    Parameters
    ----------
    app
        The application.
    hosts
        Names of this server beside those of the loopback; `*.example.com` stands for a domain.
    """
    known = TrustedHostMiddleware(app, allowed_hosts=[*LOOPBACK_HOSTS, *hosts], www_redirect=False)
    return _SameOrigin(known, frozenset(name.lower() for name in hosts))


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class _SameOrigin:
    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return

        async def unframed(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Frame-Options"] = "DENY"
            await send(message)

        refusal = PlainTextResponse(_REFUSED, 403)
        is_ours = _is_ours(Headers(scope=scope), scope.get("method", "GET"), self._names)
        await (self._app if is_ours else refusal)(scope, receive, unframed)


def _is_ours(headers: Headers, method: str, names: frozenset[str]) -> bool:
    origin = headers.get("origin")
    if origin is not None:
        return _authority(origin) in {headers.get("host", "").lower(), *names} - {""}
    if headers.get("sec-fetch-site", "none") in ("same-origin", "none"):
        return True  # a page of ours, a person who typed the address, or no browser
    return method in ("GET", "HEAD") and headers.get("sec-fetch-dest") == "document"


def _authority(origin: str) -> str:
    """Return host and port of an origin; empty for `null`, that of a sandboxed frame or a file."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
