"""What is said to a rollout from outside, and how it stands for one step. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class SignalKind(StrEnum):
    """What was said from outside."""

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


ENDING = {SignalKind.ABORT: "aborted", SignalKind.REFUSE: "refused"}
"""Words after which a rollout goes no further, and what is said of it then."""


@dataclass(frozen=True, slots=True)
class Signal:
    """Something said from outside while a rollout runs: a person's abort, complaints, an alert."""

    kind: SignalKind
    reason: str
    who: str
    at: datetime
    count: int = 1
    step: str = ""
    """The step that was watched when it was said: a word that comes late must not count for the next one."""


@dataclass(frozen=True, slots=True)
class Words:
    """Who keeps a rollout from going on, and who lets it; each empty while nobody does."""

    paused: str = ""
    """Who holds the rollout where it is, and why."""
    hurried: str = ""
    """Who waits no longer for the step's bake time and evidence, and why."""
    approved: str = ""
    """Who agreed that the step may be left, and why."""


SILENCE = Words()
"""Nobody has said anything."""


def may_approve(who: str, approvers: Sequence[str]) -> bool:
    """Whether somebody's approval counts: everybody's does where the plan names nobody.

    >>> may_approve("ada@laptop", ["ada"]), may_approve("ada@laptop", ["ada@desk"]), may_approve("ada.b", ["ada"])
    (True, False, False)
    """
    return not approvers or who in approvers or who.partition("@")[0] in approvers


def words_at(signals: Sequence[Signal], step: str, approvers: Sequence[str] = ()) -> Words:
    """Return what was said so far as it stands for a step; the last word on a matter counts.

    Parameters
    ----------
    signals
        Everything that was said to the rollout, oldest first.
    step
        Name of the step that is watched; empty before the first.
    approvers
        Whose approval of this step counts; everybody's if empty.
    """
    paused = hurried = approved = ""
    for signal in signals:
        match signal.kind:
            case SignalKind.PAUSE:
                paused = f"paused by {_said(signal)}"
            case SignalKind.RESUME:
                paused = ""
            case SignalKind.SKIP if signal.step == step:
                hurried = f"the rest of the step skipped by {_said(signal)}"
            case SignalKind.PROMOTE:
                hurried = f"promoted at once by {_said(signal)}"
            case SignalKind.APPROVE if signal.step == step and may_approve(signal.who, approvers):
                approved = f"approved by {_said(signal)}"
            case _:
                pass
    return Words(paused, hurried, approved)


def _said(signal: Signal) -> str:
    return f"{signal.who}: {signal.reason}" if signal.reason else signal.who
