"""The occasions on which people are told."""

from enum import StrEnum


class Occasion(StrEnum):
    """What a notice is about; Prefect's events are called `canary.` and this."""

    STARTED = "started"
    STEP = "step"
    """A step's share is in force and watched."""
    HELD = "held"
    """The rollout stands still, and a person has to say what happens."""
    APPROVAL_ASKED = "approval-asked"
    ALARM = "alarm"
    """Something a person should know that is not evidence against the canary."""
    TAKEN_OVER = "taken-over"
    """The rollout's process was gone, and another one goes on with it or ends it."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    """The rollout could not go on; all traffic was put on stable."""
