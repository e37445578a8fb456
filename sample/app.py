"""A bare ASGI app that answers in 20-60 ms and says which version, track and pod answered."""

from __future__ import annotations

import asyncio
import json
import math
import os
import random
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from rollout.errors import PlanError
from sample.faults import Fault, parse_fault

FASTEST, MEDIAN, SLOWEST, SIGMA = 0.020, 0.034, 0.060, 0.25
"""Latency in seconds: lognormal with this median and spread, kept between the two ends."""
FAULT_PATH = "/-/fault"

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
NONE = Fault("")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers."""

    service: str
    track: str
    version: str
    pod: str


class Switch:
    """The fault that is on, and until when (seconds since the epoch)."""

    def __init__(self) -> None:
        self._fault, self._until = NONE, math.inf

    def turn(self, text: str, until: float | None) -> None:
        """Put a fault on, or with empty text off. A crash happens here and now."""
        self._fault = parse_fault(text) if text else NONE
        self._until = math.inf if until is None else until
        if self.fault.crash:
            os._exit(1)

    @property
    def fault(self) -> Fault:
        """The fault that is on now."""
        return self._fault if time.time() < self._until else NONE


class SampleApp:
    """The app: `/healthz`, the fault switch, and the same short answer on every other path."""

    def __init__(self, identity: Identity, *, seed: str = "0") -> None:
        self.switch = Switch()
        self._identity = identity
        self._draw = random.Random(f"{seed}/{identity.pod}")
        self._headers = [
            (b"content-type", b"application/json"),
            *((f"x-canary-{name}".encode(), getattr(identity, name).encode()) for name in ("track", "version", "pod")),
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        match scope["path"]:
            case "/healthz":
                await self._answer(send, 200, {"status": "ok"})
            case path if path == FAULT_PATH:
                await self._turn(receive, send)
            case _:
                await self._serve(send)

    async def _serve(self, send: Send) -> None:
        fault = self.switch.fault
        await asyncio.sleep(self._latency(fault))
        failed = self._draw.random() < fault.errors
        body = {"error": "injected"} if failed else {"service": self._identity.service, "by": self._identity.pod}
        await self._answer(send, 500 if failed else 200, body)

    def _latency(self, fault: Fault) -> float:
        seconds = min(max(self._draw.lognormvariate(math.log(MEDIAN), SIGMA), FASTEST), SLOWEST)
        if fault.latency is not None:
            return seconds * fault.latency.total_seconds() / MEDIAN
        return seconds * (1 + fault.slower)

    async def _turn(self, receive: Receive, send: Send) -> None:
        message = await receive()
        try:
            wanted = json.loads(message.get("body") or b"{}")
            self.switch.turn(str(wanted["fault"]), wanted.get("until"))
        except (PlanError, ValueError, KeyError, TypeError) as error:
            await self._answer(send, 400, {"error": str(error)})
        else:
            await self._answer(send, 200, {"fault": self.switch.fault.text})

    async def _answer(self, send: Send, status: int, body: dict[str, str]) -> None:
        text = json.dumps(body).encode()
        headers = [*self._headers, (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})
