"""The run over time: what was counted in each stretch of it, as lines of a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from loadtest.stats import Histogram, parse_histogram


@dataclass(slots=True)
class Window:
    """A stretch of the run: what was sent in it, and what was answered in it."""

    index: int
    sent: int = 0
    answered: int = 0
    failures: int = 0
    seconds: float = 0.0
    """All latencies together."""
    latency: Histogram = field(default_factory=Histogram)

    def record(self, seconds: float, *, failed: bool) -> None:
        """Count one answer."""
        self.answered += 1
        self.failures += failed
        self.seconds += seconds
        self.latency.add(seconds)

    def merge(self, other: Window) -> None:
        """Add what another process counted in the same stretch."""
        self.sent += other.sent
        self.answered += other.answered
        self.failures += other.failures
        self.seconds += other.seconds
        self.latency.merge(other.latency)


def dump_window(window: Window) -> str:
    """Return the window as one line of JSON."""
    values = (window.index, window.sent, window.answered, window.failures, window.seconds, window.latency.counts)
    return json.dumps(values)


def parse_windows(lines: Iterable[str]) -> list[Window]:
    """Return the windows that lines hold, those of one index together, in order of time.

    A last line cut short by a kill is left out.
    """
    windows: dict[int, Window] = {}
    for line in lines:
        if not line.endswith("]\n"):
            continue
        index, sent, answered, failures, seconds, latency = json.loads(line)
        window = Window(index, sent, answered, failures, seconds, parse_histogram(latency))
        windows.setdefault(index, Window(index)).merge(window)
    return [windows[index] for index in sorted(windows)]
