"""The dead-man's switch: finds rollouts whose owner is gone and does what their plan says. Needs the ledger alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from conductor.carriers import Carriers, Lost, carriers, lost_by
from conductor.orders import Begun, Desk, begun, end_on_stable, living_owner, note_taken_home
from rollout.errors import LockedError, PlanError, RolloutError, UnavailableError
from rollout.model import Track
from rollout.plan import WhenOrphaned
from rollout.record import Ended, EndState, Scaled

log = logging.getLogger(__name__)

KEPT_ROLLOUTS = 20
"""Records that are kept however old they are."""


@dataclass(slots=True)
class Guard:
    """One service's guard; it remembers only what needs no second look."""

    desk: Desk
    resume: Callable[[Begun], str]
    """Lets somebody go on with a rollout, and returns a line that says who; it does not wait for the end.

    A LockedError says that somebody is about to already.
    """
    carriers: Carriers | None = None
    """The scheduler's own list of runs, which a dead process cannot keep true."""
    deeds: int = 0
    """What it has done so far, such as a takeover or a run ended; what it could not do is not among them."""
    _settled: set[str] = field(default_factory=set)
    _told: set[str] = field(default_factory=set)
    """Runs that the scheduler knows the truth of."""

    def look(self) -> Iterator[str]:
        """Look once at every rollout of the service, and tell line by line what was done.

        What cannot be done now is told too, and tried again at the next look.
        """
        found = begun(self.desk.world, but=frozenset(self._settled))
        for index, one in enumerate(found):
            try:
                yield from self._done(self._look_after(one, found[index + 1 :]))
            except (LockedError, PlanError) as error:  # somebody else was faster
                log.info("%s: %s", one.name, error)
            except RolloutError as error:
                yield f"{one.name}: cannot be looked after now: {error}"
        yield from self._done(self._tell_scheduler(found))
        yield from self._done(self._forget())

    def _done(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            self.deeds += 1
            yield line

    def _tell_scheduler(self, found: Sequence[Begun]) -> Iterator[str]:
        lost = tuple(run for one in found for run in self._untold(one))
        if not lost or self.carriers is None:
            return
        try:
            yield from self.carriers.settle(lost)
        except UnavailableError as error:  # it is told when it is back
            log.info("%s", error)
        else:
            self._told |= {one.flow_run for one in lost}

    def _untold(self, one: Begun) -> Iterator[Lost]:
        return (run for run in lost_by(one.name, one.record, self.desk.clock.now()) if run.flow_run not in self._told)

    def _knows_all(self, one: Begun) -> bool:
        return self.carriers is None or all(run in self._told for run in carriers(one.record) if run)

    def _forget(self) -> Iterator[str]:
        """Remove the record of the oldest rollout, if it ended long ago and enough others are kept."""
        world = self.desk.world
        for name in world.rollouts()[:-KEPT_ROLLOUTS][:1]:
            record = world.ledger(name).read()
            if record.started is None or record.ended is None:
                return
            # Twice, so that whoever scales the old version to zero has read it long before.
            if self.desk.clock.now() > record.ended.at + 2 * record.started.plan.retention:
                world.forget(name)
                yield f"{name}: ended on {record.ended.at:%Y-%m-%d}, its record is removed"

    def _look_after(self, one: Begun, later: Sequence[Begun]) -> Iterator[str]:
        if ended := one.record.ended:
            yield from self._retire(one, ended, later)
        elif later:
            yield self._note_superseded(one, later[-1])
        elif living_owner(self.desk) is None:
            yield self._take_over(one)

    def _take_over(self, one: Begun) -> str:
        cancelled = "its run was cancelled" if self._is_cancelled(one) else ""
        if one.started.plan.when_orphaned is WhenOrphaned.RESUME and not cancelled:
            return self.resume(one)
        ended = end_on_stable(self.desk, one, cancelled)
        return f"{one.name}: {ended.state}: {ended.reason}"

    def _is_cancelled(self, one: Begun) -> bool:
        """Whether a person has ended it at its page, where no process was left to hear that."""
        *_, last = carriers(one.record)
        if not last or self.carriers is None:
            return False
        try:
            return self.carriers.is_cancelled(last)
        except UnavailableError as error:  # nothing waits for the scheduler
            log.info("%s", error)
            return False

    def _note_superseded(self, one: Begun, by: Begun) -> str:
        reason = f"its owner ended without a word, and {by.name} began after it"
        self.desk.note(one, Ended(at=self.desk.clock.now(), state=EndState.FAILED, reason=reason))
        return f"{one.name}: {EndState.FAILED}: {reason}"

    def _retire(self, one: Begun, ended: Ended, later: Sequence[Begun]) -> Iterator[str]:
        """Scale the version that a promotion replaced to zero, once its retention is over."""
        plan = one.started.plan
        in_use = {version for other in later for version in (other.started.plan.stable.version, _canary(other))}
        if ended.state is not EndState.PROMOTED or plan.stable.version in in_use or _is_retired(one, ended):
            if self._knows_all(one):
                self._settled.add(one.name)
            return
        world = self.desk.open_world(plan)
        if not later and not world.serves(Track.CANARY):  # a restore may have been stopped before it was written down
            yield note_taken_home(self.desk, one, ended, "its traffic was found on stable")
            return
        if self.desk.clock.now() < ended.at + plan.retention or world.serves(Track.STABLE):
            return
        world.workloads.scale(Track.STABLE, 0)
        self.desk.note(one, Scaled(at=self.desk.clock.now(), track=Track.STABLE, replicas=0, seconds=0.0))
        yield f"{one.name}: {plan.stable.version} was kept for its retention, and has no pods any more"


def _canary(one: Begun) -> str:
    return one.started.plan.canary.version


def _is_retired(one: Begun, ended: Ended) -> bool:
    return any(
        isinstance(event, Scaled) and event.track == Track.STABLE and event.replicas == 0 and event.at >= ended.at
        for event in one.record.events
    )
