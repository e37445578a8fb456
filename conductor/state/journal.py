"""A rollout's ledger, waited for: what cannot be written now is kept, and written in order later."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from rollout.errors import UnavailableError
from rollout.ports import Clock, Ledger
from rollout.record import Event, SeriesPoint

log = logging.getLogger(__name__)

PATIENCE = timedelta(seconds=30)
"""A ledger that cannot be written for longer ends the rollout: nobody could take it over where it stands."""

_AGAIN_AFTER: Final = timedelta(seconds=1)


@dataclass(slots=True)
class Journal:
    """Events in order and the latest state, on their way to the ledger."""

    ledger: Ledger
    clock: Clock
    trouble: str = ""
    """Why the last write failed; empty when it did not."""
    is_patient: bool = False
    """Whether nothing may wait for the record any more, because the traffic is on its way to stable."""
    _events: list[Event] = field(default_factory=list)
    _state: str | None = None
    _silent_since: datetime | None = None

    def append(self, event: Event) -> None:
        """Add an event after all that are still to be written."""
        self.keep(event)
        self.flush()

    def keep(self, event: Event) -> None:
        """Add an event that may wait for the next write."""
        self._events.append(event)

    def save_state(self, state: str) -> None:
        """Replace the state."""
        self._state = state
        self.flush()

    def add_points(self, points: Sequence[SeriesPoint]) -> None:
        """Add points to the charts; what cannot be written now is left out of them."""
        try:
            self.ledger.add_points(points)
        except UnavailableError as error:
            log.info("points left out of the record: %s", error)

    def flush(self) -> bool:
        """Write what is still to be written; return whether all of it is.

        Raises
        ------
        UnavailableError
            When that has not been possible for longer than `PATIENCE`, unless `is_patient`.
        """
        try:
            while self._events:
                self.ledger.append(self._events[0])
                self._events.pop(0)
            if self._state is not None:
                self.ledger.save_state(self._state)
                self._state = None
        except UnavailableError as error:
            return self._wait_on(error)
        self._silent_since, self.trouble = None, ""
        return True

    def finish(self) -> None:
        """Wait for all to be written, but not for ever: the world is as it shall be, and the record has to say so."""
        self.is_patient = True
        end = self.clock.now() + PATIENCE
        while not self.flush() and self.clock.now() < end:
            self.clock.sleep(_AGAIN_AFTER)

    def _wait_on(self, error: UnavailableError) -> bool:
        now = self.clock.now()
        self._silent_since = self._silent_since or now
        self.trouble = str(error)
        log.info("the record cannot be written now: %s", error)
        if now - self._silent_since > PATIENCE and not self.is_patient:
            raise error
        return False
