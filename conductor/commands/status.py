"""Where a service stands: its traffic, its pods, who steers it, and its latest rollout."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from conductor.commands.last_drill import NEVER_DRILLED, LastDrill, last_drill
from conductor.commands.survey import Begun, Survey, survey
from conductor.state.environment import World
from conductor.state.position import Position, position_on_record
from rollout.decide import Progress, time_left
from rollout.errors import DamagedError, PlanError, SetupError, UnavailableError
from rollout.events import VerdictChanged, WeightsSet
from rollout.formatting import format_span
from rollout.model import Pod, Track, Weights
from rollout.plan import Approval, Step
from rollout.ports import LockHolder
from rollout.signals import NO_SIGNALS, StepSignals, signals_for_step


@dataclass(frozen=True, slots=True)
class Standing:
    """What can be said of a service at one moment; what does not answer is said to be unknown."""

    at: datetime
    weights: Weights | None
    pods: tuple[Pod, ...] | None
    holder: LockHolder | None
    latest: Begun | None
    position: Position | None
    """Of the latest rollout, while it has not ended."""
    words: StepSignals = NO_SIGNALS
    """What people have said of its present step."""
    drill: LastDrill | None = None
    """The last drill of the rollback that came to its end."""
    unseen: str = ""
    """Why the split is not known."""
    damage: tuple[str, ...] = ()
    """What of the records cannot be read, a line each."""

    @property
    def state(self) -> str:
        """One word on the latest rollout: its end, `under way`, or `orphaned` when its owner is gone."""
        if self.latest is None:
            return "none"
        if self.latest.record.ended:
            return str(self.latest.record.ended.state)
        return "under way" if self.holder and self.holder.lives else "orphaned"

    @property
    def step(self) -> str:
        """The step that is watched; empty where none is."""
        return self._step.name if self._step else ""

    @property
    def approval(self) -> Approval | None:
        """What its plan says of an approval of that step."""
        return self._step.approval if self._step else None

    @property
    def _step(self) -> Step | None:
        if self.latest is None or self.position is None or self.position.step_index is None:
            return None
        return self.latest.started.plan.steps[self.position.step_index]

    @property
    def bake_left(self) -> timedelta | None:
        """How long that step bakes on; None before its split was seen."""
        position, latest = self.position, self.latest
        if latest is None or position is None or position.step_index is None or position.step_since is None:
            return None
        # An orphan does not bake: its clock stopped when it was watched last.
        until = self.at if self.state == "under way" else position.seen_at or self.at
        return time_left(Progress(latest.started.plan, position.step_index, position.step_since), until)

    @property
    def reason(self) -> str:
        """Why it ended, or what the judge says."""
        if self.latest is None:
            return ""
        if ended := self.latest.record.ended:
            return ended.reason
        if self.position and self.position.says:
            return self.position.says
        said = [event.verdict.reason for event in self.latest.record.of(VerdictChanged)]
        return said[-1] if said else ""

    @property
    def waits(self) -> str:
        """What person the rollout waits for; empty where it waits for none."""
        if self.words.paused:
            return f"{self.words.paused}; `canary resume` lets it go on"
        if self.position and self.position.hook:
            return f"{self.position.hook}; it is asked again and again, and `canary skip` goes on without it"
        if self.latest and self.step and self.position and self.position.asked_since and not self.words.approved:
            until = self.position.asked_since + (self.approval.within if self.approval else timedelta(0))
            by = f" by {', '.join(self.approval.by)}" if self.approval and self.approval.by else ""
            return f"for approval{by} until {until:%Y-%m-%d %H:%M} UTC: `canary approve` or `canary refuse`"
        return self.position.held if self.position else ""

    def lines(self) -> list[str]:
        """Return it as a person reads it."""
        told = [f"traffic   {self._split}", f"pods      {_pods(self)}"]
        if self.latest:
            told.append(f"rollout   {self.latest.name}: {self.state}")
        if self.step:
            told.append(f"step      {self.step}: {_left(self.bake_left)}")
        if self.waits:
            told.append(f"waits     {self.waits}")
        if self.reason:
            told.append(f"reason    {self.reason}")
        told.append(f"drill     {self.drill.told(self.at) if self.drill else NEVER_DRILLED}")
        told.append(f"lock      {self.holder.describe() if self.holder else 'free'}")
        told += [f"damage    {line}" for line in self.damage]
        if self.is_unexplained:
            told.append(
                "to do     no record explains this split and nobody steers it: `canary abort` ends it on stable"
            )
        if self.state == "orphaned":
            told.append("to do     `canary resume` goes on, `canary abort` ends it; the guard does what the plan says")
        return told

    @property
    def is_unexplained(self) -> bool:
        """Whether the canary has traffic that neither a record nor a living owner accounts for."""
        if self.weights is None or (self.holder and self.holder.lives) or self.state == "orphaned":
            return False
        return not Survey((self.latest,) if self.latest else ()).explains(self.weights)

    @property
    def _evidence(self) -> dict[str, dict[str, float]] | None:
        """Log odds gathered for each decision, and those at which it is made; None where no rollout is under way."""
        if self.latest is None or self.latest.record.ended:
            return None
        return {name: {"log": log, "needed_log": needed} for name, log, needed in self.latest.record.evidence()}

    @property
    def _split(self) -> str:
        if self.weights is None:
            return f"unknown: {self.unseen}{self._last_split}"
        return f"stable {self.weights.stable} %, canary {self.weights.canary} %"

    @property
    def _last_split(self) -> str:
        splits = self.latest.record.of(WeightsSet) if self.latest else []
        if not splits:
            return ""
        last = splits[-1]
        return f"; last put in force: canary {last.canary} % at {last.at:%Y-%m-%d %H:%M:%S} UTC"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's own values; times in ISO 8601, shares in percent."""
        return {
            "at": self.at.isoformat(),
            "canary_percent": self.weights.canary if self.weights else None,
            "pods_ready": None if self.pods is None else {track: _ready(self.pods, track) for track in Track},
            "rollout": self.latest.name if self.latest else None,
            "state": self.state,
            "step": self.step or None,
            "bake_left_seconds": None if self.bake_left is None else self.bake_left.total_seconds(),
            "waits": self.waits or None,
            "reason": self.reason or None,
            "evidence": self._evidence,
            "drill": self.drill.as_json(self.at) if self.drill else None,
            "damage": list(self.damage) or None,
            "owner": self.holder.owner if self.holder else None,
            "owner_lives": self.holder.lives if self.holder else None,
            "owner_since": self.holder.since.isoformat() if self.holder else None,
        }


def standing(world: World, now: datetime, *, but: frozenset[str] = frozenset()) -> Standing:
    """Return where the service stands now; rollouts that are known to be older than the latest need not be read."""
    surveyed = survey(world, but=but)
    found = surveyed.begun
    # A drill is nothing that the service stands at, unless it is under way or its owner is gone.
    latest = next((one for one in reversed(found) if not one.started.drill or one.record.ended is None), None)
    latest = _with_series(world, latest) if latest else None
    open_one = latest if latest and latest.record.ended is None else None
    position = position_on_record(world.ledger(open_one.name)) if open_one else None
    weights, unseen = _weights(world)
    stands = Standing(
        at=now,
        weights=weights,
        pods=_pods_of(world),
        holder=_holder(world),
        latest=latest,
        position=position,
        drill=last_drill(found),
        unseen=unseen,
        damage=surveyed.lines(),
    )
    return replace(stands, words=_words(world, open_one.name, stands)) if open_one else stands


def _words(world: World, rollout: str, stands: Standing) -> StepSignals:
    approvers = stands.approval.by if stands.approval else ()
    try:
        return signals_for_step(world.signals(rollout).read(), stands.step, approvers)
    except UnavailableError:
        return NO_SIGNALS


def _with_series(world: World, one: Begun) -> Begun:
    try:
        return replace(one, record=world.ledger(one.name).read())
    except (UnavailableError, PlanError, DamagedError):
        return one


def _holder(world: World) -> LockHolder | None:
    try:
        return world.lock("status").holder()
    except UnavailableError:
        return None


def _weights(world: World) -> tuple[Weights | None, str]:
    try:
        return world.router.read_weights(), ""
    except UnavailableError:
        return None, "the gateway does not answer"
    except SetupError as error:  # such as a right that is missing: what is on record is told all the same
        return None, str(error)


def _pods_of(world: World) -> tuple[Pod, ...] | None:
    try:
        return world.workloads.pods()
    except (UnavailableError, SetupError):
        return None


def _pods(found: Standing) -> str:
    if found.pods is None:
        return "unknown: nobody reports them"
    return ", ".join(f"{track} {_ready(found.pods, track)} ready" for track in (Track.STABLE, Track.CANARY))


def _left(bake: timedelta | None) -> str:
    if bake is None:
        return "its split was not seen yet"
    return f"{format_span(timedelta(seconds=round(bake.total_seconds())))} of bake left"


def _ready(pods: tuple[Pod, ...], track: Track) -> int:
    return sum(pod.ready for pod in pods if pod.track is track)
