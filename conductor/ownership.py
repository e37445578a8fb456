"""The guard around a rollout: one owner, and every way out but success leads to stable."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from conductor.moves import roll_back
from conductor.recovery import begin, check_open
from conductor.state.rollout_run import Run
from rollout.errors import ConflictError, Interrupted, LockedError, RolloutError, SetupError, UnavailableError, cause
from rollout.events import EndState, Started
from rollout.model import AT_REST
from rollout.plan import WhenOrphaned

log = logging.getLogger(__name__)


@contextmanager
def steering(run: Run, started: Started, *, policy: WhenOrphaned | None = None, because: str = "") -> Iterator[None]:
    """Hold the service's lock, and bring the traffic home when the body does not end by itself.

    A rollout that has begun under this name is taken over from its last owner, by the plan's policy unless one is
    given; `run.stop` then says why it is not to be gone on with.

    Raises
    ------
    LockedError
        Another owner steers the service, from the start or since; nothing is touched then.
    PlanError
        The rollout has ended already, or had begun with another plan; nothing is touched then.
    """
    before = run.ports.lock.holder()
    run.ports.lock.acquire()
    try:
        check_open(run.ports.ledger.read(), started)
        with _brought_home(run):
            begin(run, started, before, policy=policy, because=because)
            yield
    finally:
        _release(run)


@contextmanager
def _brought_home(run: Run) -> Iterator[None]:
    try:
        yield
    except LockedError:
        raise
    except BaseException as error:  # a SIGTERM or a cancellation is one, and so is Ctrl-C
        _bring_home(run, error)
        raise


def _bring_home(run: Run, error: BaseException) -> None:
    reason = f"interrupted by {cause(error)}"
    state = EndState.ROLLED_BACK if isinstance(error, ConflictError) else EndState.FAILED
    log.error("bringing all traffic to stable: %s", reason)
    if isinstance(error, Interrupted) and not run.persists:
        return _leave_to_the_next(run)
    try:
        roll_back(run, reason, state=state)
    except (LockedError, Interrupted):
        raise
    except SetupError as trouble:  # there is no gateway any more, and so nothing that could be brought home
        log.error("the rollback did not go through: %s", trouble)
        run.note_end(state, f"{reason}; {trouble}")
        raise
    except Exception as trouble:
        # Whatever else is broken, the traffic goes first; the guard finds what is left to do.
        log.error("the rollback did not go through: %s", trouble, exc_info=not isinstance(trouble, RolloutError))
        with suppress(RolloutError):
            run.ports.router.set_weights(AT_REST)
        raise
    return None


def _leave_to_the_next(run: Run) -> None:
    """Put all traffic on stable and end at once: what else there is to do is done by who takes over."""
    if not run.is_home:
        with suppress(RolloutError):
            run.ports.router.set_weights(AT_REST)


def _release(run: Run) -> None:
    try:
        run.ports.lock.release()
    except UnavailableError as error:
        log.warning("the lock could not be given back, it lapses: %s", error)
