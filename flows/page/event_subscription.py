"""Prefect's events of a flow run: a look at its state is due when one comes, so that nothing polls all the time."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from time import monotonic
from uuid import UUID

from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

OFTEN_SECONDS = 1.0
"""Between two looks while the events are not connected: a cancellation has to be at the gateway within 2 s."""
SELDOM_SECONDS = 15.0
"""Between two looks while it is: Prefect promises no event that is never lost."""
_RECONNECT_SECONDS = 5.0
log = logging.getLogger(__name__)


class RunEvents:
    """Whether a look at a flow run is due: since an event came, or since nobody has looked for too long."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._looked = monotonic()
        self.is_connected = False

    def note(self) -> None:
        """Let the next look be due at once."""
        self._came.set()

    def is_look_due(self, *, within: float) -> bool:
        """Return whether a look is due, as soon as one is; the seconds are how long at most that is waited for."""
        pause = SELDOM_SECONDS if self.is_connected else OFTEN_SECONDS
        is_due = self._came.wait(within) or monotonic() - self._looked >= pause
        if is_due:
            self._came.clear()
            self._looked = monotonic()
        return is_due


@contextmanager
def subscribed_events(flow_run: UUID) -> Iterator[RunEvents]:
    """Be subscribed to the events of a flow run while the body runs, whenever Prefect's server is there."""
    events, loop = RunEvents(), asyncio.new_event_loop()
    listening = loop.create_task(_listen(events, flow_run))
    threading.Thread(target=_until_cancelled, args=(loop, listening), name="run-events", daemon=True).start()
    try:
        yield events
    finally:
        loop.call_soon_threadsafe(listening.cancel)
        events.note()


def _until_cancelled(loop: asyncio.AbstractEventLoop, listening: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(listening)


async def _listen(events: RunEvents, flow_run: UUID) -> None:
    while True:
        try:
            await _note_events(events, flow_run)
        except Exception as error:  # whatever it is, the run's state is then asked for often
            log.debug("not connected to Prefect's events: %s", error)
        finally:
            events.is_connected = False
        await asyncio.sleep(_RECONNECT_SECONDS)


async def _note_events(events: RunEvents, flow_run: UUID) -> None:
    its_own = EventFilter(
        event=EventNameFilter(prefix=["prefect.flow-run."]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{flow_run}"]),
    )
    async with get_events_subscriber(filter=its_own, reconnection_attempts=0) as subscriber:
        events.is_connected = True
        async for _ in subscriber:
            events.note()
