"""What the contract needs of a world, whatever it is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from rollout.model import Pod, Track
from rollout.ports import Clock, Ledger, Lock, Router, Signals, Workloads


@dataclass(frozen=True)
class Contracted:
    """A world's ports, and ways to wait for it on its own clock."""

    name: str
    router: Router
    workloads: Workloads
    metrics: Any
    clock: Clock
    ledger: Callable[[str], Ledger]
    lock: Callable[[str], Lock]
    signals: Callable[[str], Signals]
    fresh_name: str
    has_pods: bool = True
    """False on an API server that has no node to run pods on."""

    def pods(self, track: Track) -> list[Pod]:
        """Return a track's pods."""
        if not self.has_pods:
            pytest.skip("no node runs pods here")
        return [pod for pod in self.workloads.pods() if pod.track is track]

    def wait(self, condition: Callable[[], bool], *, seconds: float = 15) -> bool:
        """Return whether the condition comes true in time, looking often."""
        deadline = self.clock.now() + timedelta(seconds=seconds)
        while not condition():
            if self.clock.now() > deadline:
                return False
            self.clock.sleep(timedelta(milliseconds=20))
        return True

    def wait_for(self, track: Track, replicas: int, *, seconds: float = 15) -> bool:
        """Return whether a track comes to have just this many pods, all ready."""
        return self.wait(lambda: [pod.ready for pod in self.pods(track)] == [True] * replicas, seconds=seconds)

    def wait_for_traffic(self, seconds: float) -> None:
        """Let users send requests for a while; the caller has seen to it that they do."""
        self.clock.sleep(timedelta(seconds=seconds))
