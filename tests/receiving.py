"""Real receivers on loopback: a web server and a mail server that keep what they get, or never answer."""

from __future__ import annotations

import ipaddress
import json
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

Server = TypeVar("Server", bound=socketserver.BaseServer)


class WebServer(ThreadingHTTPServer):
    """Keeps what is posted to it; `answers` what it is told to, or nothing until `lets_go`."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Posted)
        self.got: list[tuple[str, Any]] = []
        self.statuses: list[int] = [200]
        self.lets_go = threading.Event()
        self.lets_go.set()
        self.hears = threading.Condition()

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def encrypt(self, certificate: Path) -> None:
        """Speak TLS from now on, with a certificate that is written there."""
        write_certificate(certificate)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def wait_for(self, count: int, seconds: float = 30) -> list[Any]:
        """Return what was posted, once there is so much of it."""
        with self.hears:
            assert self.hears.wait_for(lambda: len(self.got) >= count, seconds), f"{len(self.got)} of {count}"
            return [body for _, body in self.got]


class _Posted(BaseHTTPRequestHandler):
    server: WebServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        with self.server.hears:
            self.server.got.append((self.path, json.loads(body)))
            self.server.hears.notify_all()
        self.server.lets_go.wait(60)
        statuses = self.server.statuses
        self.send_response(statuses.pop(0) if len(statuses) > 1 else statuses[0])
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


class MailServer(socketserver.ThreadingTCPServer):
    """Takes mail as SMTP's simplest server does, and keeps it."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Delivered)
        self.mails: list[EmailMessage] = []
        self.hears = threading.Condition()

    @property
    def where(self) -> str:
        return f"127.0.0.1:{self.server_address[1]}"

    def wait_for(self, count: int, seconds: float = 30) -> list[EmailMessage]:
        with self.hears:
            assert self.hears.wait_for(lambda: len(self.mails) >= count, seconds), f"{len(self.mails)} of {count}"
            return list(self.mails)


class _Delivered(socketserver.StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 here")
        while line := self.rfile.readline():
            word = line.split()[0].upper() if line.split() else b""
            if word == b"DATA":
                self._say("354 go on")
                self._keep(self._text())
                self._say("250 kept")
            else:
                self._say("221 bye" if word == b"QUIT" else "250 fine")
            if word == b"QUIT":
                return

    def _text(self) -> bytes:
        lines: list[bytes] = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b".") if line.startswith(b"..") else line)
        return b"".join(lines)

    def _keep(self, text: bytes) -> None:
        with self.server.hears:
            self.server.mails.append(message_from_bytes(text, policy=policy.default))  # type: ignore[arg-type]
            self.server.hears.notify_all()

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


def write_certificate(path: Path) -> None:
    """Write a certificate of this machine's loopback with its key, as one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now, day = datetime.now(UTC), timedelta(days=1)
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
        .add_extension(loopback, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    kinds = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(*kinds) + certificate.public_bytes(kinds[0]))


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve while the body runs."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
