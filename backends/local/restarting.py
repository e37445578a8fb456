"""A process that is started again whenever it ends, with a growing pause, as a kubelet does."""

from __future__ import annotations

import time
from collections.abc import Callable

from backends.local.children import Child

# A kubelet waits 10 s, doubling to 300 s, and forgives after 10 min: a twentieth of it, for a demo of minutes.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
FORGIVEN_AFTER_SECONDS = 30.0


class Kept:
    """A process kept alive."""

    def __init__(self, start: Callable[[], Child]) -> None:
        self._start = start
        self._pause = 0.0
        self._due: float | None = None
        self.restarts = 0
        self.child: Child | None = start()

    def tick(self) -> bool:
        """Notice an end, start again when it is time; return whether anything changed."""
        if self.child is not None:
            return self.child.ended and self._mourn(self.child)
        if self._due is None or time.monotonic() < self._due:
            return False
        self.restarts += 1
        self.child = self._start()
        return True

    def _mourn(self, child: Child) -> bool:
        lasted = time.monotonic() - child.began
        longer = FIRST_PAUSE_SECONDS if lasted > FORGIVEN_AFTER_SECONDS else 2 * self._pause
        self._pause = min(max(longer, FIRST_PAUSE_SECONDS), LONGEST_PAUSE_SECONDS)
        self._due = time.monotonic() + self._pause
        self.child = None
        return True

    @property
    def waiting(self) -> str:
        """Why it does not run, in Kubernetes' words."""
        return "CrashLoopBackOff" if self.child is None else ""
