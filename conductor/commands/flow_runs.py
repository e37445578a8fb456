"""The scheduler's runs that carried a rollout and cannot say themselves how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from rollout.events import Ended, Started, TakenOver
from rollout.record import RolloutRecord

GRACE = timedelta(seconds=30)
"""How long a process that has ended a rollout may take to say so itself."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A run whose process is gone, or could not say how the rollout ended."""

    flow_run: str
    rollout: str
    ended: Ended | None
    """How the rollout ended in its hands; None where somebody else took it over."""


class Carriers(Protocol):
    """The scheduler's own list of runs."""

    def settle(self, lost: tuple[Lost, ...]) -> tuple[str, ...]:
        """Give each that is still open the state that is true, and return a line for each; harmless to repeat.

        Raises
        ------
        UnavailableError
            When the scheduler does not answer; nothing waits for it.
        """
        ...

    def is_cancelled(self, flow_run: str) -> bool:
        """Whether somebody has cancelled a run, in the scheduler's own words.

        Raises
        ------
        UnavailableError
            When the scheduler does not answer.
        """
        ...


def carriers(record: RolloutRecord) -> tuple[str, ...]:
    """Return the runs that have carried a rollout, one for each owner in turn; empty for an owner without one."""
    return tuple(event.flow_run for event in record.events if isinstance(event, Started | TakenOver))


def lost_by(rollout: str, record: RolloutRecord, now: datetime) -> tuple[Lost, ...]:
    """Return the runs of a rollout that have nothing more to say.

    >>> lost_by("r1", RolloutRecord(), datetime.now())
    ()
    """
    *before, last = carriers(record) or ("",)
    # A scheduler's retry goes on under the same id: that run is alive.
    lost = [Lost(run, rollout, None) for run in dict.fromkeys(before) if run != last]
    if record.ended and now - record.ended.at > GRACE:
        lost.append(Lost(last, rollout, record.ended))
    return tuple(one for one in lost if one.flow_run)
