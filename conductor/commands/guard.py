"""The dead-man's switch: finds rollouts whose owner is gone and does what their plan says. Needs the ledger alone."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from conductor.commands.commands import ON_STABLE, Desk, end_on_stable, living_owner, note_taken_home, take_home
from conductor.commands.flow_runs import Carriers, Lost, carriers, lost_by
from conductor.commands.survey import Begun, Survey, survey
from rollout.errors import DamagedError, LockedError, PlanError, RolloutError, UnavailableError
from rollout.events import Ended, EndState, Scaled
from rollout.model import AT_REST, Track, Weights
from rollout.plan import WhenOrphaned

log = logging.getLogger(__name__)

KEPT_ROLLOUTS = 20
"""Records that are kept however old they are."""
HOME_WITHIN = timedelta(seconds=30)
"""How long one look tries to put traffic on stable that is nobody's; the next one tries again."""


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
    _damage: set[str] = field(default_factory=set)
    """What was said to be damaged."""
    _told: set[str] = field(default_factory=set)
    """Runs that the scheduler knows the truth of."""

    def look(self) -> Iterator[str]:
        """Look once at every rollout of the service, and tell line by line what was done.

        What cannot be done now is told too, and tried again at the next look. Damage is named once.
        """
        found = survey(self.desk.world, but=frozenset(self._settled))
        yield from self._named(found)
        for index, one in enumerate(found.begun):
            try:
                yield from self._done(self._look_after(one, found.begun[index + 1 :]))
            except (LockedError, PlanError) as error:  # somebody else was faster
                log.info("%s: %s", one.name, error)
            except RolloutError as error:
                yield f"{one.name}: cannot be looked after now: {error}"
        try:
            yield from self._done(self._take_home_unrecorded())
        except LockedError as error:
            log.info("%s", error)
        except RolloutError as error:
            yield f"traffic that no record tells of cannot be put on stable now: {error}"
        yield from self._done(self._tell_scheduler(found.begun))
        yield from self._done(self._forget())

    def _named(self, found: Survey) -> Iterator[str]:
        for line in found.lines():
            if line not in self._damage:
                self._damage.add(line)
                yield line

    def _take_home_unrecorded(self) -> Iterator[str]:
        """Put a split on stable that is neither at rest nor anybody's: whose record is damaged, gone, or never was.

        The lock is held meanwhile, so that nobody begins or ends in between.
        """
        world = self.desk.world
        if living_owner(self.desk) or not self._strays():
            return
        lock = world.lock(self.desk.who)
        lock.acquire()
        try:
            if (weights := self._strays()) is None:
                return
            why = f"the canary had {weights.canary} % of the traffic, which nobody steers and no record explains"
            found = survey(world)
            yield from take_home(self.desk, found, self.desk.clock.now() + HOME_WITHIN)
            self.desk.alarm(found, f"{why}; {ON_STABLE}")
            yield why
        finally:
            lock.release()

    def _strays(self) -> Weights | None:
        """Return the split in force where no rollout accounts for it."""
        try:
            weights = self.desk.world.router.read_weights()
        except UnavailableError as error:  # seen at the next look
            log.info("%s", error)
            return None
        if weights == AT_REST:
            return None
        found = survey(self.desk.world)
        return None if found.explains(weights) or found.unfinished else weights

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
            try:
                record = world.ledger(name).read()
            except (PlanError, DamagedError):  # named already; it stays for a person to look at
                return
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
            if not one.record.damage:  # which may have its end: it is left alone
                yield self._note_superseded(one, later[-1])
        elif living_owner(self.desk) is None:
            yield from self._before_damaged(one)
            yield self._take_over(one)

    def _before_damaged(self, one: Begun) -> Iterator[str]:
        """Where a record may have lost its end, stable may have been scaled to zero: its pods come first."""
        if one.record.damage and self.desk.open_world(one.started.plan).serves(Track.CANARY):
            yield from take_home(self.desk, Survey((one,)), self.desk.clock.now() + HOME_WITHIN)

    def _take_over(self, one: Begun) -> str:
        cancelled = "its run was cancelled" if self._is_cancelled(one) else ""
        damaged = f"its owner was gone, and its record is damaged: {one.record.damage[0]}" if one.record.damage else ""
        if one.started.plan.when_orphaned is WhenOrphaned.RESUME and not cancelled and not damaged:
            return self.resume(one)
        ended = end_on_stable(self.desk, one, cancelled or damaged)
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
        if ended.state is not EndState.PROMOTED or plan.stable.version in in_use or one.is_retired:
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
