"""A small real service on loopback, for the load tests."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

APP = """
import asyncio, itertools

number = itertools.count()
seen = {"requests": 0}

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    if scope["path"] == "/seen":
        return await answer(send, 200, None, str(seen["requests"]).encode())
    seen["requests"] += 1
    match scope["path"]:
        case "/mixed":
            # of ten: seven good from stable, one bad, one good from canary, one that only a gateway answered
            turn = next(number) % 10
            track = b"stable" if turn < 8 else b"canary" if turn == 8 else None
            await answer(send, {7: 500, 9: 503}.get(turn, 200), track)
        case "/bad":
            await answer(send, 500 if next(number) % 2 else 200, b"canary")
        case "/missing":
            await answer(send, 404 if next(number) % 4 == 0 else 200, b"stable")
        case "/echo":
            message = await receive()
            good = message.get("body") == b"hello" and dict(scope["headers"]).get(b"x-canary") == b"always"
            await answer(send, 200 if good else 400, b"stable")
        case "/stall":
            if next(number) == 50:
                import time
                time.sleep(1)
            await answer(send, 200, b"stable")
        case "/status/404" | "/status/500":
            await answer(send, int(scope["path"][-3:]), b"stable")
        case "/slow":
            await asyncio.sleep(0.03)
            await answer(send, 200, b"stable")
        case "/json" | "/login":
            await answer(send, 200, b"stable", b"{}")
        case "/away":
            await answer(send, 302, b"stable", extra=[(b"location", b"http://shop.example/elsewhere")])
        case _:
            await answer(send, 200, b"stable")

async def answer(send, status, track, body=b"ok", extra=()):
    headers = [(b"content-length", str(len(body)).encode()), *extra]
    if track:
        headers.append((b"x-canary-track", track))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def serving(tmp_path: Path) -> Iterator[str]:
    """Yield the service's URL."""
    (tmp_path / "tiny_app.py").write_text(APP)
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "tiny_app:app", "--port", str(port), "--log-level", "error"]
    child = subprocess.Popen(command, cwd=tmp_path, start_new_session=True)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: answers(url))
        yield url
    finally:
        child.kill()
        child.wait()


def answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/seen").status_code == 200
    except httpx.TransportError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 40) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.05)
