"""A client and a reader of the gateway that know nothing of the product: `python -m tests.faults.observer ...`.

    --gateway PORT --admin PORT --rate 120 --out DIR

It writes a line of JSON for each request (`requests.jsonl`: when it was sent, how long it took, its status, the track
that answered, the error) and for each look at Envoy's admin port (`looks.jsonl`: when, the canary's share in percent,
the endpoints of each track; null where Envoy did not answer). Only the standard library is used, so that no fault of
the product can hide itself here. SIGTERM: it waits for the answers under way and ends.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import time
from pathlib import Path
from typing import Any, TextIO

ANSWER_SECONDS = 10.0
"""More than the route's timeout: what takes longer is lost."""
LOOK_SECONDS = 0.15
MOST_UNDER_WAY = 400
HOST = "127.0.0.1"
_REQUEST = b"GET / HTTP/1.1\r\nhost: observer\r\n\r\n"

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of one HTTP/1.1 answer."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return int(head[0].split()[1]), headers, await _read_body(reader, headers)


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if headers.get("transfer-encoding") != "chunked":
        return await reader.readexactly(int(headers.get("content-length", "0")))
    body = b""
    while size := int(await reader.readuntil(b"\r\n"), 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    await reader.readuntil(b"\r\n")
    return body


class Client:
    """An open-loop client over kept connections: a request is sent when it is due, whatever became of the others."""

    def __init__(self, port: int, rate: float, out: TextIO) -> None:
        self._port, self._rate, self._out = port, rate, out
        self._idle: list[Connection] = []
        self._under_way = set[asyncio.Task[None]]()

    async def run(self, ending: asyncio.Event) -> None:
        """Send until told to end, then wait for what is under way."""
        due = time.monotonic()
        while not ending.is_set():
            due = max(due + 1 / self._rate, time.monotonic() - 0.5)  # no burst after a pause of this process
            await asyncio.sleep(max(due - time.monotonic(), 0))
            if len(self._under_way) < MOST_UNDER_WAY:
                task = asyncio.create_task(self._ask())
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)
        await asyncio.gather(*self._under_way)

    async def _ask(self) -> None:
        at, began = time.time(), time.monotonic()
        status, track, error = 0, "", ""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                status, track = await self._exchange()
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as trouble:
            error = f"{type(trouble).__name__} {trouble}".strip()
        line = {"at": at, "seconds": round(time.monotonic() - began, 4), "status": status, "track": track}
        print(json.dumps(line | ({"error": error} if error else {})), file=self._out)

    async def _exchange(self) -> tuple[int, str]:
        connection = self._idle.pop() if self._idle else await asyncio.open_connection(HOST, self._port)
        reader, writer = connection
        is_whole = False
        try:
            writer.write(_REQUEST)
            status, headers, _ = await read_answer(reader)
            is_whole = headers.get("connection") != "close"
        finally:
            self._idle.append(connection) if is_whole else writer.close()
        return status, headers.get("x-canary-track", "")


async def look(admin: int) -> dict[str, Any]:
    """Return what Envoy says: the canary's share, and how many endpoints each track has."""
    try:
        async with asyncio.timeout(1.0):
            dump = json.loads(await _get(admin, "/config_dump?resource=dynamic_route_configs"))
            clusters = json.loads(await _get(admin, "/clusters?format=json"))
        shares = next(_shares(dump), {})
        hosts = {one["name"]: len(one.get("host_statuses", [])) for one in clusters["cluster_statuses"]}
    except (OSError, EOFError, ValueError, LookupError):
        return {"canary": None, "hosts": {}}
    return {"canary": shares.get("canary", 0) if shares else None, "hosts": hosts}


async def _get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection(HOST, port, limit=2**22)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: observer\r\nconnection: close\r\n\r\n".encode())
        return (await read_answer(reader))[2]
    finally:
        writer.close()


def _shares(node: Any) -> Any:
    """Yield each split that stands anywhere in the dump, as percent by cluster."""
    if isinstance(node, dict):
        if "weighted_clusters" in node:
            yield {one["name"]: int(one.get("weight", 0)) for one in node["weighted_clusters"]["clusters"]}
        for value in node.values():
            yield from _shares(value)
    elif isinstance(node, list):
        for value in node:
            yield from _shares(value)


async def watch(admin: int, out: TextIO, ending: asyncio.Event) -> None:
    """Look again and again until told to end."""
    while not ending.is_set():
        at = time.time()
        print(json.dumps({"at": at} | await look(admin)), file=out, flush=True)
        await asyncio.sleep(LOOK_SECONDS)


async def _observe(gateway: int, admin: int, rate: float, folder: Path) -> None:
    ending = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ending.set)
    with (folder / "requests.jsonl").open("w", buffering=1) as requests, (folder / "looks.jsonl").open("w") as looks:
        await asyncio.gather(Client(gateway, rate, requests).run(ending), watch(admin, looks, ending))


def main() -> None:
    """Observe until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", type=int, required=True)
    parser.add_argument("--admin", type=int, required=True)
    parser.add_argument("--rate", type=float, default=120.0)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    asyncio.run(_observe(options.gateway, options.admin, options.rate, options.out))


if __name__ == "__main__":
    main()
