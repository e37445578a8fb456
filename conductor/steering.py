"""The guard around a rollout: one owner, and every way out but success leads to stable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from conductor.moves import roll_back
from conductor.run import Run
from rollout.errors import LockedError
from rollout.record import EndState, Started

log = logging.getLogger(__name__)


@contextmanager
def steering(run: Run, started: Started) -> Iterator[None]:
    """Hold the service's lock, and bring the traffic home when the body does not end by itself.

    Raises
    ------
    LockedError
        Another owner steers the service, from the start or since; nothing is touched then.
    """
    run.ports.lock.acquire()
    try:
        run.note(started)
        yield
    except LockedError:
        raise
    except BaseException as error:  # a SIGTERM or a cancellation is one, and so is Ctrl-C
        _bring_home(run, error)
        raise
    finally:
        run.ports.lock.release()


def _bring_home(run: Run, error: BaseException) -> None:
    reason = f"interrupted by {type(error).__name__}{f': {error}' if str(error) else ''}"
    log.error("bringing all traffic to stable: %s", reason)
    roll_back(run, reason, state=EndState.FAILED)
