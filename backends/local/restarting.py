"""A process that is started again whenever it ends, with exponential back-off, as a kubelet does."""

from __future__ import annotations

import time
from collections.abc import Callable

from backends.local.children import Child

# A kubelet backs off 10 s, doubling to 300 s, and resets that after 10 min: a twentieth of it, for a demo of minutes.
FIRST_BACKOFF_SECONDS = 0.5
LONGEST_BACKOFF_SECONDS = 15.0
BACKOFF_RESET_SECONDS = 30.0


class SupervisedProcess:
    """A process that is started again after each end."""

    def __init__(self, start: Callable[[], Child]) -> None:
        self._start = start
        self._backoff = 0.0
        self._due: float | None = None
        self.restarts = 0
        self.child: Child | None = start()

    def tick(self) -> bool:
        """Notice an end, start again when it is time; return whether anything changed."""
        if self.child is not None:
            return self.child.ended and self._schedule_restart(self.child)
        if self._due is None or time.monotonic() < self._due:
            return False
        self.restarts += 1
        self.child = self._start()
        return True

    def _schedule_restart(self, child: Child) -> bool:
        lasted = time.monotonic() - child.began
        backoff = FIRST_BACKOFF_SECONDS if lasted > BACKOFF_RESET_SECONDS else 2 * self._backoff
        self._backoff = min(max(backoff, FIRST_BACKOFF_SECONDS), LONGEST_BACKOFF_SECONDS)
        self._due = time.monotonic() + self._backoff
        self.child = None
        return True

    @property
    def waiting(self) -> str:
        """Why it does not run, as Kubernetes calls it."""
        return "CrashLoopBackOff" if self.child is None else ""
