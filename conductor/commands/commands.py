"""What a person, or the guard, orders from outside a rollout's process. An order may be repeated, from any state."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from conductor.commands.flow_runs import carriers
from conductor.commands.retries import ORDER_WITHIN, persistently, wake_stable
from conductor.commands.survey import Begun as Begun
from conductor.commands.survey import Survey, survey
from conductor.commands.survey import begun as begun
from conductor.commands.survey import unfinished as unfinished
from conductor.readiness import ready_within
from conductor.state.environment import World
from rollout.errors import DamagedError, LockedError, PlanError, RolloutError, UnavailableError
from rollout.events import Alarm, Ended, EndState
from rollout.model import AT_REST, Occasion, Track, Trouble, Weights
from rollout.notices import Notice, NoticeContext
from rollout.plan import RolloutPlan, WhenOrphaned
from rollout.ports import (
    Clock,
    LockHolder,
    Notices,
    Signal,
    SignalKind,
)
from rollout.record import Event, RolloutRecord

if TYPE_CHECKING:
    from conductor.state.rollout_run import Run

log = logging.getLogger(__name__)

OWNER_ANSWERS_WITHIN = timedelta(seconds=15)
"""How long a living owner may take to put the traffic on stable and say so; then it is taken out of its hands."""
ON_STABLE = "all traffic is on stable"
_LOOK = timedelta(milliseconds=200)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where orders are given: one service's world, and the way into its rollouts."""

    world: World
    open_run: Callable[[RolloutPlan, str], Run]
    """A run at its very start, on the ports of the rollout of this plan and name."""
    open_world: Callable[[RolloutPlan], World]
    """The same service, with the tracks being the versions of this plan."""
    clock: Clock
    notices: Notices
    who: str

    def note(self, one: Begun, event: Event) -> None:
        """Append an event to a rollout's record, and tell people where it is one for them."""
        self.world.ledger(one.name).append(event)
        self.tell(one, event)

    def tell(self, one: Begun, event: Event) -> None:
        """Tell people of an event that its record does not get from here."""
        if notice := NoticeContext.of((*one.record.events, event)).notice(event):
            self.notices.send(notice)

    def alarm(self, found: Survey, what: str) -> None:
        """Tell people of something that belongs to no rollout whose record can be read."""
        service = found.latest.started.plan.service if found.latest else ""
        self.notices.send(Notice(Occasion.ALARM, self.clock.now(), service, "", "", what, figures={}))


def left_behind(desk: Desk, plan: RolloutPlan, *, flow_run: str = "") -> str:
    """Return the rollout that a start without a name goes on with; empty where it begins one of its own.

    Parameters
    ----------
    desk
        Where orders are given.
    plan
        The plan that is started.
    flow_run
        The scheduler's run that starts it: one that is retried is the last owner of its own rollout, however lately its
        dead process was heard of. Whoever lives all the same is named when the lock is refused.

    Raises
    ------
    PlanError
        When a rollout of another plan lost its owner.
    """
    for one in unfinished(desk.world)[-1:]:
        if flow_run and carriers(one.record)[-1] == flow_run:
            return one.name
        if living_owner(desk):  # who that is will be said when the lock is refused
            return ""
        if one.started.plan == plan:
            return one.name
        raise PlanError(f"rollout {one.name} lost its owner and has not ended; `canary resume` or `canary abort` first")
    return ""


def abort(desk: Desk, reason: str, rollout: str = "") -> Iterator[str]:
    """End what is under way, by way of stable, and tell line by line what was done.

    A living owner is asked; where there is none, it cannot be asked or does not answer in time, the traffic is put on
    stable here.

    Raises
    ------
    PlanError
        When there is no rollout of that name.
    """
    found = survey(desk.world)
    yield from found.lines()
    if rollout and rollout not in desk.world.rollouts():
        raise PlanError(
            f"rollout: got {rollout!r}, allowed: {', '.join(desk.world.rollouts()) or 'none, there is none'}"
        )
    targets = [one for one in found.unfinished if rollout in ("", one.name)]
    if not targets:
        yield from _abort_unrecorded(desk, found, reason, rollout)
    for one in targets:
        unsaid = _say_abort(desk, one, reason)
        yield f"{one.name}: {unsaid or 'told to end on stable'}"
        yield from _see_ended(desk, one, f"aborted by {desk.who}: {reason}", is_told=not unsaid)


def _abort_unrecorded(desk: Desk, found: Survey, reason: str, rollout: str) -> Iterator[str]:
    """Take traffic home that no record tells of, where a rollout may be behind it whose record is damaged."""
    weights = _weights(desk.world)
    if weights is None or found.explains(weights) or (rollout and rollout not in found.damage):
        yield "nothing to abort: no rollout is under way"
        yield _split(weights)
        return
    yield f"no record tells of a rollout, and the canary has {weights.canary} % of the traffic"
    yield from take_home(desk, found, desk.clock.now() + ORDER_WITHIN)
    desk.alarm(found, f"aborted by {desk.who}: {reason}: {ON_STABLE}, whose rollout no record tells of")


def restore(desk: Desk, reason: str) -> Iterator[str]:
    """Put all traffic on stable, whoever steers and whatever has ended, and tell line by line what was done.

    It goes on trying for two minutes where something does not answer.
    """
    until = desk.clock.now() + ORDER_WITHIN
    found = _surveyed(desk)
    yield from found.lines()
    under_way = found.unfinished
    unsaid = {one.name: _say_abort(desk, one, reason) for one in under_way}
    yield from (f"{name}: {why}" for name, why in unsaid.items() if why)
    latest = found.latest
    world = desk.open_world(latest.started.plan) if latest else desk.world
    was_home = not (yield from persistently(desk.clock, until, lambda: world.serves(Track.CANARY)))
    if was_home and not under_way and not _claims_promotion(latest):
        yield "all traffic is on stable already"
        return
    if was_home:
        yield from persistently(desk.clock, until, world.restore_stable)
        yield ON_STABLE
    else:
        yield from take_home(desk, found, until)
    for one in under_way:
        yield from _see_ended(desk, one, f"restored by {desk.who}: {reason}", is_told=not unsaid[one.name])
    if latest and latest.record.ended and (not was_home or _claims_promotion(latest)):
        yield note_taken_home(desk, latest, latest.record.ended, f"restored by {desk.who}: {reason}")


def take_home(desk: Desk, found: Survey, until: datetime) -> Iterator[str]:
    """Put all traffic on stable, whoever steers; bring its pods up first where it has none."""
    latest = found.latest
    world = desk.open_world(latest.started.plan) if latest else desk.world
    version, replicas = "stable", max(_ready(world, Track.CANARY), 1)
    if latest:
        plan = latest.started.plan
        version, replicas = plan.stable.version, plan.stable.replicas
        until = max(until, desk.clock.now() + ready_within(plan, world.workloads, Track.STABLE))
    retired = latest is None or latest.is_retired
    yield from wake_stable(world, desk.clock, until, version=version, replicas=replicas, was_retired=retired)
    yield from persistently(desk.clock, until, world.restore_stable)
    yield ON_STABLE


def _ready(world: World, track: Track) -> int:
    try:
        return sum(pod.ready for pod in world.workloads.pods() if pod.track is track)
    except UnavailableError:
        return 0


def _surveyed(desk: Desk) -> Survey:
    """Return what the records hold; where they do not answer, the traffic waits for none of them."""
    try:
        return survey(desk.world)
    except UnavailableError as error:
        return Survey((), {"records": (str(error),)})


def note_taken_home(desk: Desk, one: Begun, before: Ended, why: str) -> str:
    """Record that a rollout's end no longer holds, because its traffic was put on stable afterwards."""
    ended = Ended(
        at=desk.clock.now(), state=EndState.ROLLED_BACK, reason=f"{why}, after it had ended as {before.state}"
    )
    desk.note(one, ended)
    return f"{one.name}: {ended.state}: {ended.reason}"


def _claims_promotion(one: Begun | None) -> bool:
    return one is not None and one.record.ended is not None and one.record.ended.state is EndState.PROMOTED


def end_on_stable(desk: Desk, one: Begun, because: str) -> Ended:
    """End a rollout whose owner is gone, by way of stable.

    Raises
    ------
    LockedError
        When it has an owner that lives.
    """
    return _take_over(desk, one, WhenOrphaned.RESTORE, because)


def resume(desk: Desk, one: Begun) -> Ended:
    """Go on with a rollout whose owner is gone, at its step and with its evidence, to the end.

    Raises
    ------
    LockedError
        When it has an owner that lives.
    """
    return _take_over(desk, one, WhenOrphaned.RESUME, "")


def _take_over(desk: Desk, one: Begun, policy: WhenOrphaned, because: str) -> Ended:
    from conductor.rollout import carry_out  # a word to a living owner is given sooner without the judge

    run = desk.open_run(one.started.plan, one.name)
    run.persists = policy is WhenOrphaned.RESUME
    started = one.started.model_copy(update={"who": desk.who, "flow_run": ""})
    return carry_out(run, started, waits_for_person=True, policy=policy, because=because)


def living_owner(desk: Desk) -> LockHolder | None:
    """Return who steers the service, if that one lives."""
    holder = desk.world.lock(desk.who).holder()
    return holder if holder and holder.lives else None


def _say_abort(desk: Desk, one: Begun, reason: str) -> str:
    """Tell the owner to end on stable, or return why it cannot be told: the traffic waits for no word."""
    word = Signal(SignalKind.ABORT, reason, desk.who, desk.clock.now())
    try:
        desk.world.signals(one.name).send(word)
    except RolloutError as error:
        return f"cannot be told to end: {error}"
    return ""


def _see_ended(desk: Desk, one: Begun, because: str, *, is_told: bool) -> Iterator[str]:
    until = desk.clock.now() + (OWNER_ANSWERS_WITHIN + 2 * one.started.plan.scrape if is_told else timedelta(0))
    while (owner := living_owner(desk)) and desk.clock.now() < until:
        if ended := _end_of(desk, one):
            break
        desk.clock.sleep(_LOOK)
    ended = _end_of(desk, one)
    if ended is None and owner is None:
        ended = _end_unless_ended(desk, one, because)
    if ended is None:
        limit = desk.clock.now() + ORDER_WITHIN
        yield from persistently(desk.clock, limit, lambda: desk.world.router.seize(AT_REST))
        silent = f"{owner.owner if owner else 'its owner'} {'does not answer' if is_told else 'was not asked'}"
        said = f"{silent}; all traffic was put on stable"
        desk.tell(one, Alarm(at=desk.clock.now(), what=f"{because}: {said}", trouble=Trouble.LOCK_HOLDER_SILENT))
        yield f"{one.name}: {said}"
    else:
        yield f"{one.name}: {ended.state}: {ended.reason}"


def _end_of(desk: Desk, one: Begun) -> Ended | None:
    """Return how a rollout ended, as far as its record can be read now."""
    try:
        events = desk.world.ledger(one.name).read_events()
    except (UnavailableError, DamagedError, PlanError) as error:
        log.info("%s: %s", one.name, error)
        return None
    return RolloutRecord(events=events).last(Ended)


def _end_unless_ended(desk: Desk, one: Begun, because: str) -> Ended | None:
    try:
        # Its users first: what the books need is slow to load, and nobody is there whose say it would be.
        if not one.record.damage:  # else it may have lost its end: then stable may have no pods
            desk.open_world(one.started.plan).restore_stable()
        else:
            deque(take_home(desk, Survey((one,)), desk.clock.now() + ORDER_WITHIN), maxlen=0)
    except RolloutError as error:
        log.info("%s: the traffic is not home yet: %s", one.name, error)
    try:
        return end_on_stable(desk, one, because)
    except (LockedError, PlanError):  # somebody else was faster
        pass
    except (UnavailableError, DamagedError) as error:  # the traffic is put on stable without its record
        log.warning("%s: cannot be taken over: %s", one.name, error)
    return _end_of(desk, one)


def _weights(world: World) -> Weights | None:
    try:
        return world.router.read_weights()
    except UnavailableError:
        return None


def _split(weights: Weights | None) -> str:
    if weights is None:
        return "traffic: unknown, the gateway does not answer"
    return f"traffic: stable {weights.stable} %, canary {weights.canary} %"
