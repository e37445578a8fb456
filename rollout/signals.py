"""Signals to a rollout from outside, and what they mean for one step. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SignalKind(StrEnum):
    """What a person or another system wants of a rollout."""

    ABORT = "abort"
    COMPLAINT = "complaint"
    """Users complain; so many of them within the plan's time are a reason to roll back."""
    PAUSE = "pause"
    """Go no further until `RESUME`; the judge watches on, and may roll back."""
    RESUME = "resume"
    SKIP = "skip"
    """Wait no longer for this step's bake time and evidence."""
    PROMOTE = "promote"
    """Wait no longer in this and any later step."""
    APPROVE = "approve"
    """Let a step that has passed be left, where its plan asks a person."""
    REFUSE = "refuse"
    """Roll back instead."""


ENDING_SIGNALS = {SignalKind.ABORT: "aborted", SignalKind.REFUSE: "refused"}
"""Signals after which a rollout goes no further, and how its end is described then."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Something sent to a rollout while it runs: a person's abort, complaints, an alert."""

    kind: SignalKind
    reason: str
    who: str
    at: datetime
    count: int = 1
    step: str = ""
    """The step that was watched when it was sent: a signal that comes late must not count for the next one."""


@dataclass(frozen=True, slots=True)
class StepSignals:
    """Who keeps a rollout from going on, and who lets it; each empty while nobody does."""

    paused: str = ""
    """Who holds the rollout where it is, and why."""
    skipped: str = ""
    """Who lets the step be left without its bake time and evidence, and why."""
    approved: str = ""
    """Who agreed that the step may be left, and why."""


NO_SIGNALS = StepSignals()
"""Nobody has sent any signal."""


def may_approve(who: str, approvers: Sequence[str]) -> bool:
    """Whether somebody's approval counts: everybody's does where the plan names nobody.

    >>> may_approve("ada@laptop", ["ada"]), may_approve("ada@laptop", ["ada@desk"]), may_approve("ada.b", ["ada"])
    (True, False, False)
    """
    return not approvers or who in approvers or who.partition("@")[0] in approvers


def signals_for_step(signals: Sequence[Signal], step: str, approvers: Sequence[str] = ()) -> StepSignals:
    """Return what the signals so far mean for a step; the last one on a matter counts.

    Parameters
    ----------
    signals
        All that the rollout has received, oldest first.
    step
        Name of the step that is watched; empty before the first.
    approvers
        Whose approval of this step counts; everybody's if empty.
    """
    paused = skipped = approved = ""
    for signal in signals:
        match signal.kind:
            case SignalKind.PAUSE:
                paused = f"paused by {_describe_sender(signal)}"
            case SignalKind.RESUME:
                paused = ""
            case SignalKind.SKIP if signal.step == step:
                skipped = f"the rest of the step skipped by {_describe_sender(signal)}"
            case SignalKind.PROMOTE:
                skipped = f"promoted at once by {_describe_sender(signal)}"
            case SignalKind.APPROVE if signal.step == step and may_approve(signal.who, approvers):
                approved = f"approved by {_describe_sender(signal)}"
            case _:
                pass
    return StepSignals(paused, skipped, approved)


def _describe_sender(signal: Signal) -> str:
    return f"{signal.who}: {signal.reason}" if signal.reason else signal.who
