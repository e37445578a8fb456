"""A split that somebody else changed: noticed at every tick, and handled as the plan says."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Literal, assert_never

from analysis.judge import with_split_restarted
from conductor.state.rollout_run import Run
from rollout.errors import ConflictError, UnavailableError
from rollout.events import DriftDetected
from rollout.model import Basis, Finding, Outcome, Trouble
from rollout.plan import WhenDrifted
from rollout.ports import Drift

log = logging.getLogger(__name__)

MOST_REASSERTED = 10
"""Times in one rollout that a split is written again: whoever goes on changing it has to be spoken to."""


def look_for_drift(run: Run, now: datetime) -> tuple[tuple[Finding, ...], str]:
    """Return the reason to roll back, if somebody's change of the split is one, and why the rollout is held.

    Raises
    ------
    LockedError
        Another owner has taken the service over.
    """
    try:
        drift = run.ports.router.drift(run.asked)
    except UnavailableError as error:
        run.note_alarm(Trouble.WEIGHTS_UNSEEN, f"cannot see the split: {error}", now)
        return (), ""
    if drift is None:
        run.drift = ""
        return (), ""
    # What the traffic shows meanwhile is this and no other mismatch, and it has to settle afterwards.
    run.evidence = with_split_restarted(run.evidence)
    log.warning("drift: canary=%d asked, %d found, by %s", run.asked.canary, drift.weights.canary, drift.who)
    return _handled(run, drift, now)


def _handled(run: Run, drift: Drift, now: datetime) -> tuple[tuple[Finding, ...], str]:
    said = f"{drift.who} set canary {drift.weights.canary} % where {run.asked.canary} % was asked for"
    if drift.is_taken:
        return _abort(run, drift, f"somebody took the traffic out of our hands: {said}", now)
    match run.plan.drift:
        case WhenDrifted.ABORT:
            return _abort(run, drift, said, now)
        case WhenDrifted.REASSERT if run.reasserted < MOST_REASSERTED:
            return _reassert(run, drift, said, now)
        case WhenDrifted.REASSERT | WhenDrifted.HOLD:
            return _hold(run, drift, said, now)
        case _:
            assert_never(run.plan.drift)


def _abort(run: Run, drift: Drift, said: str, now: datetime) -> tuple[tuple[Finding, ...], str]:
    _note(run, drift, "rolled back", now)
    return (Finding(criterion="drift", basis=Basis.TRIGGER, outcome=Outcome.FAIL, reason=said),), ""


def _reassert(run: Run, drift: Drift, said: str, now: datetime) -> tuple[tuple[Finding, ...], str]:
    run.reasserted += 1
    try:
        run.ports.router.set_weights(run.asked)
    except UnavailableError as error:  # still there at the next tick
        unwritten = f"{said}, and it cannot be written again: {error}"
        run.note_alarm(Trouble.DRIFT_NOT_REASSERTED, unwritten, now)
        return (), said
    except ConflictError as error:
        return _abort(run, drift, f"{said}; {error}", now)
    _note(run, drift, "reasserted", now)
    return (), ""


def _hold(run: Run, drift: Drift, said: str, now: datetime) -> tuple[tuple[Finding, ...], str]:
    if run.drift != said:  # told once, for as long as it stands
        run.drift = said
        _note(run, drift, "held", now)
    return (), f"held: {said}"


def _note(run: Run, drift: Drift, handled: Literal["reasserted", "held", "rolled back"], now: datetime) -> None:
    run.note(DriftDetected(at=now, asked=run.asked.canary, found=drift.weights.canary, who=drift.who, handled=handled))
