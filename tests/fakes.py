"""Stateful fakes of every port, for tests of whatever stands on them.

They behave as the real backends do (`tests/contract` holds both to the same sentences), keep their state in
plain attributes that a test may assert, and can be broken on purpose: `fake.fail("set_weights", error)`.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from typing import Any

import numpy as np

from analysis.scrapes.samples import NO_EDGE, Samples, Series
from rollout import ports
from rollout.errors import ConflictError, LockedError, NoSamplesError, UnavailableError
from rollout.hooks import Hook
from rollout.load import ClientCounts
from rollout.model import AT_REST, Pod, Track, Weights
from rollout.notices import Notice
from rollout.ports import Signal, SignalKind
from rollout.record import Event, RolloutRecord, SeriesPoint, thinned

START = datetime(2026, 1, 5, 9, 0, tzinfo=UTC)
ISTIO_EDGES_MS = (
    *(0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000),
    *(300_000, 600_000, 1_800_000, 3_600_000, math.inf),
)


@dataclass
class _Break:
    name: str
    error: BaseException
    first: int
    last: int
    after_effect: bool


class Breakable:
    """Calls that can be made to raise: from the n-th on, once or often, before or after taking effect."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._breaks: list[_Break] = []

    def fail(
        self, name: str, error: BaseException | None = None, *, on: int = 1, times: int = 1, after_effect: bool = False
    ) -> None:
        """Let the `on`-th call of `name` from now raise, and the `times - 1` calls after it.

        With `after_effect` the call does its work and then raises: the answer was lost, not the request.
        `times=-1` breaks it for good.
        """
        first = self.calls[name] + on
        last = first + times - 1 if times > 0 else 10**9
        error = error or UnavailableError(f"{type(self).__name__}.{name}: broken by the test")
        self._breaks.append(_Break(name, error, first, last, after_effect))

    def mend(self) -> None:
        """Break nothing any more."""
        self._breaks.clear()

    @contextmanager
    def _call(self, name: str) -> Iterator[None]:
        self.calls[name] += 1
        number = self.calls[name]
        broken = [b for b in self._breaks if b.name == name and b.first <= number <= b.last]
        if broken and not broken[0].after_effect:
            raise broken[0].error
        yield
        if broken:
            raise broken[0].error


@dataclass
class _Due:
    at: datetime
    action: Callable[[], None]
    every: timedelta | None


class FakeClock(Breakable):
    """Time that passes only while someone sleeps; what is planned for a moment happens on the way."""

    def __init__(self, start: datetime = START) -> None:
        super().__init__()
        self.time = start
        self.slept: list[timedelta] = []
        self._due: list[_Due] = []

    def now(self) -> datetime:
        with self._call("now"):
            return self.time

    def sleep(self, duration: timedelta) -> None:
        with self._call("sleep"):
            self.slept.append(duration)
            self.advance(duration)

    def advance(self, duration: timedelta) -> None:
        """Let time pass, doing on the way what was planned."""
        end = self.time + max(duration, timedelta(0))
        while self._due and (due := min(self._due, key=lambda due: due.at)).at <= end:
            self.time = max(self.time, due.at)
            self._due.remove(due)
            if due.every:
                self._due.append(_Due(due.at + due.every, due.action, due.every))
            due.action()
        self.time = max(self.time, end)

    def after(self, delay: timedelta, action: Callable[[], None]) -> None:
        """Plan an action."""
        self._due.append(_Due(self.time + delay, action, None))

    def every(self, interval: timedelta, action: Callable[[], None]) -> None:
        """Plan an action again and again."""
        self._due.append(_Due(self.time + interval, action, interval))


LAPSE = timedelta(seconds=30)


@dataclass
class Holder:
    """What locks of one service share: who holds it, since when, in which epoch."""

    owner: str = ""
    since: datetime = START
    renewed: datetime = START
    epoch: int = 0
    taken_in: int = 0
    gone: bool = False
    """Whether the owner's process is known to be dead before its heartbeat has lapsed."""

    def take(self, owner: str, now: datetime) -> None:
        """Let an owner have it, whoever held it before."""
        self.epoch += 1
        self.owner, self.since, self.renewed, self.taken_in, self.gone = owner, now, now, self.epoch, False


@dataclass
class Gateway:
    """What the routers of several processes share."""

    weights: Weights = AT_REST
    history: list[Weights] = field(default_factory=lambda: [AT_REST])
    drill: str = ""
    """The mark of the requests that reach the canary whatever the weights; any write of the split takes it away."""
    holder: Holder = field(default_factory=Holder)


class FakeRouter(Breakable):
    """A gateway that takes weights at once and remembers each split it had, as one process sees it."""

    def __init__(self, gateway: Gateway | None = None) -> None:
        super().__init__()
        self.gateway = gateway or Gateway()
        self.mirror = 0
        self.mirrored: list[int] = []
        """Every share that was asked for."""
        self.epoch: int | None = None
        """The epoch in which this process may write; None while it holds no lock."""

    @property
    def weights(self) -> Weights:
        return self.gateway.weights

    @property
    def history(self) -> list[Weights]:
        return self.gateway.history

    @property
    def holder(self) -> Holder:
        return self.gateway.holder

    def read_weights(self) -> Weights:
        with self._call("read_weights"):
            return self.weights

    def set_weights(self, weights: Weights) -> None:
        with self._call("set_weights"):
            self._check_epoch(weights)
            self._put(weights)

    def set_mirror(self, share: int) -> None:
        with self._call("set_mirror"):
            if share:
                self._check_epoch(Weights.with_canary(100 - self.weights.canary))
            self.mirror = share
            self.mirrored.append(share)

    def drift(self, asked: Weights) -> ports.Drift | None:
        with self._call("drift"):
            if self.weights == asked:
                return None
            return ports.Drift(self.weights, "ada", self.epoch not in (None, self.holder.epoch))

    def seize(self, weights: Weights) -> None:
        with self._call("seize"):
            self.holder.epoch += 1
            self._put(weights)

    @property
    def drill(self) -> str:
        return self.gateway.drill

    def _put(self, weights: Weights) -> None:
        self.gateway.drill = ""
        self.gateway.weights = weights
        if self.history[-1] != weights:
            self.history.append(weights)

    def _check_epoch(self, weights: Weights) -> None:
        if self.epoch in (None, self.holder.epoch) or self.weights == weights:
            return
        if self.holder.owner and self.holder.taken_in != self.epoch:
            raise LockedError(f"set canary={weights.canary}: steered by {self.holder.owner}")
        raise ConflictError(f"set canary={weights.canary}: somebody took the traffic out of our hands")


class FakeWorkloads(Breakable):
    """Pods that get ready `ready_after` they were asked for."""

    def __init__(self, clock: FakeClock, *, stable: int = 3, service: str = "canary-app") -> None:
        super().__init__()
        self.ready_after = timedelta(0)
        self.patience: timedelta | None = None
        """How long the platform itself counts on a new pod."""
        self.broken: set[Track] = set()
        """Tracks whose new pods never get ready."""
        self.trouble = ""
        """Why the canary's pods cannot be made."""
        self.inputs: dict[str, str] = {}
        """Version of each piece of configuration that the canary reads."""
        self._clock = clock
        self._service = service
        self._versions = {Track.STABLE: "v1", Track.CANARY: "v2", Track.BASELINE: "v1-baseline"}
        self._pods: dict[str, Pod] = {}
        self.wanted: dict[Track, int] = {}
        self.scale(Track.STABLE, stable)
        self.calls.clear()

    def pods(self) -> tuple[Pod, ...]:
        with self._call("pods"):
            return tuple(self._pods.values())

    def pod_inputs(self) -> ports.PodInputs:
        with self._call("pod_inputs"):
            return ports.PodInputs(self.trouble, dict(self.inputs))

    def ready_within(self, track: Track) -> timedelta | None:
        with self._call("ready_within"):
            return self.patience

    def scale(self, track: Track, replicas: int) -> None:
        with self._call("scale"):
            self.wanted[track] = replicas
            names = [f"{self._service}-{self._versions[track]}-{number}" for number in range(replicas)]
            for name in [pod.name for pod in self._pods.values() if pod.track is track and pod.name not in names]:
                del self._pods[name]
            for name in names:
                if name not in self._pods:
                    self._start(Pod(name, track, ready=False))

    def _start(self, pod: Pod) -> None:
        self._pods[pod.name] = pod
        if pod.track in self.broken:
            return
        if not self.ready_after:
            self.change(pod.name, ready=True)
        else:
            self._clock.after(self.ready_after, lambda: self.change(pod.name, ready=True, waiting=""))

    def change(self, name: str, *, ready: bool, waiting: str = "") -> None:
        """Make a pod ready or not."""
        if name in self._pods:
            self._pods[name] = replace(self._pods[name], ready=ready, waiting=waiting)

    def crash(self, name: str, *, times: int = 1, recovers: bool = False) -> None:
        """Let a pod have died and been restarted; it stays in its back-off unless it `recovers`."""
        waiting = "" if recovers else "CrashLoopBackOff"
        restarts = self._pods[name].restarts + times
        self._pods[name] = replace(self._pods[name], restarts=restarts, ready=recovers, waiting=waiting)

    def ready(self, track: Track) -> int:
        """Return how many pods of a track are ready."""
        return sum(pod.ready for pod in self._pods.values() if pod.track is track)


@dataclass
class Behaviour:
    """How a track answers."""

    errors: float = 0.0
    """Share of answers that are 5xx."""
    latency_ms: float = 35.0
    """Median of a lognormal latency."""
    spread: float = 0.3
    """Sigma of its logarithm."""


@dataclass
class _Counters:
    requests: int = 0
    errors: int = 0
    total_ms: float = 0.0
    buckets: np.ndarray = field(default_factory=lambda: np.zeros(len(ISTIO_EDGES_MS), dtype=np.int64))


class FakeMetrics(Breakable):
    """Counters of scripted traffic, one sample a scrape, seeded.

    A test changes `rps`, `behaviour[track]` and `down` at any time; each scrape draws what happened since
    the one before, by the router's split at that moment. The first scrape is one interval after the start.
    """

    def __init__(
        self, clock: FakeClock, router: FakeRouter, *, scrape: timedelta = timedelta(seconds=1), seed: int = 7
    ) -> None:
        super().__init__()
        self.rps = 500.0
        self.behaviour = {Track.STABLE: Behaviour(), Track.CANARY: Behaviour()}
        self.split: Weights | None = None
        """How the traffic is split whatever the router says."""
        self.down = False
        """No scrape is taken while True, as when Prometheus loses its target."""
        self._clock, self._router, self._scrape = clock, router, scrape
        self._draw = np.random.default_rng(seed)
        self._counters: dict[Track, _Counters] = {}
        self._samples: list[tuple[datetime, dict[Track, _Counters]]] = []
        clock.every(scrape, self._tick)

    def read(self, since: datetime) -> Samples:
        with self._call("read"):
            return self._between(since, self._clock.time)

    def read_range(self, since: datetime, until: datetime) -> Samples:
        with self._call("read_range"), self._call("read"):
            return self._between(since, until)

    def _between(self, since: datetime, until: datetime) -> Samples:
        first = bisect_left(self._samples, since, key=itemgetter(0))
        last = bisect_right(self._samples, until, key=itemgetter(0))
        rows = [
            (at.timestamp(), series, value)
            for at, sample in self._samples[first:last]
            for track, counters in sample.items()
            for series, value in _rows(track, counters)
        ]
        if not rows:
            raise NoSamplesError(f"no samples since {since.isoformat()}")
        return Samples.of_rows(rows)

    def _tick(self) -> None:
        seconds = self._scrape.total_seconds()
        weights = self.split or self._router.weights
        # Half of a drill's requests have its mark.
        split = (50, 50) if getattr(self._router, "drill", "") else (weights.stable, weights.canary)
        for track, percent in zip((Track.STABLE, Track.CANARY), split, strict=True):
            if requests := int(self._draw.poisson(self.rps * seconds * percent / 100)):
                self._count(track, requests)
        if not self.down and self._counters:
            kept = {
                track: replace(counters, buckets=counters.buckets.copy()) for track, counters in self._counters.items()
            }
            self._samples.append((self._clock.time, kept))

    def _count(self, track: Track, requests: int) -> None:
        behaviour = self.behaviour[track]
        latency = behaviour.latency_ms * np.exp(behaviour.spread * self._draw.standard_normal(requests))
        counters = self._counters.setdefault(track, _Counters())
        counters.requests += requests
        counters.errors += int(self._draw.binomial(requests, behaviour.errors))
        counters.total_ms += float(latency.sum())
        counters.buckets += np.searchsorted(np.sort(latency), ISTIO_EDGES_MS, side="right")

    def forget(self, track: Track) -> None:
        """Reset a track's counters, as a restart of what counts them does."""
        self._counters[track] = _Counters()


def _rows(track: Track, counters: _Counters) -> list[tuple[Series, float]]:
    errors = counters.errors
    return [
        (_series(track, "requests_total", answer="200"), float(counters.requests - errors)),
        *([(_series(track, "requests_total", answer="503"), float(errors))] if errors else []),
        (_series(track, "duration_ms_sum"), counters.total_ms),
        (_series(track, "duration_ms_count"), float(counters.requests)),
        *(
            (_series(track, "duration_ms_bucket", edge), float(count))
            for edge, count in zip(ISTIO_EDGES_MS, counters.buckets, strict=True)
        ),
    ]


def _series(track: Track, metric: str, edge: float = NO_EDGE, *, answer: str = "") -> Series:
    return Series(str(track), "", metric, edge, answer, target="gateway", proxy="gateway")


class FakeLedger(Breakable):
    """A ledger in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.events: list[Event] = []
        self.series: dict[str, tuple[SeriesPoint, ...]] = {}
        self.state: str | None = None

    @property
    def record(self) -> RolloutRecord:
        """What is kept, whatever breaks."""
        return RolloutRecord(events=tuple(self.events), series=dict(self.series))

    def append(self, event: Event) -> None:
        with self._call("append"):
            self.events.append(event)

    def add_points(self, points: Sequence[SeriesPoint]) -> None:
        with self._call("add_points"):
            for point in points:
                self.series[point.series] = thinned((*self.series.get(point.series, ()), point))

    def save_state(self, state: str) -> None:
        with self._call("save_state"):
            self.state = state

    def load_state(self) -> str | None:
        with self._call("load_state"):
            return self.state

    def read(self, *, series: bool = True) -> RolloutRecord:
        with self._call("read"):
            return RolloutRecord(events=tuple(self.events), series=dict(self.series) if series else {})

    def read_events(self) -> tuple[Event, ...]:
        with self._call("read_events"):
            return tuple(self.events)


class FakeLock(Breakable):
    """One owner among the locks that share a `Holder`, as one process sees it: the one whose router this is."""

    def __init__(self, clock: FakeClock, owner: str, router: FakeRouter) -> None:
        super().__init__()
        self.owner = owner
        self._holder = router.holder
        self._router = router
        self._clock = clock

    def acquire(self) -> None:
        with self._call("acquire"):
            if self._holder.owner not in ("", self.owner) and (held := self.holder()) and held.lives:
                raise LockedError(held.describe_with_advice())
            if self._holder.owner != self.owner:
                self._holder.take(self.owner, self._clock.time)
            self._holder.renewed = self._clock.time
            self._router.epoch = self._holder.epoch

    def renew(self) -> None:
        with self._call("renew"):
            if self._holder.owner != self.owner:
                raise LockedError(f"{self.owner} lost the lock to {self._holder.owner or 'nobody'}")
            self._holder.renewed = self._clock.time

    def release(self) -> None:
        with self._call("release"):
            self._router.epoch = None
            if self._holder.owner == self.owner:
                self._holder.owner = ""

    def holder(self) -> ports.LockHolder | None:
        with self._call("holder"):
            held = self._holder
            lives = not held.gone and self._clock.time - held.renewed <= LAPSE
            return ports.LockHolder(held.owner, held.since, held.renewed, lives) if held.owner else None

    def take_over(self, owner: str = "somebody else") -> None:
        """Let another owner have it, as after a lapse."""
        self._holder.take(owner, self._clock.time)


class FakeSignals(Breakable):
    """Words from outside, said by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[Signal] = []

    def read(self) -> tuple[Signal, ...]:
        with self._call("read"):
            return tuple(self.said)

    def send(self, signal: Signal) -> None:
        """Say something to the rollout."""
        with self._call("say"):
            self.said.append(signal)

    def abort(self, at: datetime, *, reason: str = "looks wrong", who: str = "ada") -> None:
        """Say abort."""
        self.send(Signal(SignalKind.ABORT, reason, who, at))


class FakeLoad(Breakable):
    """A load generator that only remembers whether it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.running = False
        self.rate = 0.0
        self.counted = ClientCounts()

    def start(self) -> None:
        with self._call("start"):
            self.running = True

    def stop(self) -> None:
        with self._call("stop"):
            self.running = False

    def restart(self) -> None:
        with self._call("restart"):
            self.running = True

    def set_rate(self, rate: float) -> None:
        with self._call("set_rate"):
            self.rate = rate

    def counts(self) -> ClientCounts:
        return self.counted

    @property
    def pid(self) -> int | None:
        return 1 if self.running else None

    @property
    def exit_reason(self) -> str:
        return "Killed, exit code -9"


class FakeNotices(Breakable):
    """Messages, kept."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[Notice] = []
        self.lost: tuple[ports.Undelivered, ...] = ()

    def send(self, notice: Notice) -> None:
        with self._call("send"):
            self.sent.append(notice)

    def undelivered(self) -> tuple[ports.Undelivered, ...]:
        return self.lost


class FakeHooks(Breakable):
    """Hooks that end after a time, with what the test says; their payloads are kept."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self.clock = clock
        self.seconds: dict[str, float] = {}
        """How long each hook takes, by its name."""
        self.says: dict[str, list[ports.HookOutcome]] = {}
        """What each hook says, time after time; the last one for ever."""
        self.payloads: list[dict[str, Any]] = []
        self.stopped: list[str] = []
        """Hooks that were ended before they had ended."""

    def start(self, hook: Hook, payload: str) -> FakeRunningHook:
        self.payloads.append(json.loads(payload))
        said = self.says.get(hook.name) or [ports.HookOutcome(ok=True, reason="answered 200")]
        outcome = said.pop(0) if len(said) > 1 else said[0]
        ends = self.clock.time + timedelta(seconds=self.seconds.get(hook.name, 0.0))
        return FakeRunningHook(self, hook.name, outcome, ends)

    @property
    def ran(self) -> list[str]:
        return [payload["hook"] for payload in self.payloads]


@dataclass
class FakeRunningHook:
    hooks: FakeHooks
    name: str
    said: ports.HookOutcome
    ends: datetime

    def outcome(self) -> ports.HookOutcome | None:
        return self.said if self.hooks.clock.time >= self.ends else None

    def stop(self) -> None:
        if self.outcome() is None:
            self.hooks.stopped.append(self.name)


class FakeWorld:
    """All ports of one service, sharing one clock; the same attributes as a real backend's world."""

    def __init__(self, *, stable: int = 3, scrape: timedelta = timedelta(seconds=1), seed: int = 7) -> None:
        self.clock = FakeClock()
        self.router = FakeRouter()
        self.workloads = FakeWorkloads(self.clock, stable=stable)
        self.metrics = FakeMetrics(self.clock, self.router, scrape=scrape, seed=seed)
        self.load = FakeLoad()
        self.notices = FakeNotices()
        self.hooks = FakeHooks(self.clock)
        self.holder = self.router.holder
        self.drill_errors = 0.3
        """Share of bad answers that a drill's canary really gives."""
        self._ledgers: dict[str, FakeLedger] = {}
        self._signals: dict[str, FakeSignals] = {}

    def ledger(self, rollout: str) -> FakeLedger:
        return self._ledgers.setdefault(rollout, FakeLedger())

    def signals(self, rollout: str) -> FakeSignals:
        return self._signals.setdefault(rollout, FakeSignals())

    def rollouts(self) -> tuple[str, ...]:
        return tuple(self._ledgers)

    def forget(self, rollout: str) -> None:
        self._ledgers.pop(rollout, None)
        self._signals.pop(rollout, None)

    def serves(self, track: Track) -> bool:
        return (self.router.weights.stable if track is Track.STABLE else self.router.weights.canary) > 0

    def make_canary_stable(self) -> None:
        pass

    def drill_fault(self, fault: str, plan: object) -> str:
        return fault or "errors=30%"

    def expose(self, marker: str, fault: str) -> None:
        self.metrics.behaviour[Track.CANARY].errors = self.drill_errors
        self.router.gateway.drill = marker

    def clear_drill(self) -> None:
        self.metrics.behaviour[Track.CANARY].errors = 0.0

    def restore_stable(self) -> None:
        self.router.seize(AT_REST)

    def seen_by_another(self) -> FakeWorld:
        """Return the same world as another process sees it: it holds no lock."""
        other = copy(self)
        other.router = FakeRouter(self.router.gateway)
        return other

    def lock(self, owner: str) -> FakeLock:
        return FakeLock(self.clock, owner, self.router)
