"""A rollout being carried out: its plan, its ports, and where it stands."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from pydantic import TypeAdapter

from analysis.judge import Judge, JudgeState, dump_state, load_state
from analysis.scrapes.samples import Metrics
from conductor.state.alarms import Alarms
from conductor.state.client_counts import Clients
from conductor.state.environment import World
from conductor.state.journal import Journal
from conductor.state.position import Position
from rollout.decide import Progress, RollBack
from rollout.errors import ConflictError, UnavailableError
from rollout.events import (
    Alarm,
    ApprovalRequested,
    DecisionMade,
    Ended,
    EndState,
    SignalReceived,
    VerdictChanged,
)
from rollout.model import AT_REST, Trouble, Weights
from rollout.notices import NoticeContext
from rollout.plan import RolloutPlan, Step
from rollout.ports import (
    Clock,
    Counters,
    Drills,
    Hooks,
    Ledger,
    LoadGenerator,
    Lock,
    Notices,
    Router,
    Signals,
    StableVersion,
    Workloads,
)
from rollout.record import Event, SeriesPoint
from rollout.signals import (
    NO_SIGNALS,
    Signal,
    StepSignals,
    signals_for_step,
)
from rollout.triggers import PodHistory
from rollout.verdict_entries import VerdictEntry

log = logging.getLogger(__name__)

LISTEN = timedelta(milliseconds=700)
"""How long at most nobody listens to words from outside, however rarely the metrics are looked at: with the second that
a command takes to start, a word is at the gateway within two."""
BEAT = timedelta(seconds=5)
"""How often the owner says that it lives, however rarely it looks; its lock lapses after 30 s."""
_PODS = TypeAdapter(PodHistory)


@dataclass(frozen=True, slots=True)
class Ports:
    """What a rollout is carried out through."""

    router: Router
    workloads: Workloads
    metrics: Metrics
    ledger: Ledger
    lock: Lock
    signals: Signals
    notices: Notices
    clock: Clock
    adoption: StableVersion | None = None
    drills: Drills | None = None
    load: LoadGenerator | None = None
    counters: Counters | None = None
    hooks: Hooks | None = None

    @classmethod
    def of(cls, world: World, rollout: str, *, owner: str, notices: Notices, clock: Clock) -> Ports:
        """Return what one rollout in a world is carried out through, its lock in an owner's name."""
        return cls(
            router=world.router,
            workloads=world.workloads,
            metrics=world.metrics,
            ledger=world.ledger(rollout),
            lock=world.lock(owner),
            signals=world.signals(rollout),
            notices=notices,
            clock=clock,
            adoption=world,
            drills=world,
        )


@dataclass(slots=True)
class Run:
    """One rollout under way. Its fields are the only state that the conductor changes."""

    plan: RolloutPlan
    ports: Ports
    judge: Judge
    evidence: JudgeState
    pods: PodHistory = field(default_factory=PodHistory)
    load: Clients = field(default_factory=Clients)
    step_index: int | None = None
    step_since: datetime | None = None
    passed: str = ""
    """Why the step is over: until the next one begins, only harm counts; empty while it is not."""
    asked: Weights = AT_REST
    asked_since: datetime | None = None
    """Since when a person's approval of the step is waited for; None while it is not."""
    drill: str = ""
    """How the canary fails on purpose; empty in a rollout."""
    began: datetime | None = None
    """When the rollout began, whoever owned it then."""
    said: tuple[Signal, ...] = ()
    """Everything said from outside so far."""
    words: StepSignals = NO_SIGNALS
    """What people have said of the present step."""
    heard: int = 0
    """How many words from outside have been taken up."""
    last_verdict: VerdictEntry | None = None
    last_decision: str = ""
    mismatch: str = ""
    """How the split in the traffic differs from the one asked for, and why; empty while it does not."""
    mismatch_since: datetime | None = None
    """Since when it differs."""
    copies: tuple[datetime, int, int] | None = None
    """When the canary's requests were last counted by its pods and by the gateway, and both counts."""
    held: str = ""
    """Why the rollout waits for a person; empty while it does not."""
    hook: str = ""
    """What the hook said that holds it; empty while none does."""
    alarms: Alarms = field(default_factory=Alarms)
    """The troubles that people have been told of."""
    baseline_done: bool = False
    leaving: str = ""
    """Why all traffic is being put on stable; empty while it is not."""
    adopting: bool = False
    """Whether the canary is being made what `stable` means."""
    stop: RollBack | None = None
    """Why a rollout that was taken over is not gone on with."""
    persists: bool = True
    """Whether it goes on trying to bring the traffic home for as long as it lives; else the next look does."""
    is_home: bool = False
    """Whether the gateway has said that it is there."""
    history_seconds: float = 0.0
    """How much of the past the judge has learnt from."""
    step_requests: int = 0
    """Requests counted since the step's split was seen, both tracks."""
    step_canary_requests: int = 0
    is_counting: bool = False
    inputs: dict[str, str] = field(default_factory=dict)
    """Version of each piece of configuration that the canary reads, as last seen."""
    hooks_done: frozenset[str] = frozenset()
    scene: NoticeContext = field(default_factory=NoticeContext)
    """What has happened so far, as far as notices tell of it."""
    drift: str = ""
    """What somebody else made of the split, while it is held for that."""
    reasserted: int = 0
    """Times that the split was written again after somebody else had changed it."""
    looked_at: datetime | None = None
    next_tick: datetime | None = None
    last_read: datetime | None = None
    last_beat: datetime | None = None
    last_listen: datetime | None = None
    journal: Journal = field(init=False)

    def __post_init__(self) -> None:
        self.journal = Journal(self.ports.ledger, self.ports.clock)

    @classmethod
    def begin(cls, plan: RolloutPlan, ports: Ports) -> Run:
        """Return a run at its very start."""
        judge = Judge.for_plan(plan)
        return cls(plan=plan, ports=ports, judge=judge, evidence=judge.begin())

    @property
    def step(self) -> Step | None:
        """The step that the run is at, or None before the first."""
        return None if self.step_index is None else self.plan.steps[self.step_index]

    def progress(self, now: datetime) -> Progress:
        """Return what the rule needs to know; a step that is not verified yet counts from now."""
        if self.step_index is None:
            raise ValueError("no step has begun")
        return Progress(self.plan, self.step_index, self.step_since or now, self.asked_since, bool(self.passed))

    def save(self) -> None:
        """Keep position and evidence in the ledger."""
        position = Position(
            step_index=self.step_index,
            step_since=self.step_since,
            passed=self.passed,
            asked=self.asked.canary,
            seen_at=self.ports.clock.now(),
            baseline_done=self.baseline_done,
            leaving=self.leaving,
            adopting=self.adopting,
            inputs=self.inputs,
            asked_since=self.asked_since,
            heard=self.heard,
            hooks_done=tuple(sorted(self.hooks_done)),
            says=self.last_verdict.reason if self.last_verdict and self.step else "",
            held=self.held,
            hook=self.hook,
            alarms=self.alarms.kept(),
            judge=dump_state(self.evidence),
            pods=_PODS.dump_json(self.pods).decode(),
        )
        self.journal.save_state(position.model_dump_json())

    def restore_position(self, text: str) -> None:
        """Take up position and evidence where `save` left them; a time that nobody watched is no bake time.

        Raises
        ------
        ValueError
            When the text is not what `save` of this version keeps.
        """
        position = Position.model_validate_json(text)
        unwatched = self.ports.clock.now() - position.seen_at if position.seen_at else timedelta(0)
        self.step_index = position.step_index
        self.step_since = position.step_since + unwatched if position.step_since else None
        self.passed = position.passed
        self.asked = Weights.with_canary(position.asked)
        self.last_read = position.seen_at
        self.baseline_done = position.baseline_done
        self.leaving = position.leaving
        self.adopting = position.adopting
        self.inputs = dict(position.inputs)
        self.asked_since = position.asked_since + unwatched if position.asked_since else None
        self.heard = position.heard
        self.hooks_done = frozenset(position.hooks_done)
        self.alarms = Alarms(position.alarms)
        self.evidence = load_state(position.judge)
        self.pods = _PODS.validate_json(position.pods)

    def leave(self, reason: str) -> None:
        """Decide that all traffic goes to stable: from here on nothing waits for the record."""
        self.leaving = self.leaving or reason
        self.journal.is_patient = True

    def rest(self, duration: timedelta) -> None:
        """Let time pass, and say now and then that the owner lives; a word from outside ends it, and is due at once."""
        end = self.ports.clock.now() + duration
        while (left := end - self.ports.clock.now()) > timedelta(0):
            self.ports.clock.sleep(min(left, LISTEN))
            if self.last_beat is None or self.ports.clock.now() - self.last_beat >= BEAT:
                self.beat()
            if self._is_spoken_to():
                self.next_tick = self.ports.clock.now()
                return

    def _is_spoken_to(self) -> bool:
        """Whether there is a word that was not taken up; asked every `LISTEN`, however short the rests are."""
        now = self.ports.clock.now()
        if self.last_listen is not None and now - self.last_listen < LISTEN:
            return False
        self.last_listen = now
        try:
            return len(self.ports.signals.read()) > self.heard
        except UnavailableError:  # the next look tells
            return False

    def hear(self, signals: Sequence[Signal], now: datetime) -> None:
        """Take up what was said from outside; what is new goes on record with the next write, and delays nothing."""
        for one in signals[self.heard :]:
            log.info("%s says %s: %s", one.who, one.kind, one.reason)
            self.journal.keep(SignalReceived(at=now, word=one.kind, who=one.who, reason=one.reason, count=one.count))
        approval = self.step.approval if self.step else None
        self.words = signals_for_step(signals, self.step.name if self.step else "", approval.by if approval else ())
        self.said, self.heard = tuple(signals), max(self.heard, len(signals))

    def record_heartbeat(self, now: datetime) -> None:
        """Take note of a look: the time since the last one is none to approve in where a person holds the rollout."""
        if self.asked_since is not None and self.words.paused:
            self.asked_since += now - (self.looked_at or now)
        self.looked_at = now

    def ask_approval(self, now: datetime) -> None:
        """Record, once for each step, that a person has to agree before it is left."""
        if self.asked_since is not None or self.step is None or self.step.approval is None:
            return
        self.asked_since, approval = now, self.step.approval
        reason = self.last_verdict.reason if self.last_verdict else ""
        until = now + approval.within
        step = self.step.name
        self.note(ApprovalRequested(at=now, step=step, until=until, otherwise=approval.otherwise, reason=reason))

    def beat(self) -> None:
        """Say that the owner lives.

        Raises
        ------
        LockedError
            When somebody else took the service over.
        ConflictError
            When the lock is lost and somebody took the traffic out of our hands, unless it is home already.
        """
        self.last_beat = self.ports.clock.now()
        try:
            self.ports.lock.renew()
        except UnavailableError as error:  # not lost: whoever takes it over will be seen at a later beat
            self.note_alarm(Trouble.LOCK_NOT_RENEWED, f"cannot renew the lock: {error}", self.last_beat)
        except ConflictError as error:
            if not self.is_home:
                raise
            log.info("%s", error)

    def note(self, event: Event) -> None:
        """Append an event to the record, and tell people where it is one for them."""
        self.scene = self.scene.after(event)
        if notice := self.scene.notice(event):
            self.ports.notices.send(notice)
        self.journal.append(event)

    def note_verdict(self, entry: VerdictEntry, now: datetime) -> None:
        """Record the verdict when it says something else than before."""
        before, self.last_verdict = self.last_verdict, entry
        if self.step is not None and (before is None or _gist(before) != _gist(entry)):
            log.info("%s: %s: %s", self.step.name, entry.outcome, entry.reason)
            self.note(VerdictChanged(at=now, step=self.step.name, verdict=entry))

    def note_decision(self, decision: DecisionMade) -> None:
        """Record the decision when it is another than before; a hold is recorded once."""
        gist = f"{decision.step}:{decision.decision}"
        if gist != self.last_decision:
            self.last_decision = gist
            log.info("%s: decision %s: %s", decision.step, decision.decision, decision.reason)
            self.note(decision)

    def note_alarm(
        self,
        trouble: Trouble,
        what: str,
        now: datetime,
        *,
        subject: str = "",
        every: timedelta = timedelta(0),
        needs_person: bool = False,
    ) -> None:
        """Record an alarm; of one that goes on people are reminded after 5, 10, 20, ... minutes, with a count.

        Parameters
        ----------
        trouble, subject
            What it is, and of what where there are several: these two alone say whether it is the same.
        what
            For people.
        now
            The present moment.
        every
            How often it is looked for; a scrape unless that is longer.
        needs_person
            Whether the rollout waits for somebody.
        """
        count = self.alarms.due(trouble, subject, now, every=max(every, self.plan.scrape))
        if count is None:
            return
        log.warning("%s: %s", trouble, what)
        alarm = Alarm(at=now, what=what, trouble=trouble, subject=subject, count=count, needs_person=needs_person)
        self.note(alarm)

    def count(self, readings: dict[str, float]) -> None:
        """Add one look's requests to the step's, from the second look after its split was seen.

        The first one may reach back to before the split was in force.
        """
        if self.step_since is None:
            self.is_counting = False
        elif not self.is_counting:
            self.is_counting = True
        else:
            canary = round(readings.get("canary.requests", 0.0))
            self.step_requests += canary + round(readings.get("stable.requests", 0.0))
            self.step_canary_requests += canary

    def note_readings(self, readings: dict[str, float], now: datetime) -> None:
        """Add one scrape's readings to the series."""
        points = [SeriesPoint.single(series, now, value) for series, value in readings.items()]
        self.journal.add_points(points)

    def note_end(self, state: EndState, reason: str, cause: str = "") -> Ended:
        """Record how it ended."""
        ended = Ended(at=self.ports.clock.now(), state=state, reason=reason, cause=cause)
        self.note(ended)
        self.journal.finish()
        return ended


def _gist(entry: VerdictEntry) -> tuple[object, ...]:
    first = entry.findings[0] if entry.findings else None
    source = any(finding.criterion == "source" for finding in entry.findings)  # whose counts were judged
    return (entry.outcome, source, first and (first.criterion, first.basis, first.outcome))
