"""A word from outside is said to the rollout under way, or refused with what would be heard instead."""

from __future__ import annotations

from conductor.commands.commands import Begun, Desk, living_owner, unfinished
from conductor.state.position import Position, position_on_record
from rollout.errors import PlanError
from rollout.signals import (
    Signal,
    SignalKind,
    may_approve,
    signals_for_step,
)

FOR_A_STEP = frozenset({SignalKind.SKIP, SignalKind.APPROVE})
"""Words that count for the step at which they are said, and for no other."""

HURRYING = frozenset({SignalKind.SKIP, SignalKind.PROMOTE})
"""Words that do without bake time and evidence, and not without an approval unless the plan says so."""


def say(desk: Desk, kind: SignalKind, reason: str, *, rollout: str = "", count: int = 1) -> str:
    """Say a word to a rollout, and return the line that tells what comes of it.

    Parameters
    ----------
    desk
        Where orders to the service are given.
    kind
        The word.
    reason
        Why, for the record.
    rollout
        Its name; the one under way unless given.
    count
        How many complaints.

    Raises
    ------
    PlanError
        When no such rollout is under way, or the word would mean nothing at its present step; nothing was said then.
    """
    one = _under_way(desk, kind, rollout)
    position = position_on_record(desk.world.ledger(one.name)) or Position()
    step = None if position.step_index is None else one.started.plan.steps[position.step_index]
    if kind in FOR_A_STEP and step is None and not (kind is SignalKind.SKIP and position.hook):
        raise PlanError(f"{kind}: {one.name} watches no step yet, allowed: once the canary has traffic")
    if kind is SignalKind.APPROVE and step is not None and step.approval is None:
        raise PlanError(f"approve: step {step.name} asks for no approval, allowed: skip, to wait for it no longer")
    approval = step.approval if step else None
    if kind is SignalKind.APPROVE and approval and not may_approve(desk.who, approval.by):
        raise PlanError(f"approve: got the word of {desk.who}, allowed: that of {' or '.join(approval.by)}")
    if kind is SignalKind.PAUSE and is_paused(desk, one):
        raise PlanError(f"pause: {one.name} is paused, allowed: resume, to let it go on")
    if kind is SignalKind.RESUME and not is_paused(desk, one):
        raise PlanError(f"resume: {one.name} is not paused, allowed: after a pause")
    word = Signal(kind, reason, desk.who, desk.clock.now(), count=count, step=step.name if step else "")
    desk.world.signals(one.name).send(word)
    at = f" at step {step.name}" if step else ""
    if kind in HURRYING and approval and not approval.may_be_skipped:
        at += ", which still waits for its approval"
    heard = "" if living_owner(desk) else "; nobody steers it now: it is heard when somebody takes it over"
    return f"{one.name}: told {kind}{at}{heard}"


def is_paused(desk: Desk, one: Begun) -> bool:
    """Return whether somebody's word keeps a rollout from going on."""
    return bool(signals_for_step(desk.world.signals(one.name).read(), "").paused)


def _under_way(desk: Desk, kind: SignalKind, rollout: str) -> Begun:
    found = unfinished(desk.world)
    named = [one for one in found if rollout in ("", one.name)]
    if named:
        return named[-1]
    if not found:
        raise PlanError(f"nothing to {kind}: no rollout is under way")
    raise PlanError(f"rollout: got {rollout!r}, allowed: {', '.join(one.name for one in found)}, which is under way")
