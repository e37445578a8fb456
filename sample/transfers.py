"""Answers that take long on their way: slow, echoed as they come, streamed, or over a websocket.

GET /transfer/slow?seconds=3            a short answer after so long
POST /transfer/echo                     the body, piece by piece as it comes
GET /transfer/stream?pieces=20&every=0.1  so many lines, one at a time
websocket /transfer/socket              each message back
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

PREFIX = "/transfer/"
LONGEST_SECONDS = 10.0
MOST_PIECES = 1000

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]


async def transfer(scope: Scope, receive: Receive, send: Send, headers: Headers) -> None:
    """Answer one such request, in chunks."""
    pieces = _pieces(scope, receive)
    await send({"type": "http.response.start", "status": 404 if pieces is None else 200, "headers": headers})
    if pieces is not None:
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _pieces(scope: Scope, receive: Receive) -> AsyncIterator[bytes] | None:
    asked = {name: values[0] for name, values in parse_qs(scope["query_string"].decode("latin-1")).items()}
    match scope["path"].removeprefix(PREFIX):
        case "slow":
            return _stream(1, _number(asked.get("seconds"), 3.0, LONGEST_SECONDS))
        case "stream":
            pieces = int(_number(asked.get("pieces"), 20, MOST_PIECES))
            return _stream(pieces, _number(asked.get("every"), 0.1, LONGEST_SECONDS))
        case "echo":
            return _echo(receive)
        case _:
            return None


def _number(text: str | None, default: float, most: float) -> float:
    try:
        return min(max(float(text or default), 0.0), most)
    except ValueError:
        return default


async def _stream(pieces: int, every: float) -> AsyncIterator[bytes]:
    for number in range(pieces):
        await asyncio.sleep(every)
        yield b"piece %d\n" % number


async def _echo(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        yield message.get("body", b"")
        more = message.get("more_body", False)


async def echo_messages(receive: Receive, send: Send, headers: Headers) -> None:
    """Send each message of a websocket back until it is closed."""
    await receive()  # that somebody connects
    await send({"type": "websocket.accept", "headers": headers})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message.get("text") or ""})
