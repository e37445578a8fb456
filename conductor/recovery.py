"""Taking over a rollout whose owner is gone: what was half done is read from the world, and finished or undone."""

from __future__ import annotations

import logging

from conductor.state.rollout_run import Run
from rollout.decide import RollBack
from rollout.errors import DamagedError, PlanError, UnavailableError
from rollout.events import Started, TakenOver
from rollout.model import AT_REST, Weights
from rollout.notices import NoticeContext
from rollout.plan import WhenOrphaned
from rollout.ports import LockHolder
from rollout.record import RolloutRecord

log = logging.getLogger(__name__)


def check_open(record: RolloutRecord, started: Started) -> None:
    """Return when a rollout may begin or be gone on with under this name.

    Raises
    ------
    PlanError
        When it has ended, or had begun with another plan; nothing was touched.
    """
    if record.ended:
        raise PlanError(
            f"rollout {started.rollout}: {record.ended.state} at {record.ended.at:%Y-%m-%d %H:%M:%S} UTC, "
            "allowed: a name that no rollout has had"
        )
    if record.damage and record.started is None:
        raise PlanError(f"rollout {started.rollout}: {record.damage[0]}, allowed: a name that no rollout has had")
    if record.started and record.started.plan != started.plan:
        raise PlanError(f"rollout {started.rollout}: began with another plan, allowed: the plan it began with")


def begin(
    run: Run, started: Started, before: LockHolder | None, *, policy: WhenOrphaned | None = None, because: str = ""
) -> None:
    """Record that a rollout begins; or, when it has begun already, that its owner changes, and take its state up.

    Parameters
    ----------
    run
        A run at its very start; its lock is held.
    started
        What to record of a new one.
    before
        Who held the lock until now, as far as that is known.
    policy
        What to do with a rollout that had begun; the plan's own policy unless given.
    because
        Why a restored one is restored; the loss of its owner unless given.
    """
    record = run.ports.ledger.read()
    known = record.started or started
    run.began, run.drill = known.at, known.drill
    if record.started is None:
        return run.note(started)
    # A drill is never gone on with: as a rollout it would give the canary live traffic.
    policy = WhenOrphaned.RESTORE if run.drill else policy or run.plan.when_orphaned
    run.scene = NoticeContext.of(record.events)
    state_fault = _take_state_up(run)
    found = _in_force(run)
    last = f"{before.owner}, last heard of at {before.renewed:%H:%M:%S}" if before else "an owner that is gone"
    seen = "the gateway does not answer" if found is None else f"the canary has {found.canary} % of the traffic"
    run.note(
        TakenOver(
            at=run.ports.clock.now(),
            who=started.who,
            flow_run=started.flow_run,
            before=last,
            policy=policy,
            found=f"{seen}, {run.asked.canary} % had been asked for",
        )
    )
    orphaned = because or f"its owner was gone ({last})"
    run.stop = _reason_to_stop(run, policy, found, state_fault, orphaned)
    if run.stop is None and found is not None and found != run.asked:
        run.asked, run.step_since = found, None  # half done: the step's split is put in force again, and seen again
    return None


def _take_state_up(run: Run) -> str:
    """Take position and evidence up where the last owner left them; return why that was not possible."""
    try:
        if state := run.ports.ledger.load_state():
            run.restore_position(state)
    except (ValueError, DamagedError) as error:
        log.warning("the state of the rollout cannot be read: %s", error)
        return f"the state it left cannot be read: {str(error).splitlines()[0]}"
    return ""


def _in_force(run: Run) -> Weights | None:
    try:
        return run.ports.router.read_weights()
    except UnavailableError:
        return None


def _reason_to_stop(
    run: Run, policy: WhenOrphaned, found: Weights | None, state_fault: str, orphaned: str
) -> RollBack | None:
    if run.leaving:
        return RollBack(f"{run.leaving}; its owner ended on the way to stable")
    if policy is WhenOrphaned.RESTORE:
        return RollBack(orphaned)
    if state_fault:
        return RollBack(f"{orphaned}, and {state_fault}")
    # Whoever took the traffic home had a reason, and may have been stopped before it was written down.
    if found == AT_REST and run.asked != AT_REST:
        return RollBack(f"all traffic was found on stable where {run.asked.canary} % had been asked for the canary")
    return None
