"""Changes of the split, each asked, put in force and recorded."""

from __future__ import annotations

import logging
from datetime import timedelta
from itertools import count

from conductor.state.rollout_run import Run
from rollout.errors import UnavailableError
from rollout.events import StableChanged, WeightsSet
from rollout.model import AT_REST, Trouble, Weights

log = logging.getLogger(__name__)

HOME_ATTEMPTS = 5
"""Tries in quick succession, before people are told."""
LONGEST_PAUSE = timedelta(seconds=10)


def set_weights(run: Run, weights: Weights, reason: str) -> None:
    """Put the split in force, and record how long the gateway took."""
    run.asked = weights
    run.save()  # what was asked is known before the world changes, so that a crash between the two can be told
    note_weights(run, _put(run, weights, reason))


def go_home(run: Run, reason: str) -> WeightsSet:
    """Put all traffic on stable before anything is written anywhere, and return the event that tells it.

    From here on nothing waits for a record that cannot be written. Where the gateway does not answer it is tried again
    for as long as this process lives, and people are told; a run that does not persist gives up after a few times.
    """
    run.leave(reason)
    for attempt in count(1):
        try:
            _undo_adoption(run)
            event = _put(run, AT_REST, reason)
        except UnavailableError as error:
            log.warning("rollback attempt %d: %s", attempt, error)
            if attempt < HOME_ATTEMPTS:
                run.ports.clock.sleep(timedelta(milliseconds=200 * attempt))
                continue
            if not run.persists:
                raise
            text = f"the traffic is not on stable yet, it is tried again and again: {error}"
            run.note_alarm(Trouble.NOT_ON_STABLE, text, run.ports.clock.now())
            run.rest(min(timedelta(seconds=attempt - HOME_ATTEMPTS + 1), LONGEST_PAUSE))
        else:
            run.asked, run.is_home = AT_REST, True
            return event
    raise AssertionError("the loop ends by itself")


def _undo_adoption(run: Run) -> None:
    """Let `stable` mean the old version again, where a promotion was cut short; else there is nothing to do."""
    if run.adopting and run.ports.adoption is not None:
        run.ports.adoption.restore_stable()


def adopt(run: Run) -> None:
    """Make the canary what `stable` means, or say in an alarm that it is still to be done.

    All traffic stays on the canary's pods throughout.

    Raises
    ------
    PlanError
        When the traffic is not all on the canary.
    """
    adoption = run.ports.adoption
    if adoption is None:
        return
    run.adopting = True
    run.save()
    now, plan = run.ports.clock.now(), run.plan
    try:
        adoption.make_canary_stable()
    except UnavailableError as error:
        undone = f"stable still means {plan.stable.version}, run canary promote: {error}"
        run.note_alarm(Trouble.NOT_ADOPTED, undone, now)
    else:
        run.note(StableChanged(at=now, version=plan.canary.version, former=plan.stable.version))


def note_weights(run: Run, event: WeightsSet) -> None:
    """Record a change of the split."""
    run.note(event)
    run.note_readings({"weight_asked": float(event.canary)}, event.at)


def _put(run: Run, weights: Weights, reason: str) -> WeightsSet:
    began = run.ports.clock.now()
    run.ports.router.set_weights(weights)
    now = run.ports.clock.now()
    log.info("weights stable=%d canary=%d: %s", weights.stable, weights.canary, reason)
    took = (now - began) / timedelta(milliseconds=1)
    return WeightsSet(at=now, stable=weights.stable, canary=weights.canary, reason=reason, milliseconds=took)
