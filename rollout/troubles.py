"""Kinds of trouble: what an alarm is about, whatever its sentence says."""

from __future__ import annotations

from enum import StrEnum


class Trouble(StrEnum):
    """What an alarm is about. A closed set: two alarms of one kind and subject are the same trouble."""

    METRICS_SOURCE_DOWN = "metrics source down"
    SERIES_ABSENT = "series absent"
    METRICS_PARTIAL = "metrics partial"
    """The source says that its answer may lack something."""
    JUDGED_BY_CLIENTS = "judged by the clients' own counts"
    COMPLAINTS_UNCOUNTED = "complaints uncounted"
    SIGNALS_UNSEEN = "signals unseen"
    PODS_UNSEEN = "pods unseen"
    PODS_NOT_READY = "pods not ready"
    POD_INPUTS_UNSEEN = "pod inputs unseen"
    WEIGHTS_UNSEEN = "weights unseen"
    """The gateway does not say how it splits the traffic."""
    NOT_ON_STABLE = "not on stable"
    """All traffic is to be on stable, and the gateway does not take it."""
    DRIFT_NOT_REASSERTED = "drift not reasserted"
    SPLIT_MISMATCH = "split mismatch"
    """The traffic is not split as asked; the subject is the likely cause."""
    TRAFFIC_NOT_DRAINED = "traffic not drained"
    MIRROR_NOT_ENDED = "mirror not ended"
    DRILL_NOT_CLEARED = "drill not cleared"
    CANARY_NOT_SCALED_DOWN = "canary not scaled down"
    NOT_ADOPTED = "stable not changed"
    """The promoted version is not what `stable` means yet."""
    LOCK_NOT_RENEWED = "lock not renewed"
    LOCK_HOLDER_SILENT = "lock holder silent"
    RECORD_NOT_WRITTEN = "record not written"
    NOTICES_UNDELIVERED = "notices undelivered"
    """The subject is the receiver."""
    LOAD_GENERATOR_ENDED = "load generator ended"
    LOAD_GENERATOR_NOT_RESTARTED = "load generator not restarted"
    LOAD_GENERATOR_LOST = "load generator lost"
    LOAD_RATE_NOT_SET = "load rate not set"
    LOAD_NOT_RECORDED = "load not recorded"
    HELD = "held"
    """A person is waited for; the subject is the step."""
    APPROVAL_OVERDUE = "approval overdue"
    """Nobody approved in time, and a person is waited for; the subject is the step."""
    HELD_BY_HOOK = "held by a hook"
    """The subject is the step, the hook and its outcome."""

    @property
    def is_repeated(self) -> bool:
        """Whether people are reminded while it goes on: not of a state that stands until somebody acts."""
        return self not in _TOLD_ONCE


_TOLD_ONCE = frozenset(
    {
        Trouble.HELD,
        Trouble.APPROVAL_OVERDUE,
        Trouble.HELD_BY_HOOK,
        Trouble.NOTICES_UNDELIVERED,
        Trouble.LOAD_GENERATOR_LOST,
        Trouble.SPLIT_MISMATCH,
    }
)
