"""A client of every kind of request that a gateway carries, which counts the answered and the lost ones.

It needs a gateway's address alone, and the sample service behind it (`sample/transfers.py`): here or on a cluster.

keep-alive      short requests, one after the other over a kept connection
pipelined       eight at once over a kept connection, answered in order
slow            answers that take 2-5 s
chunked         a body sent in pieces over some seconds and echoed piece by piece
streaming       an answer of many pieces over some seconds
websocket       messages over a socket, each echoed; one that its pod closes as it ends is opened again

A request is lost when its answer does not come whole, or is one of the server's errors. None is ever tried again.
"""

from __future__ import annotations

import asyncio
import base64
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PIPELINED = 8
LONGEST_SECONDS = 20.0
PIECE = b"x" * 1000
WENT_AWAY = (1001, 1012)
"""Close codes of a websocket whose server ends in an orderly way."""
_TEXT, _CLOSE, _PING, _PONG = 1, 8, 9, 10

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass
class Tally:
    """What became of the requests of one kind."""

    requests: int = 0
    lost: int = 0
    connections: int = 0
    tracks: Counter[str] = field(default_factory=Counter)
    """Answers by the track that gave them."""
    first_loss: str = ""

    def lose(self, requests: int, why: object) -> None:
        """Count requests as sent and lost."""
        self.requests += requests
        self.lost += requests
        self.first_loss = self.first_loss or f"{type(why).__name__} {why}".strip()


class BadAnswerError(Exception):
    """An answer that came, and is not the one that was due."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer."""

    headers: dict[str, str]
    body: bytes

    @property
    def track(self) -> str:
        """The track that gave it."""
        return self.headers.get("x-canary-track", "")

    @property
    def is_last(self) -> bool:
        """Whether the connection ends with it."""
        return self.headers.get("connection") == "close"


class Client:
    """All kinds at once, until told to end.

    Parameters
    ----------
    url
        The gateway's.
    rate
        Short requests a second that are aimed at, kept and pipelined together.
    seed
        What times and pauses are drawn from.
    """

    def __init__(self, url: str, *, rate: float, seed: int = 1) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._rate, self._draw = rate, random.Random(seed)
        self._ending = False
        self.tallies: dict[str, Tally] = {}

    @property
    def requests(self) -> int:
        """All so far."""
        return sum(tally.requests for tally in self.tallies.values())

    @property
    def lost(self) -> int:
        """All lost ones."""
        return sum(tally.lost for tally in self.tallies.values())

    def end(self) -> None:
        """Send no more; what is under way is waited for."""
        self._ending = True

    async def run(self) -> None:
        """Send all kinds until told to end."""
        kept, batches = 12, 4
        pause = kept / (self._rate / 2)
        batch_pause = batches * PIPELINED / (self._rate / 2)
        kinds: dict[str, tuple[int, Callable[[Tally], Awaitable[None]]]] = {
            "keep-alive": (kept, lambda tally: self._short(tally, 1, pause)),
            "pipelined": (batches, lambda tally: self._short(tally, PIPELINED, batch_pause)),
            "slow": (30, lambda tally: self._repeat(tally, self._slow)),
            "chunked": (6, lambda tally: self._repeat(tally, self._chunked)),
            "streaming": (6, lambda tally: self._repeat(tally, self._streaming)),
            "websocket": (6, self._websocket),
        }
        self.tallies = {kind: Tally() for kind in kinds}
        await asyncio.gather(
            *(talk(self.tallies[kind]) for kind, (number, talk) in kinds.items() for _ in range(number))
        )

    # -- each kind

    async def _short(self, tally: Tally, at_once: int, pause: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + self._draw.uniform(0, pause)
        while not self._ending:
            async with self._connected(tally) as (reader, writer):
                is_open = True
                while is_open and not self._ending:
                    await asyncio.sleep(max(due - loop.time(), 0))
                    due = max(due + pause, loop.time() - 1)
                    is_open = await self._ask_at_once(tally, reader, writer, at_once)

    async def _ask_at_once(
        self, tally: Tally, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> bool:
        """Send so many requests without waiting, read as many answers, and return whether the connection goes on."""
        answered = 0
        try:
            async with asyncio.timeout(LONGEST_SECONDS):
                writer.write(self._request("GET", "/") * number)
                for _ in range(number):
                    answer = await read_answer(reader)
                    answered += 1
                    _count(tally, answer)
                    if answer.is_last and answered < number:
                        raise BadAnswerError("the connection ended before the last answer")
        except (OSError, EOFError, ValueError, BadAnswerError) as why:
            tally.lose(number - answered, why)
            return False
        return not answer.is_last

    async def _repeat(self, tally: Tally, ask: Callable[[Connection], Awaitable[Answer]]) -> None:
        await asyncio.sleep(self._draw.uniform(0, 3))
        while not self._ending:
            async with self._connected(tally) as connection:
                is_open = True
                while is_open and not self._ending:
                    try:
                        async with asyncio.timeout(LONGEST_SECONDS):
                            answer = await ask(connection)
                    except (OSError, EOFError, ValueError, BadAnswerError) as why:
                        tally.lose(1, why)
                        is_open = False
                    else:
                        _count(tally, answer)
                        is_open = not answer.is_last

    async def _slow(self, connection: Connection) -> Answer:
        reader, writer = connection
        writer.write(self._request("GET", f"/transfer/slow?seconds={self._draw.uniform(2, 5):.2f}"))
        return await read_answer(reader)

    async def _streaming(self, connection: Connection) -> Answer:
        reader, writer = connection
        pieces, every = self._draw.randrange(5, 30), self._draw.uniform(0.01, 0.2)
        writer.write(self._request("GET", f"/transfer/stream?pieces={pieces}&every={every:.3f}"))
        answer = await read_answer(reader)
        if answer.body.count(b"\n") != pieces:
            raise BadAnswerError(f"{answer.body.count(b'n')} of {pieces} pieces")
        return answer

    async def _chunked(self, connection: Connection) -> Answer:
        reader, writer = connection
        pieces, sent = self._draw.randrange(3, 15), b""
        writer.write(self._request("POST", "/transfer/echo", "transfer-encoding: chunked"))
        for number in range(pieces):
            piece = b"%d " % number + PIECE
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            sent += piece
            await asyncio.sleep(self._draw.uniform(0, 0.3))
        writer.write(b"0\r\n\r\n")
        answer = await read_answer(reader)
        if answer.body != sent:
            raise BadAnswerError(f"{len(answer.body)} bytes came back of {len(sent)}")
        return answer

    async def _websocket(self, tally: Tally) -> None:
        await asyncio.sleep(self._draw.uniform(0, 3))
        while not self._ending:
            async with self._connected(tally) as (reader, writer):
                try:
                    await self._talk(tally, reader, writer)
                except (OSError, EOFError, ValueError, BadAnswerError) as why:
                    tally.lose(1, why)

    async def _talk(self, tally: Tally, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send some messages over one socket; its pod may close it before."""
        key = base64.b64encode(os.urandom(16)).decode()
        wanted = ("connection: upgrade", "upgrade: websocket", f"sec-websocket-key: {key}", "sec-websocket-version: 13")
        writer.write(self._request("GET", "/transfer/socket", *wanted))
        async with asyncio.timeout(LONGEST_SECONDS):
            status, headers = await _read_head(reader)
        if status != 101:
            raise BadAnswerError(f"no websocket, status {status}")
        tally.requests += 1
        tally.tracks[headers.get("x-canary-track", "")] += 1
        coming = asyncio.create_task(read_message(reader, writer))
        try:
            for _ in range(self._draw.randrange(10, 60)):
                if self._ending:
                    return
                await asyncio.wait([coming], timeout=self._draw.uniform(0.05, 0.5))
                if coming.done() and _went_away(*coming.result()):
                    return
                message = f"message {self._draw.random()}".encode()
                writer.write(to_frame(_TEXT, message))
                async with asyncio.timeout(LONGEST_SECONDS):
                    kind, payload = await coming
                coming = asyncio.create_task(read_message(reader, writer))
                if (kind, payload) != (_TEXT, message):
                    raise BadAnswerError(f"frame {kind} {payload!r} for a message")
                tally.requests += 1
        finally:
            coming.cancel()

    # -- connections

    def _request(self, method: str, path: str, *headers: str) -> bytes:
        head = "".join(f"{line}\r\n" for line in (f"host: {self._host}", *headers))
        return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode()

    @asynccontextmanager
    async def _connected(self, tally: Tally) -> AsyncIterator[Connection]:
        while True:
            try:
                async with asyncio.timeout(LONGEST_SECONDS):
                    connection = await asyncio.open_connection(self._host, self._port)
                break
            except OSError as why:  # who cannot connect has lost a request
                tally.lose(1, why)
                await asyncio.sleep(0.2)
        tally.connections += 1
        try:
            yield connection
        finally:
            connection[1].close()


def _count(tally: Tally, answer: Answer) -> None:
    tally.requests += 1
    tally.tracks[answer.track] += 1


def _went_away(kind: int, payload: bytes) -> bool:
    """Return whether the server has closed a socket over which nothing was under way."""
    if kind == _CLOSE and int.from_bytes(payload[:2], "big") in WENT_AWAY:
        return True
    raise BadAnswerError(f"frame {kind} {payload!r} that nobody asked for")


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    """Return one whole answer.

    Raises
    ------
    BadAnswerError
        When it is one of the server's errors.
    """
    status, headers = await _read_head(reader)
    body = b""
    if headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readuntil(b"\r\n"), 16):
            body += await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readuntil(b"\r\n")
    else:
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    if status != 200:
        raise BadAnswerError(f"status {status}: {body[:100]!r}")
    return Answer(headers, body)


async def _read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    parted = (line.partition(":") for line in lines[1:] if line)
    return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in parted}


def to_frame(kind: int, payload: bytes) -> bytes:
    """Return a short frame of a client's (RFC 6455, 5.2)."""
    mask = os.urandom(4)
    masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
    return bytes([0x80 | kind, 0x80 | len(payload)]) + mask + masked


async def read_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
    """Return kind and payload of a server's next short frame that is no ping; those are answered."""
    while True:
        first, length = await reader.readexactly(2)
        kind, payload = first & 0x0F, await reader.readexactly(length)
        if kind != _PING:
            return kind, payload
        writer.write(to_frame(_PONG, payload))
