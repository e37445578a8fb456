"""What a rollout needs from the world. Backends implement these; fakes in the tests do too.

Every call has a time limit of its own, below one scrape, and raises only errors of `rollout.errors`:
UnavailableError when there was no answer, ConflictError when the world changed since it was read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from rollout.hooks import Hook
from rollout.load import ClientCounts
from rollout.model import Pod, Track, Weights
from rollout.notices import Notice
from rollout.plan import RolloutPlan
from rollout.record import Event, RolloutRecord, SeriesPoint
from rollout.signals import Signal as Signal
from rollout.signals import SignalKind as SignalKind


class Clock(Protocol):
    """Where time comes from, so that a test of a 24 h watch takes milliseconds."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...

    def sleep(self, duration: timedelta) -> None:
        """Return once this much time has passed."""
        ...


DRILL_HEADER = "x-canary-drill"
"""Marks the requests of a drill; its value is the drill's own, so that nobody else's request can match."""


@dataclass(frozen=True, slots=True)
class Drift:
    """A split that nobody of ours asked for."""

    weights: Weights
    who: str
    """Who wrote it last, where that is known."""
    is_taken: bool
    """Whether the owner's epoch was ended too: whoever did that wants no more writes of ours."""


class Router(Protocol):
    """The gateway's split between the tracks."""

    def read_weights(self) -> Weights:
        """Return the split that the gateway has in force."""
        ...

    def set_weights(self, weights: Weights) -> None:
        """Put this split in force, and return once the gateway says that it is. Harmless to repeat.

        Raises
        ------
        LockedError
            When another owner has taken the service over since this process acquired its lock.
        ConflictError
            When somebody took the traffic out of the owner's hands, as `seize` does.
        """
        ...

    def set_mirror(self, share: int) -> None:
        """Copy this percentage of the live requests to the canary, whose answers reach nobody; 0 ends it.

        Harmless to repeat. A change of weights may end it too.

        Raises
        ------
        PlanError
            When what holds the split cannot mirror, or somebody else's mirror is in the way.
        LockedError, ConflictError
            As `set_weights` does.
        """
        ...

    def drift(self, asked: Weights) -> Drift | None:
        """Return what is in force instead of the split that was asked for, and who wrote it; None where it is."""
        ...

    def seize(self, weights: Weights) -> None:
        """Put this split in force whoever steers, and end their epoch: no later write of theirs takes effect."""
        ...


@dataclass(frozen=True, slots=True)
class PodInputs:
    """What the canary's pods are made from."""

    trouble: str = ""
    """Why the platform cannot make or replace its pods; empty when it can."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """The present version of each piece of configuration that its pods read, by a name that a person knows."""


class Workloads(Protocol):
    """The pods of each track."""

    def pod_inputs(self) -> PodInputs:
        """Return what the canary's pods are made from, as it is now."""
        ...

    def ready_within(self, track: Track) -> timedelta | None:
        """Return how long a track's pods may take to become ready, by the platform; None where it says nothing."""
        ...

    def pods(self) -> tuple[Pod, ...]:
        """Return all pods of all tracks, as they are now."""
        ...

    def scale(self, track: Track, replicas: int) -> None:
        """Ask for this many pods of a track. Returns at once; harmless to repeat."""
        ...


class StableVersion(Protocol):
    """Which version `stable` is to the gateway, where that outlasts a rollout."""

    def make_canary_stable(self) -> None:
        """Make the canary the new stable, with all traffic on it throughout. Harmless to repeat.

        Raises
        ------
        PlanError
            When the traffic is not all on the canary: then this would move it.
        """
        ...

    def restore_stable(self) -> None:
        """Send all live traffic to the version that was stable when the rollout began, whoever steers."""
        ...


class Drills(Protocol):
    """A canary that fails on purpose, for marked requests alone."""

    def drill_fault(self, fault: str, plan: RolloutPlan) -> str:
        """Return how the canary is to fail, such as `errors=30%`; with empty text in the way that suits the backend.

        Raises
        ------
        PlanError
            When it cannot be made to fail like that, or marked requests cannot be told apart; nothing was touched.
        """
        ...

    def expose(self, marker: str, fault: str) -> None:
        """Let the requests marked with this word reach the canary, failing like this; live traffic stays where it is.

        Any write of the split, such as `Router.set_weights` makes it, takes that route away again.
        """
        ...

    def clear_drill(self) -> None:
        """Let the canary fail on purpose no more. Harmless to repeat."""
        ...


class Signals(Protocol):
    """Signals from outside."""

    def read(self) -> tuple[Signal, ...]:
        """Return all signals to this rollout so far, oldest first."""
        ...

    def send(self, signal: Signal) -> None:
        """Send a signal to this rollout; others may be sending one at the same moment."""
        ...


class Counters(Protocol):
    """Counters of the user's own."""

    def increase(self, counter: str, since: datetime) -> float:
        """Return by how much a counter has grown since a moment, over all its series; 0 where it has none.

        Raises
        ------
        UnavailableError
            When there was no answer.
        """
        ...


class Ledger(Protocol):
    """Where a rollout's record and state live, outside the process that runs it."""

    def append(self, event: Event) -> None:
        """Add an event; it survives a crash once this returns."""
        ...

    def add_points(self, points: Sequence[SeriesPoint]) -> None:
        """Add one scrape's points to the series; old ones are thinned, never lost as a range."""
        ...

    def save_state(self, state: str) -> None:
        """Keep the rollout's progress and evidence (JSON text), replacing what was kept before."""
        ...

    def load_state(self) -> str | None:
        """Return what `save_state` kept, or None."""
        ...

    def read(self, *, series: bool = True) -> RolloutRecord:
        """Return the record as it stands; without its series, which are long to read, where nobody needs them."""
        ...

    def read_events(self) -> tuple[Event, ...]:
        """Return the record's events alone, which costs little however long its series are."""
        ...


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds a service's lock."""

    owner: str
    since: datetime
    renewed: datetime
    """When it last said that it lives."""
    lives: bool
    """Whether that is recent enough to believe it."""

    def describe_with_advice(self) -> str:
        """Return who steers, since when, and how to take over."""
        return f"{self.describe()}; `canary abort` ends that rollout, `canary restore` puts all traffic on stable"

    def describe(self) -> str:
        """Return who steers, since when, and when it was last heard of."""
        began, renewed = f"{self.since:%Y-%m-%d %H:%M:%S} UTC", f"{self.renewed:%H:%M:%S}"
        return f"steered by {self.owner} since {began}, last heard of at {renewed}"


class Lock(Protocol):
    """One owner a service."""

    def acquire(self) -> None:
        """Become the service's only owner, or raise LockedError saying who is, and since when."""
        ...

    def renew(self) -> None:
        """Say that the owner lives, or raise LockedError when the lock was taken over."""
        ...

    def release(self) -> None:
        """Give the lock back. Harmless when it is not held."""
        ...

    def holder(self) -> LockHolder | None:
        """Return who holds it, living or not; None when nobody does."""
        ...


class LoadGenerator(Protocol):
    """Synthetic traffic through the gateway."""

    def start(self) -> None:
        """Begin to send. Returns once requests flow."""
        ...

    def stop(self) -> None:
        """End it, and wait until it has ended. Harmless when it does not run."""
        ...

    def restart(self) -> None:
        """Begin again at the last rate after it ended by itself; its counts go on. Returns at once."""
        ...

    def set_rate(self, rate: float) -> None:
        """Go on at another rate, in requests a second; 0 sends nothing."""
        ...

    def counts(self) -> ClientCounts:
        """Return what its clients have counted since it began, up to a second old."""
        ...

    @property
    def pid(self) -> int | None:
        """Its process id; None when it does not run."""
        ...

    @property
    def exit_reason(self) -> str:
        """Why it ended, as far as it said so; empty where it did not."""
        ...


@dataclass(frozen=True, slots=True)
class Undelivered:
    """A receiver that has missed something."""

    receiver: str
    """Its name, which gives no secret away."""
    text: str
    """What went wrong, for people."""


class Notices(Protocol):
    """Messages to people."""

    def send(self, notice: Notice) -> None:
        """Tell people. Never raises and never waits: a dead receiver must not delay a rollout."""
        ...

    def undelivered(self) -> tuple[Undelivered, ...]:
        """Return which receivers have missed something."""
        ...


@dataclass(frozen=True, slots=True)
class HookOutcome:
    """How a hook ended."""

    ok: bool
    reason: str
    """What it said, without its answer's body: `answered 200`, `ended with exit code 3`."""


class RunningHook(Protocol):
    """A hook under way."""

    def outcome(self) -> HookOutcome | None:
        """Return how it ended, at once; None while it has not."""
        ...

    def stop(self) -> None:
        """End it, with everything that it started; returns soon. Harmless when it has ended."""
        ...


class Hooks(Protocol):
    """Requests and commands of the plan's author."""

    def start(self, hook: Hook, payload: str) -> RunningHook:
        """Begin a hook with this JSON. Never raises and never waits: one that cannot begin has failed."""
        ...
