"""Where load may be sent, and how much."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection
from urllib.parse import SplitResult, urlsplit

from rollout.errors import PlanError

HIGHEST_RATE = 5000
"""Requests a second: above what one process can send, so a higher figure is a slip of the pen."""


def checked_target(url: str, allow: Collection[str] = ()) -> SplitResult:
    """Return the parts of a URL that load may be sent to.

    Parameters
    ----------
    url
        Where to send requests.
    allow
        Hosts beyond loopback, such as `shop.test` or `shop.test:8080`.

    Raises
    ------
    PlanError
        No URL, or a host that is neither loopback nor allowed.
    """
    example = (
        "allowed: http:// or https:// at a loopback address, such as http://127.0.0.1:8080/, or at an allowed host"
    )
    try:
        target = urlsplit(url)
        port = target.port
        host = target.hostname or ""
        permitted = may_be_loaded(host, port, allow)
    except ValueError as error:
        raise PlanError(f"load url is {url!r}: {error}, {example}") from error
    if target.scheme not in ("http", "https") or not host or not permitted:
        hosts = f" ({', '.join(sorted(allow))})" if allow else " (none is listed under `allow` in the profile)"
        raise PlanError(f"load url is {url!r}, {example}{hosts}")
    if target.username or target.password:
        raise PlanError("load url holds a name or password, allowed: credentials in the profile's headers")
    return target


def sending_target(url: str | None, allow: Collection[str], gateway: str | None) -> SplitResult | None:
    """Return where load goes: to its own URL, or to the service's gateway, which needs no permission; None for neither.

    Raises
    ------
    PlanError
        As `checked_target` does.
    """
    if url or not gateway:
        return checked_target(url, allow) if url else None
    return checked_target(gateway, {urlsplit(gateway).netloc})


def checked_rate(rate: float, ceiling: float = HIGHEST_RATE) -> float:
    """Return a rate in requests a second, or raise PlanError when it is none or above the ceiling."""
    if not 0 < rate <= ceiling:
        raise PlanError(f"load rate is {rate:g}, allowed: above 0, at most {ceiling:g} requests a second")
    return float(rate)


def may_be_loaded(host: str, port: int | None, allow: Collection[str]) -> bool:
    """Return whether load may be sent to a host: a loopback address, or one that is allowed."""
    return _is_loopback(host) or host in allow or f"{host}:{port}" in allow


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
