"""Keeps the requests of a user's locustfile to the hosts that may be loaded, one by one and after each redirect."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from locust.clients import LocustHttpAdapter
from locust.contrib.fasthttp import LocustUserAgent

from loadtest.allowed_targets import may_be_loaded


class TargetRefusedError(Exception):
    """A request was not sent: its host is neither loopback nor under `allow`."""


def restrict_hosts(hosts: tuple[str, ...], refuse: Callable[[str], None]) -> None:
    """Let Locust's clients send to loopback and to these hosts alone.

    Parameters
    ----------
    hosts
        Such as `shop.test` or `shop.test:8080`.
    refuse
        Called with the host and port of each request that is not sent.
    """

    def check(url: str) -> None:
        target = urlsplit(url)
        host, port = target.hostname or "", target.port or (443 if target.scheme == "https" else 80)
        if not may_be_loaded(host, port, hosts):
            refuse(f"{host}:{port}")
            raise TargetRefusedError(f"{host}:{port} is neither a loopback address nor under `allow` in the profile")

    send, urlopen = LocustHttpAdapter.send, LocustUserAgent._urlopen

    def checked_send(adapter: Any, request: Any, *positional: Any, **named: Any) -> Any:
        check(request.url)
        return send(adapter, request, *positional, **named)

    def checked_urlopen(agent: Any, request: Any) -> Any:
        check(request.url)
        return urlopen(agent, request)

    LocustHttpAdapter.send, LocustUserAgent._urlopen = checked_send, checked_urlopen
