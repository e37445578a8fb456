"""A service for measuring load generators: answers at once, counts, keeps arrival times, and stalls when told to.

`uvicorn benchmarks.running.echo:app`; `/count`, `/arrivals`, `/stall?2` and `/after?0.05` (seconds) are for the
benchmark, all else is answered.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

MOST_ARRIVALS = 200_000
_arrivals: list[float] = []
_count = 0


async def app(
    scope: MutableMapping[str, Any], _receive: object, send: Callable[[MutableMapping[str, Any]], Awaitable[None]]
) -> None:
    """Answer one request."""
    global _count
    if scope["type"] != "http":
        return
    body = b"ok"
    match scope["path"]:
        case "/count":
            body = str(_count).encode()
        case "/arrivals":
            body = json.dumps(_arrivals).encode()
            _arrivals.clear()
        case "/stall":
            time.sleep(float(scope["query_string"]))  # the whole process stands still, as in a long garbage collection
        case "/after":
            await asyncio.sleep(float(scope["query_string"]))
        case _:
            _count += 1
            if len(_arrivals) < MOST_ARRIVALS:
                _arrivals.append(time.perf_counter())
    headers = [(b"content-length", str(len(body)).encode()), (b"x-canary-track", b"stable")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
