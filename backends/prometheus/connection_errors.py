"""What went wrong between us and a server, in one sentence that holds no secret.

Foreign errors are named by their kind and never quoted: they repeat addresses and headers, and what the server sent.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from datetime import timedelta
from http.client import HTTPException
from typing import Final

import requests
from urllib3 import exceptions as urllib3

from backends.prometheus.http_config_settings import CREDENTIALS
from backends.prometheus.query_results import decode, server_error
from rollout.errors import AccessDeniedError, UnavailableError

_DENIED: Final = (401, 403)
_PROXY_DENIED: Final = 407
_CLIENT_CERTIFICATE: Final = ("CERTIFICATE_REQUIRED", "HANDSHAKE_FAILURE")
_TIMEOUTS: Final = (TimeoutError, requests.Timeout, urllib3.TimeoutError)
_BROKEN: Final = (ConnectionError, urllib3.ProtocolError, HTTPException, requests.exceptions.ChunkedEncodingError)


def checked_body(status: int, body: bytes, hide: Callable[[str], str]) -> bytes:
    """Return an answer's body, or raise unless its status is 200."""
    if status == 200:
        return body
    reason = _reason(body, hide)
    if status in _DENIED:
        raise AccessDeniedError(f"HTTP {status}{reason}: the server refuses us; name who we are in {CREDENTIALS}")
    if status == _PROXY_DENIED:
        raise AccessDeniedError(f"HTTP {status}: the proxy refuses us; see proxy_url in CANARY_PROMETHEUS_CONFIG")
    raise UnavailableError(f"HTTP {status}{reason}")


def describe_failure(error: Exception, limit: timedelta) -> str:
    """Return what a foreign error means."""
    chain = tuple(_causes(error))
    proxy = "the proxy: " if any(isinstance(cause, (requests.exceptions.ProxyError)) for cause in chain) else ""
    for cause in chain:
        if meaning := _meaning(cause, limit):
            return proxy + meaning
    return f"{proxy}{type(error).__name__}"


def _meaning(error: BaseException, limit: timedelta) -> str:
    if isinstance(error, urllib3.NameResolutionError):
        return "no such host"
    if isinstance(error, _TIMEOUTS):
        return f"timed out after {limit.total_seconds():g} s"
    if isinstance(error, ssl.SSLError):
        return _tls(error)
    if isinstance(error, (urllib3.DecodeError, requests.exceptions.ContentDecodingError)):
        return "the answer is not packed as it says"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the connection was broken off" if isinstance(error, _BROKEN) and not error.__cause__ else ""


def _tls(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if any(word in (error.reason or "") for word in _CLIENT_CERTIFICATE):
        return f"it wants a client's certificate ({error.reason}); see tls_config in CANARY_PROMETHEUS_CONFIG"
    return f"no TLS with it: {error.reason or type(error).__name__}"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield what an error came from, the first cause first: the outer ones say the least."""
    seen = list[BaseException]()
    last: BaseException | None = error
    while last is not None and last not in seen:
        seen.append(last)
        inner = getattr(last, "reason", None)
        argument = last.args[0] if last.args else None
        causes = (last.__cause__, inner, argument, last.__context__)
        last = next((cause for cause in causes if isinstance(cause, BaseException)), None)
    yield from reversed(seen)


def _reason(body: bytes, hide: Callable[[str], str]) -> str:
    """Return what Prometheus says in its own form; anybody else's page is not quoted."""
    try:
        document = decode(body, hide)
    except UnavailableError:
        return ""
    text = server_error(document) if document.get("status") == "error" else ""
    return f" ({text})" if text else ""
