"""A read's end: one moment for all that a read waits for, however often it has to wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import timedelta
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")

_END: ContextVar[float] = ContextVar("end of the read, in monotonic seconds")
_running: dict[Hashable, Future[Any]] = {}
_lock = Lock()


@contextmanager
def time_limit(limit: timedelta) -> Iterator[None]:
    """Let what the body waits for end with this limit; the limit of a body around it holds too."""
    end = min(time.monotonic() + limit.total_seconds(), _END.get(float("inf")))
    token = _END.set(end)
    try:
        yield
    finally:
        _END.reset(token)


def seconds_left() -> float:
    """Return how long the read may still wait, above 0; raise TimeoutError when its time is over."""
    left = _END.get() - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def run_in_time(key: Hashable, call: Callable[[], T]) -> T:
    """Return what a call gives that knows no time limit itself, such as the system's resolver.

    It goes on in a thread when the read ends before; what comes too late serves the next read with the same key, so
    that there is never a second thread for it.

    Raises
    ------
    TimeoutError
        When the read's time is over first. Besides, whatever the call raises.
    """
    left = seconds_left()
    with _lock:
        future = _running.get(key)
        if future is None:
            future = _running[key] = Future()
            Thread(target=_carry_out, args=(future, call), name=f"read {key}", daemon=True).start()
    result = future.result(left)
    _forget(key, future)
    return result  # type: ignore[no-any-return]


def _carry_out(future: Future[T], call: Callable[[], T]) -> None:
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


def _forget(key: Hashable, future: Future[Any]) -> None:
    with _lock:
        if _running.get(key) is future:
            del _running[key]
