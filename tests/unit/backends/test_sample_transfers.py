"""The sample service's long answers: slow, echoed, streamed, over a websocket."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sample.app import SampleApp
from sample.behaviour import Behaviour, Identity

WHO = Identity(service="canary-app", track="canary", version="v2", pod="canary-app-v2-0")


def exchanged(scope: dict[str, Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what the app sends for these messages."""
    coming, sent = list(messages), list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        return coming.pop(0)

    async def send(message: dict[str, Any]) -> None:
        sent.append(dict(message))

    asyncio.run(SampleApp(Behaviour(WHO))({"query_string": b"", **scope}, receive, send))  # type: ignore[arg-type]
    return sent


def http(path: str, query: bytes = b"") -> dict[str, Any]:
    return {"type": "http", "path": path, "query_string": query}


def bodies(sent: list[dict[str, Any]]) -> list[bytes]:
    return [message["body"] for message in sent if message["type"] == "http.response.body"]


def test_a_body_comes_back_piece_by_piece() -> None:
    pieces = [{"type": "http.request", "body": body, "more_body": body != b"c"} for body in (b"a", b"b", b"c")]

    sent = exchanged(http("/transfer/echo"), *pieces)

    assert bodies(sent) == [b"a", b"b", b"c", b""]
    assert (b"x-canary-track", b"canary") in sent[0]["headers"]


@pytest.mark.parametrize(("query", "pieces"), [(b"pieces=3&every=0", 3), (b"pieces=1&every=nonsense", 1)])
def test_a_stream_has_as_many_pieces_as_were_asked_for(query: bytes, pieces: int) -> None:
    sent = exchanged(http("/transfer/stream", query))

    assert bodies(sent) == [*(b"piece %d\n" % number for number in range(pieces)), b""]


def test_an_unknown_transfer_is_not_found() -> None:
    assert exchanged(http("/transfer/elsewhere"))[0]["status"] == 404


def test_a_websockets_messages_come_back_until_it_is_closed() -> None:
    sent = exchanged(
        {"type": "websocket", "path": "/transfer/socket"},
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "text": "one"},
        {"type": "websocket.disconnect", "code": 1000},
    )

    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send"]
    assert sent[1]["text"] == "one"
