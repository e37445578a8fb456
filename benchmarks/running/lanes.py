"""The runs of a benchmark side by side, all of which end where it is interrupted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import TypeVar

from wiring.interruption import interruptible

W = TypeVar("W")
R = TypeVar("R")


class Stop:
    """Whether the benchmark is to end. A lane waits by `pause` alone, and so hears of it."""

    def __init__(self) -> None:
        self._asked = Event()

    def ask(self) -> None:
        """End every lane at its next pause."""
        self._asked.set()

    def pause(self, seconds: float) -> None:
        """Wait so long, or raise SystemExit where the benchmark is to end."""
        if self._asked.wait(seconds):
            raise SystemExit("interrupted")


def side_by_side(lanes: int, work: Sequence[W], carry_out: Callable[[Sequence[W], Stop], list[R]]) -> list[tuple[W, R]]:
    """Return each piece of work with what came of it; a lane that fails or a signal ends all of them.

    Parameters
    ----------
    lanes
        How many go on at a time.
    work
        Dealt to the lanes in turn.
    carry_out
        Does a lane's part of it, one after the other.
    """
    parts, stop = [work[lane::lanes] for lane in range(lanes)], Stop()
    with interruptible(), ThreadPoolExecutor(lanes) as threads, ExitStack() as interruption:
        interruption.callback(stop.ask)
        found = list(threads.map(lambda part: carry_out(part, stop), parts))
    return [pair for part, results in zip(parts, found, strict=True) for pair in zip(part, results, strict=True)]
