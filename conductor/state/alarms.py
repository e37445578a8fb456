"""Which troubles people have been told of: one alarm a kind of trouble in five minutes, with a count."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from rollout.model import Trouble

QUIET = timedelta(minutes=5)
"""Between two alarms of one trouble at least; a trouble that was away for so long is new."""


class Told(BaseModel):
    """What has been told of one trouble, as the ledger keeps it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trouble: Trouble
    subject: str = ""
    seen_at: AwareDatetime
    """When it was last seen."""
    told_at: AwareDatetime
    """When the last alarm went out."""
    reminders: int = 0
    """Alarms since it came that only say that it goes on; the pause before the next one doubles with each."""
    count: int = 0
    """Times that it was seen since the last alarm."""


class Alarms:
    """The troubles of one rollout."""

    def __init__(self, told: Iterable[Told] = ()) -> None:
        self._told = {(entry.trouble, entry.subject): entry for entry in told}

    def due(self, trouble: Trouble, subject: str, now: datetime, *, every: timedelta) -> int | None:
        """Take note that there is trouble, and return how often it was seen since the alarm before.

        Parameters
        ----------
        trouble, subject
            What it is, and of what.
        now
            The present moment.
        every
            How often it is looked for: in so long it is no sign of its end that it is not seen.

        Returns
        -------
        None where no alarm is due.
        """
        key = trouble, subject
        before = self._told.get(key)
        if before is None:
            self._told[key] = Told(trouble=trouble, subject=subject, seen_at=now, told_at=now)
            return 0
        is_new = now - before.seen_at >= QUIET + 2 * every
        goes_on = trouble.is_repeated and now - before.told_at >= QUIET * 2**before.reminders
        if not is_new and not goes_on:
            self._told[key] = before.model_copy(update={"seen_at": now, "count": before.count + 1})
            return None
        reminders = 0 if is_new else before.reminders + 1
        self._told[key] = Told(trouble=trouble, subject=subject, seen_at=now, told_at=now, reminders=reminders)
        return before.count

    def kept(self) -> tuple[Told, ...]:
        """Return what has been told, for whoever takes the rollout over."""
        return tuple(self._told.values())
