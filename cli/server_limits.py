"""Limits of a server of ours in connections, time and bytes: nobody keeps it busy for nothing."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from starlette.datastructures import MutableHeaders
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

CONNECTIONS: Final = 64
HEADERS_SECONDS: Final = 10.0
"""How long the headers of a request may take to arrive, from the connection or the request before."""
_TOO_LARGE: Final = 413


def limits() -> dict[str, Any]:
    """Return what uvicorn is to be told; whoever comes when all connections are taken is answered 503."""
    return {
        "http": ImpatientProtocol,
        "limit_concurrency": CONNECTIONS,
        "timeout_keep_alive": 5,
        "backlog": CONNECTIONS,
    }


def limited(app: ASGIApp, *, body_bytes: int) -> ASGIApp:
    """Return the application, which answers a larger body with 413 before it is read, and hangs up."""
    inner = RequestBodyLimitMiddleware(app, body_bytes)

    async def hanging_up(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_closing(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == _TOO_LARGE:
                MutableHeaders(scope=message)["Connection"] = "close"
            await send(message)

        await inner(scope, receive, send_closing)

    return hanging_up


class ImpatientProtocol(HttpToolsProtocol):
    """Hangs up on a client whose headers do not arrive: uvicorn itself would wait for ever."""

    headers_seconds = HEADERS_SECONDS
    _headers_due: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin to wait for the rest of a request's headers."""
        super().on_message_begin()
        if self._headers_due is None:
            self._await_headers()

    def on_headers_complete(self) -> None:
        """Hand the request on."""
        self._stop_waiting()
        super().on_headers_complete()

    def _await_headers(self) -> None:
        self._headers_due = self.loop.call_later(self.headers_seconds, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None
