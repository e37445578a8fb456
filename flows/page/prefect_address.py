"""Where Prefect's API is said to be, and whether it answers."""

from __future__ import annotations

import httpx

_ANSWERS_SECONDS = 2.0


def prefect_url() -> str:
    """Return where Prefect's API is said to be, by the environment or its profile; empty where it is not."""
    from prefect.settings import PREFECT_API_URL

    return str(PREFECT_API_URL.value() or "")


def answers(url: str) -> bool:
    """Return whether Prefect's API answers there, within two seconds."""
    try:
        return httpx.get(f"{url.rstrip('/')}/health", timeout=_ANSWERS_SECONDS).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False
