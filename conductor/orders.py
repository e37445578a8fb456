"""What a person, or the guard, orders from outside a rollout's process. An order may be repeated, from any state."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from conductor.carriers import carriers
from conductor.readiness import ready_within
from conductor.world import World
from rollout.errors import LockedError, NotReadyError, PlanError, RolloutError, UnavailableError
from rollout.model import AT_REST, Track
from rollout.notices import Scene
from rollout.plan import RolloutPlan, WhenOrphaned
from rollout.ports import Clock, Holder, Notices, Signal, SignalKind
from rollout.quantities import format_duration
from rollout.record import Alarm, Ended, EndState, Event, RolloutRecord, Started
from rollout.troubles import Trouble

if TYPE_CHECKING:
    from conductor.run import Run

log = logging.getLogger(__name__)

OWNER_ANSWERS_WITHIN = timedelta(seconds=15)
"""How long a living owner may take to put the traffic on stable and say so; then it is taken out of its hands."""
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
        if notice := Scene.of((*one.record.events, event)).notice(event):
            self.notices.send(notice)


@dataclass(frozen=True, slots=True)
class Begun:
    """A rollout that has begun, with its record."""

    name: str
    record: RolloutRecord
    started: Started


def begun(world: World, *, but: frozenset[str] = frozenset()) -> tuple[Begun, ...]:
    """Return the rollouts that have begun, oldest first, leaving out some by name."""
    found = (_read(world, name) for name in world.rollouts() if name not in but)
    return tuple(sorted((one for one in found if one), key=lambda one: one.started.at))


def _read(world: World, name: str) -> Begun | None:
    try:
        record = world.ledger(name).read()
    except PlanError as error:  # written by another version, or damaged: no reason to neglect the others
        log.warning("%s: left alone: %s", name, error)
        return None
    return Begun(name, record, record.started) if record.started else None


def unfinished(world: World) -> tuple[Begun, ...]:
    """Return the rollouts that have begun and not ended, oldest first."""
    return tuple(one for one in begun(world) if one.record.ended is None)


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
    targets = [one for one in unfinished(desk.world) if rollout in ("", one.name)]
    if rollout and rollout not in desk.world.rollouts():
        raise PlanError(
            f"rollout: got {rollout!r}, allowed: {', '.join(desk.world.rollouts()) or 'none, there is none'}"
        )
    if not targets:
        yield "nothing to abort: no rollout is under way"
        yield _split(desk)
    for one in targets:
        unsaid = _say_abort(desk, one, reason)
        yield f"{one.name}: {unsaid or 'told to end on stable'}"
        yield from _see_ended(desk, one, f"aborted by {desk.who}: {reason}", is_told=not unsaid)


def restore(desk: Desk, reason: str) -> Iterator[str]:
    """Put all traffic on stable, whoever steers and whatever has ended, and tell line by line what was done."""
    found = begun(desk.world)
    under_way = [one for one in found if one.record.ended is None]
    unsaid = {one.name: _say_abort(desk, one, reason) for one in under_way}
    yield from (f"{name}: {why}" for name, why in unsaid.items() if why)
    # A drill moves no live traffic: what there is to take back is the rollout's before it.
    latest = next((one for one in reversed(found) if not one.started.drill), None)
    world = desk.open_world(latest.started.plan) if latest else desk.world
    was_home = not world.serves(Track.CANARY)
    if was_home and not under_way and not _claims_promotion(latest):
        yield "all traffic is on stable already"
        return
    if latest and not was_home:
        yield from _wake_stable(desk, world, latest)
    world.take_home()
    yield "all traffic is on stable"
    for one in under_way:
        yield from _see_ended(desk, one, f"restored by {desk.who}: {reason}", is_told=not unsaid[one.name])
    if latest and latest.record.ended and (not was_home or _claims_promotion(latest)):
        yield note_taken_home(desk, latest, latest.record.ended, f"restored by {desk.who}: {reason}")


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
    started = one.started.model_copy(update={"who": desk.who, "flow_run": ""})
    return carry_out(run, started, waits_for_person=True, policy=policy, because=because)


def living_owner(desk: Desk) -> Holder | None:
    """Return who steers the service, if that one lives."""
    holder = desk.world.lock(desk.who).holder()
    return holder if holder and holder.lives else None


def _say_abort(desk: Desk, one: Begun, reason: str) -> str:
    """Tell the owner to end on stable, or return why it cannot be told: the traffic waits for no word."""
    word = Signal(SignalKind.ABORT, reason, desk.who, desk.clock.now())
    try:
        desk.world.signals(one.name).say(word)
    except RolloutError as error:
        return f"cannot be told to end: {error}"
    return ""


def _see_ended(desk: Desk, one: Begun, because: str, *, is_told: bool) -> Iterator[str]:
    until = desk.clock.now() + (OWNER_ANSWERS_WITHIN + 2 * one.started.plan.scrape if is_told else timedelta(0))
    while (owner := living_owner(desk)) and desk.clock.now() < until:
        if ended := desk.world.ledger(one.name).read().ended:
            break
        desk.clock.sleep(_LOOK)
    ended = desk.world.ledger(one.name).read().ended
    if ended is None and owner is None:
        ended = _end_unless_ended(desk, one, because)
    if ended is None:
        desk.world.router.seize(AT_REST)
        silent = f"{owner.owner if owner else 'its owner'} {'does not answer' if is_told else 'was not asked'}"
        said = f"{silent}; all traffic was put on stable"
        desk.tell(one, Alarm(at=desk.clock.now(), what=f"{because}: {said}", trouble=Trouble.LOCK_HOLDER_SILENT))
        yield f"{one.name}: {said}"
    else:
        yield f"{one.name}: {ended.state}: {ended.reason}"


def _end_unless_ended(desk: Desk, one: Begun, because: str) -> Ended | None:
    try:
        return end_on_stable(desk, one, because)
    except (LockedError, PlanError):  # somebody else was faster
        pass
    except UnavailableError as error:  # the traffic is put on stable without its record
        log.warning("%s: cannot be taken over: %s", one.name, error)
    return desk.world.ledger(one.name).read().ended


def _wake_stable(desk: Desk, world: World, latest: Begun) -> Iterator[str]:
    """See that the old version has pods before it gets the traffic: after its retention it has none."""
    if _ready_stable(world):
        return
    wanted = latest.started.plan.stable
    world.workloads.scale(Track.STABLE, wanted.replicas)
    yield f"{wanted.version} has no ready pod: asked for {wanted.replicas}"
    within = ready_within(latest.started.plan, world.workloads, Track.STABLE)
    until = desk.clock.now() + within
    while not _ready_stable(world):
        if desk.clock.now() > until:
            raise NotReadyError(f"restore: no pod of {wanted.version} is ready after {format_duration(within)}")
        desk.clock.sleep(_LOOK)


def _ready_stable(world: World) -> bool:
    try:
        return any(pod.ready for pod in world.workloads.pods() if pod.track is Track.STABLE)
    except UnavailableError:
        return True  # it cannot be seen: the traffic goes to where it was before


def _split(desk: Desk) -> str:
    try:
        weights = desk.world.router.read_weights()
    except UnavailableError:
        return "traffic: unknown, the gateway does not answer"
    return f"traffic: stable {weights.stable} %, canary {weights.canary} %"
