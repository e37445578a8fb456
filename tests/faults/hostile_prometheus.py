"""A Prometheus with somebody in between who spoils its answers: put on the PATH under the name `prometheus`.

The real one runs at a port of its own; at the port that was asked for a proxy answers, in the mode that the file named
by `HOSTILE_MODE` holds: see `MODES`. Scrapes go out as ever; only questions are spoilt.
"""

from __future__ import annotations

import ctypes
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

_ENDS_WITH_PARENT = 1
"""Linux' PR_SET_PDEATHSIG."""
_LISTEN = "--web.listen-address="
MODES = ("pass", "slow", "trickle", "endless", "null", "html", "500", "cut", "stale", "silent")


def _mode() -> str:
    try:
        return Path(os.environ["HOSTILE_MODE"]).read_text().strip() or "pass"
    except OSError:
        return "pass"


class Between(BaseHTTPRequestHandler):
    """Answers in the mode of the moment."""

    protocol_version = "HTTP/1.1"
    port = 0
    """Of the real one."""
    remembered: ClassVar[dict[str, tuple[int, bytes]]] = {}
    """Its last answers, by question without its times."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("content-length", 0))))

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, body: bytes) -> None:
        mode = _mode() if self.path.startswith("/api/") else "pass"
        spoil = getattr(self, f"_{mode}", None)
        if spoil is not None:
            spoil()
            self.close_connection = True
            return
        if mode == "slow":
            time.sleep(3)
        question = self.path.partition("&")[0]
        if mode == "stale" and question in self.remembered:
            status, content = self.remembered[question]
        else:
            status, content = self._real(body)
            if mode != "stale":
                self.remembered[question] = status, content
        if mode == "500":
            status = 500
        if mode == "cut":
            self._head(status, len(content))
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self._head(status, len(content))
        self.wfile.write(content)

    def _real(self, body: bytes) -> tuple[int, bytes]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        kept = {name: value for name, value in self.headers.items() if name.lower() in ("content-type", "accept")}
        try:
            link.request(self.command, self.path, body or None, kept)
            answer = link.getresponse()
            return answer.status, answer.read()
        except OSError:
            return 502, b"not up"
        finally:
            link.close()

    def _head(self, status: int, length: int | None) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        if length is not None:
            self.send_header("content-length", str(length))
        self.end_headers()

    def _trickle(self) -> None:
        content = b'{"status":"success","data":{"resultType":"vector","result":[]}}' + b" " * 1000
        self._head(200, len(content))
        for number in range(len(content)):
            self.wfile.write(content[number : number + 1])
            time.sleep(0.4)

    def _endless(self) -> None:
        self._head(200, None)
        while True:
            self.wfile.write(b" " * 65536)
            time.sleep(0.01)

    def _null(self) -> None:
        self._head(200, 4)
        self.wfile.write(b"null")

    def _html(self) -> None:
        self._head(200, 13)
        self.wfile.write(b"<html></html>")

    def _silent(self) -> None:
        time.sleep(30)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Nothing: who asks may hang up."""


def main() -> None:
    """Run the real one and the proxy until SIGTERM."""
    words = sys.argv[1:]
    at = next(index for index, word in enumerate(words) if word.startswith(_LISTEN))
    port = int(words[at].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", 0)) as free:
        Between.port = free.getsockname()[1]
    words[at] = f"{_LISTEN}127.0.0.1:{Between.port}"
    libc = ctypes.CDLL(None)
    real = subprocess.Popen(
        [os.environ["REAL_PROMETHEUS"], *words], preexec_fn=lambda: libc.prctl(_ENDS_WITH_PARENT, signal.SIGKILL)
    )
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        _Server(("127.0.0.1", port), Between).serve_forever()
    finally:
        real.terminate()
        real.wait()


if __name__ == "__main__":
    main()
