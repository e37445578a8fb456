"""What the synthetic clients counted, since the load began and in the present step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from rollout.load import ClientCounts

Number = TypeVar("Number", int, float)
Step = tuple[int | None, datetime | None]
"""Its index, and when its split was seen."""


@dataclass(slots=True)
class Clients:
    """The clients' counts, and the rate they were last told."""

    rate: float = 0.0
    counts: ClientCounts = field(default_factory=ClientCounts)
    instead_since: datetime | None = None
    """Since when these counts stand in for the mesh's, which cannot be read; None while it can."""
    because: str = ""
    restarts: int = 0
    """How often the load generator was started again."""
    restarted_at: datetime | None = None
    missed_since: datetime | None = None
    """Since when it has not run."""
    _at_step: ClientCounts = field(default_factory=ClientCounts)
    _step: Step = (None, None)
    _when_right: ClientCounts = field(default_factory=ClientCounts)

    def take(self, counts: ClientCounts, step: Step) -> None:
        """Take up the present counts; a new step, and one whose split has been seen, counts from here."""
        if step != self._step:
            self._step, self._at_step, self._when_right = step, counts, counts
        self.counts = counts

    def in_step(self) -> ClientCounts:
        """Return what was counted in the present step; latencies are left out."""
        return _between(self._at_step, self.counts)

    def note_right_split(self) -> None:
        """Take note that the traffic is split as asked by now."""
        self._when_right = self.counts

    def while_wrong(self) -> ClientCounts:
        """Return what was counted in the present step since the split was right; latencies are left out."""
        return _between(self._when_right, self.counts)


def _between(before: ClientCounts, now: ClientCounts) -> ClientCounts:
    return ClientCounts(
        requests=grown(now.requests, before.requests),
        errors=grown(now.errors, before.errors),
        kinds=grown(now.kinds, before.kinds),
    )


def grown(now: Mapping[str, Number], before: Mapping[str, Number]) -> dict[str, Number]:
    """Return how much each count has grown.

    >>> grown({"stable": 7, "canary": 3}, {"stable": 5})
    {'stable': 2, 'canary': 3}
    """
    return {name: count - before.get(name, 0) for name, count in now.items()}
