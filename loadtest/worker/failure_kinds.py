"""Why a request of a user's locustfile failed, or a task raised: short names that can be counted."""

from __future__ import annotations

import traceback
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Any

from rollout.answers import grpc_kind, http_kind

LONGEST = 100
"""Characters of a kind: it has to fit a line of a table."""
_STATUS_ERRORS = frozenset({"HTTPError", "LocustBadStatusCode"})
"""What Locust's clients raise of themselves for a status of 400 or more."""
_USER_ERRORS = frozenset({"CatchResponseError", "ResponseError"})
_NETWORK_MODULES = frozenset({"requests", "urllib3", "http", "geventhttpclient", "gevent", "ssl", "socket"})
"""Modules whose messages hold addresses and object numbers: their names are enough."""


def failure_kind(response: object, exception: object, expected: Collection[int] = ()) -> str:
    """Return what was wrong with an answer, or an empty text.

    What the locustfile said with `success()` or `failure()` counts: without an exception nothing was wrong, whatever
    the status is.

    Parameters
    ----------
    response, exception
        Of Locust's `request` event; a user's own client may send anything, or nothing.
    expected
        Statuses of 400 to 499 that are no failures.
    """
    if not exception:
        return ""
    status = _status(response)
    if type(exception).__name__ in _STATUS_ERRORS and status >= 400:
        return "" if status in expected else http_kind(status)
    if type(exception).__name__ in _USER_ERRORS:
        return _shortened(f"check failed: {_text(exception)}")
    return _grpc(exception) or _shortened(_describe(exception))


def raised_kind(exception: BaseException, trace: TracebackType | None, folder: Path) -> str:
    """Return what a task raised, and where in the user's own code.

    Parameters
    ----------
    exception, trace
        Of Locust's `user_error` event.
    folder
        Where the locustfile runs: places are relative to it.
    """
    frames = traceback.extract_tb(trace)
    place = next((frame for frame in reversed(frames) if _is_in(frame.filename, folder)), None)
    where = f" ({Path(place.filename).relative_to(folder)}:{place.lineno}, in {place.name})" if place else ""
    return _shortened(_describe(exception, whole=True), LONGEST - min(len(where), LONGEST // 2)) + where


def _is_in(file: str, folder: Path) -> bool:
    return Path(file).is_relative_to(folder) and "site-packages" not in Path(file).relative_to(folder).parts


def _status(response: object) -> int:
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else 0


def _grpc(exception: object) -> str:
    code = getattr(exception, "code", None)
    name = getattr(code() if callable(code) else None, "name", None)
    return grpc_kind(name) if isinstance(name, str) else ""


def _describe(exception: Any, *, whole: bool = False) -> str:
    kind, text = type(exception).__name__, _text(exception)
    if isinstance(exception, str):
        return text
    brief = isinstance(exception, OSError) or type(exception).__module__.partition(".")[0] in _NETWORK_MODULES
    return f"{kind}: {text}" if text and (whole or not brief) else kind


def _text(exception: object) -> str:
    """Return the message in one line."""
    try:
        return " ".join(str(exception).split())
    except Exception:  # a stranger's `__str__`
        return ""


def _shortened(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else f"{text[: longest - 3]}..."
