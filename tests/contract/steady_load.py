"""A small steady client, for tests that watch what users see: raw HTTP/1.1 on kept connections, one thread."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from types import TracebackType
from urllib.parse import urlparse


class SteadyLoad:
    """Requests at a constant rate while the `with` block lasts; `answers` counts (status, track), 0 if broken."""

    def __init__(self, url: str, *, rps: float = 500, connections: int = 60) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self.first_seen: dict[tuple[int, str], float] = {}
        self._host, self._port = urlparse(url).hostname, urlparse(url).port
        self._interval, self._connections = connections / rps, connections
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._send_all()))

    def __enter__(self) -> SteadyLoad:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    @property
    def failed(self) -> int:
        """Answers that were no 200."""
        return sum(count for (status, _), count in self.answers.items() if status != 200)

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    async def _send_all(self) -> None:
        await asyncio.gather(*(self._send(number) for number in range(self._connections)))

    async def _send(self, number: int) -> None:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        due = time.monotonic() + self._interval * number / self._connections
        while not self._stop.is_set():
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due = max(due + self._interval, time.monotonic() - 1)
            try:
                answer = await self._ask(reader, writer)
            except (OSError, asyncio.IncompleteReadError, IndexError, ValueError):
                answer = (0, "")
                reader, writer = await asyncio.open_connection(self._host, self._port)
            self.answers[answer] += 1
            self.first_seen.setdefault(answer, time.monotonic())
        writer.close()
        await writer.wait_closed()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, str]:
        writer.write(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n")
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
        await reader.readexactly(int(headers.get("content-length", 0)))
        return int(head[0].split()[1]), headers.get("x-canary-track", "")
