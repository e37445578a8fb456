"""A bell that Prefect's server rings when something happens to a flow run, so that nobody has to ask all the time."""

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
"""Between two looks while the bell is not connected: a cancellation has to be at the gateway within 2 s."""
SELDOM_SECONDS = 15.0
"""Between two looks while it is: Prefect promises no event that is never lost."""
_AGAIN_SECONDS = 5.0
log = logging.getLogger(__name__)


class Doorbell:
    """Rings, and says when nobody has looked for too long."""

    def __init__(self) -> None:
        self._rung = threading.Event()
        self._looked = monotonic()
        self.is_connected = False

    def ring(self) -> None:
        """Let somebody look at once."""
        self._rung.set()

    def calls(self, *, within: float) -> bool:
        """Return whether a look is due, as soon as one is; the seconds are how long at most that is waited for."""
        pause = SELDOM_SECONDS if self.is_connected else OFTEN_SECONDS
        is_due = self._rung.wait(within) or monotonic() - self._looked >= pause
        if is_due:
            self._rung.clear()
            self._looked = monotonic()
        return is_due


@contextmanager
def doorbell(flow_run: UUID) -> Iterator[Doorbell]:
    """Have the bell of a flow run connected while the body runs, whenever Prefect's server is there."""
    bell, loop = Doorbell(), asyncio.new_event_loop()
    listening = loop.create_task(_listen(bell, flow_run))
    threading.Thread(target=_until_cancelled, args=(loop, listening), name="doorbell", daemon=True).start()
    try:
        yield bell
    finally:
        loop.call_soon_threadsafe(listening.cancel)
        bell.ring()


def _until_cancelled(loop: asyncio.AbstractEventLoop, listening: asyncio.Task[None]) -> None:
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(listening)


async def _listen(bell: Doorbell, flow_run: UUID) -> None:
    while True:
        try:
            await _let_ring(bell, flow_run)
        except Exception as error:  # whatever it is, the run's state is then asked for often
            log.debug("not connected to Prefect's events: %s", error)
        finally:
            bell.is_connected = False
        await asyncio.sleep(_AGAIN_SECONDS)


async def _let_ring(bell: Doorbell, flow_run: UUID) -> None:
    its_own = EventFilter(
        event=EventNameFilter(prefix=["prefect.flow-run."]),
        resource=EventResourceFilter(id=[f"prefect.flow-run.{flow_run}"]),
    )
    async with get_events_subscriber(filter=its_own, reconnection_attempts=0) as events:
        bell.is_connected = True
        async for _ in events:
            bell.ring()
