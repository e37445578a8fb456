"""Faults that the server has on demand: refusals, lost connections, lost answers, slowness."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum


class Fault(StrEnum):
    """What goes wrong with a request."""

    CONFLICT = "409"
    INVALID = "422"
    BUSY = "429"
    ERROR = "500"
    RESET = "reset"
    """The connection ends before the request is done."""
    LOST = "lost"
    """The request is done, and the connection ends before the answer."""
    SLOW = "slow"
    """The answer takes a twentieth of a second more."""
    HANGS = "hangs"
    """No answer comes; only when it is asked for by name."""


_AT_RANDOM = tuple(fault for fault in Fault if fault is not Fault.HANGS)


@dataclass
class Faults:
    """The faults to come. Named ones come first, each once; then, with a seed, some at random."""

    planned: list[tuple[Fault, str, str]] = field(default_factory=list)
    rate: float = 0.0
    kinds: tuple[Fault, ...] = _AT_RANDOM
    left: int = 0
    """How many random faults are still to come."""
    seen: Counter[Fault] = field(default_factory=Counter)
    _draw: random.Random = field(default_factory=lambda: random.Random(0))

    def plan(self, fault: Fault, method: str, path: str = "", *, times: int = 1) -> None:
        """Let the next requests of a method, to a path that holds this text, go wrong."""
        self.planned += [(fault, method, path)] * times

    def at_random(self, seed: int, *, rate: float, most: int, kinds: tuple[Fault, ...] = _AT_RANDOM) -> None:
        """Let a share of all requests go wrong, until there were so many."""
        self._draw, self.rate, self.left, self.kinds = random.Random(seed), rate, most, kinds

    def stop(self) -> None:
        """Let nothing go wrong any more."""
        self.planned, self.rate = [], 0.0

    def next(self, method: str, path: str) -> Fault | None:
        """Return what goes wrong with this request."""
        fault = self._planned(method, path) or self._drawn(method)
        if fault:
            self.seen[fault] += 1
        return fault

    def _planned(self, method: str, path: str) -> Fault | None:
        for entry in self.planned:
            if entry[1] == method and entry[2] in path:
                self.planned.remove(entry)
                return entry[0]
        return None

    def _drawn(self, method: str) -> Fault | None:
        if self.left <= 0 or self._draw.random() >= self.rate:
            return None
        fault = self._draw.choice(self.kinds)
        if method == "GET" and fault in (Fault.CONFLICT, Fault.INVALID):
            fault = Fault.ERROR  # a read is never in conflict
        self.left -= 1
        return fault
