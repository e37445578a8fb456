"""A bare ASGI app that answers in 20-60 ms and says which version, track and pod answered."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from rollout.errors import PlanError
from sample.behaviour import Behaviour
from sample.faults import Failure, Fault
from sample.transfers import PREFIX, echo_messages, transfer

FAULT_PATH = "/-/fault"
CLOSE = "sample.close"
"""What in a request's `state` closes its connection."""

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class SampleApp:
    """The app: `/healthz`, the fault switch, long transfers, and the same short answer on every other path."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        identity = [(name.encode(), value.encode()) for name, value in behaviour.identity.headers]
        self._identity = identity
        self._headers = [(b"content-type", b"application/json"), *identity]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "websocket":
            return await echo_messages(receive, send, self._identity)
        if scope["type"] != "http":
            return None
        match scope["path"]:
            case "/healthz":
                await self._answer(send, 200, {"status": "ok"})
            case path if path == FAULT_PATH:
                await self._turn(receive, send)
            case path if path.startswith(PREFIX):
                await transfer(scope, receive, send, self._identity)
            case _:
                await self._serve(scope, receive, send)
        return None

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        failed = await self._behaviour.wait()
        if failed is None:
            identity = self._behaviour.identity
            await self._answer(send, 200, {"service": identity.service, "by": identity.pod})
        elif failed.failure in (Failure.CUT_OFF, Failure.RESET):
            await self._break(failed, scope, receive, send)
        else:
            status = failed.code if failed.failure is Failure.STATUS else 500
            await self._answer(send, status, {"error": "injected"})

    async def _break(self, failed: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection, after half of the answer or before it."""
        if failed.failure is Failure.CUT_OFF:
            text = json.dumps({"error": "cut off"}).encode()
            await self._begin(send, 200, 2 * len(text))
            await send({"type": "http.response.body", "body": text, "more_body": True})
        scope["state"][CLOSE]()
        while (await receive())["type"] != "http.disconnect":
            pass  # an app that returned sooner would be taken for one that failed

    async def _turn(self, receive: Receive, send: Send) -> None:
        message = await receive()
        try:
            wanted = json.loads(message.get("body") or b"{}")
            self._behaviour.switch.turn(str(wanted["fault"]), wanted.get("until"))
        except (PlanError, ValueError, KeyError, TypeError) as error:
            await self._answer(send, 400, {"error": str(error)})
        else:
            await self._answer(send, 200, {"fault": self._behaviour.switch.fault.text})

    async def _answer(self, send: Send, status: int, body: dict[str, str]) -> None:
        text = json.dumps(body).encode()
        await self._begin(send, status, len(text))
        await send({"type": "http.response.body", "body": text})

    async def _begin(self, send: Send, status: int, length: int) -> None:
        headers = [*self._headers, (b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
