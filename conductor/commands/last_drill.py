"""The last drill of a service: when it was, and what it has shown. Loads no judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from conductor.commands.survey import Begun
from rollout.events import DrillEnded
from rollout.formatting import format_span

PARTS = ("judged", "decided", "route taken back", "seen in the traffic", "recorded", "notice sent")
"""The chain after the first bad answer, in order."""
NEVER_DRILLED = "never; `canary drill` proves that the rollback works here"


@dataclass(frozen=True, slots=True)
class LastDrill:
    """The last drill of a service that has come to its end."""

    name: str
    fault: str
    drilled: DrillEnded

    def told(self, now: datetime) -> str:
        """Return its age and what it has shown."""
        return f"{format_span(_rounded(now - self.drilled.at))} ago, {self.fault}: {shown(self.drilled)}"

    def as_json(self, now: datetime) -> dict[str, Any]:
        """Return it as JSON's own values; times in seconds."""
        drilled = self.drilled
        return {
            "name": self.name,
            "fault": self.fault,
            "at": drilled.at.isoformat(),
            "age_seconds": (now - drilled.at).total_seconds(),
            "proven": drilled.proven,
            "stopped": drilled.stopped or None,
            "seconds": drilled.seconds,
            "strays": drilled.strays,
        }


def last_drill(found: Sequence[Begun]) -> LastDrill | None:
    """Return the last drill of those that have begun, oldest first; None where none came to its end."""
    for one in reversed(found):
        if one.started.drill and (drilled := one.record.last(DrillEnded)):
            return LastDrill(one.name, one.started.drill, drilled)
    return None


def shown(drilled: DrillEnded) -> str:
    """Return in a line what a drill has shown."""
    if drilled.stopped:
        return f"the chain did not fire: {drilled.stopped}"
    back, seen = drilled.seconds[PARTS[2]], drilled.seconds[PARTS[3]]
    routed, observed = format_span(back), format_span(seen)
    return f"proven, route taken back {routed} after the first bad answer, seen in the traffic after {observed}"


def _rounded(age: timedelta) -> timedelta:
    """Return an age in the unit that a person would use."""
    for unit in (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)):
        if age >= unit:
            return age // unit * unit
    return timedelta(seconds=max(round(age.total_seconds()), 0))
