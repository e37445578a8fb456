"""The events of a rollout, each with its time, evidence and reason: what the record is made of."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import AwareDatetime, Field

from rollout.decide import DecisionKind
from rollout.hooks import HookMoment, WhenHookFails
from rollout.model import Trouble
from rollout.plan import RolloutPlan, WhenInconclusive, WhenOrphaned
from rollout.signals import SignalKind
from rollout.verdict_entries import Entry, VerdictEntry


class EndState(StrEnum):
    """How a rollout ended."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    HELD = "held"
    """A step's deadline passed without enough evidence, and a person has to say what happens."""
    FAILED = "failed"
    """The rollout could not go on; all traffic was put on stable."""


class RecordedEvent(Entry):
    """Something that happened to a rollout, and when."""

    at: AwareDatetime


class Started(RecordedEvent):
    """A rollout began."""

    kind: Literal["started"] = "started"
    rollout: str
    plan: RolloutPlan
    who: str
    backend: str
    flow_run: str = ""
    """Id of the scheduler's run that carries it; empty where none does."""
    note: str = ""
    """What is out of the ordinary, such as a fault that the demo injects."""
    drill: str = ""
    """How the canary fails on purpose in a drill of the rollback; empty for a rollout."""


class BaselineChecked(RecordedEvent):
    """Stable alone was watched and found fit to be compared with."""

    kind: Literal["baseline checked"] = "baseline checked"
    reason: str
    requests: int
    error_ratio: float
    latency_ms: float | None
    history_seconds: float = 0.0
    """How much of the time before the rollout the judge has learnt from."""


class StepStarted(RecordedEvent):
    """A step's share is in force and verified: the judge's clock starts."""

    kind: Literal["step started"] = "step started"
    step: str
    canary: int


class Scaled(RecordedEvent):
    """A track has been given this many pods, and they are ready (or gone)."""

    kind: Literal["scaled"] = "scaled"
    track: str
    replicas: int
    seconds: float


class WeightsSet(RecordedEvent):
    """The gateway has these weights in force."""

    kind: Literal["weights set"] = "weights set"
    stable: int
    canary: int
    reason: str
    milliseconds: float
    """From asking to the gateway's own word that it took them."""


class TrafficMirrored(RecordedEvent):
    """Live requests were copied to the canary for a time, and nobody got its answers."""

    kind: Literal["mirrored"] = "mirrored"
    share: int  # of the live requests, in percent
    seconds: float
    requests: int
    """What the canary's own pods counted; 0 where only the gateway counts, which leaves copies out."""
    errors: int


class DriftDetected(RecordedEvent):
    """Somebody else changed the split."""

    kind: Literal["drifted"] = "drifted"
    asked: int
    """The canary's share that was asked for, in percent."""
    found: int
    who: str
    handled: Literal["reasserted", "held", "rolled back"]


class WeightsObserved(RecordedEvent):
    """The split was seen in the traffic itself."""

    kind: Literal["weights observed"] = "weights observed"
    canary: int
    observed: float
    requests: int
    seconds: float
    """From the gateway's word to enough requests counted."""


class VerdictChanged(RecordedEvent):
    """The judge says something else than before."""

    kind: Literal["verdict changed"] = "verdict changed"
    step: str
    verdict: VerdictEntry


class DecisionMade(RecordedEvent):
    """What the rule made of verdict and triggers; holds are recorded when their reason changes."""

    kind: Literal["decision made"] = "decision made"
    step: str
    decision: DecisionKind
    reason: str


class SignalReceived(RecordedEvent):
    """Somebody said something to the rollout from outside, and it was heard."""

    kind: Literal["said"] = "said"
    word: SignalKind
    who: str
    reason: str
    count: int = 1


class ApprovalRequested(RecordedEvent):
    """A step has passed, and a person has to agree before it is left."""

    kind: Literal["approval asked"] = "approval asked"
    step: str
    until: AwareDatetime
    otherwise: WhenInconclusive
    reason: str


class ComparisonRestarted(RecordedEvent):
    """The canary is no longer what was judged so far: the step's bake and the evidence for it begin again."""

    kind: Literal["comparison restarted"] = "comparison restarted"
    step: str
    reason: str


class StepEnded(RecordedEvent):
    """A step is over, with its last verdict."""

    kind: Literal["step ended"] = "step ended"
    step: str
    verdict: VerdictEntry
    observed: float | None
    """Canary's share of them."""
    requests: int
    """Requests counted over the step, both tracks."""


class StableChanged(RecordedEvent):
    """A version became what `stable` means; the one before keeps its pods for the plan's retention."""

    kind: Literal["adopted"] = "adopted"
    version: str
    former: str


class Fault(RecordedEvent):
    """A fault was put into the service on purpose, or taken out again."""

    kind: Literal["fault"] = "fault"
    what: str


class Alarm(RecordedEvent):
    """Something a person should know that is not evidence against the canary."""

    kind: Literal["alarm"] = "alarm"
    what: str
    trouble: Trouble | None = None
    """What it is about; None in records of versions that knew an alarm by its text."""
    subject: str = ""
    """What it is about it, where there are several: a receiver, a step, a hook, a likely cause."""
    count: int = 0
    """Times that the same trouble was seen since the alarm before."""
    needs_person: bool = False
    """Whether the rollout stands still until a person says what happens."""

    @property
    def text(self) -> str:
        """What people are told."""
        return f"{self.what} (seen {self.count:,} more times since the last alarm)" if self.count else self.what


class HookEnded(RecordedEvent):
    """A hook of the plan has run; one that is asked again and again is told when it says something else."""

    kind: Literal["hook ended"] = "hook ended"
    hook: str
    when: HookMoment
    step: str = ""
    ok: bool
    reason: str
    seconds: float
    on_failure: WhenHookFails


class ClientTrack(Entry):
    """What clients counted of one track; latencies from the moment a request was due."""

    requests: int
    failures: int
    mean_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class LoadSummary(RecordedEvent):
    """What the load generator counted on its side; by the track that answered, `none` where no copy did."""

    kind: Literal["load summary"] = "load summary"
    requests: int
    failures: int
    failures_by_track: dict[str, int] = Field(default_factory=dict)
    rate: float
    first_failures: dict[str, AwareDatetime] = Field(default_factory=dict)
    """When a failed request was answered first."""
    last_answers: dict[str, AwareDatetime] = Field(default_factory=dict)
    """When any request was answered last."""
    tracks: dict[str, ClientTrack] = Field(default_factory=dict)
    kinds: dict[str, int] = Field(default_factory=dict)
    """Failed requests by `rollout.load.failure_key`."""
    synthetic: bool = False
    """Whether these clients were the rollout's own load beside the real traffic."""


class DrillEnded(RecordedEvent):
    """A drill of the rollback is over: what it has shown."""

    kind: Literal["drilled"] = "drilled"
    stopped: str
    """Where the chain stopped, and why; empty when all of it fired."""
    seconds: dict[str, float]
    """By part of the chain, in order: when it was done, since the first bad answer."""
    marked: int
    """Marked requests that the failing canary answered, as the load generator counted."""
    counted: int
    """Requests that the gateway counted of it meanwhile."""
    strays: int
    """Requests without the mark that reached it: counted by the gateway beyond the marked ones, or seen by clients."""

    @property
    def proven(self) -> bool:
        """Whether the whole chain fired, and nobody else was touched."""
        return not self.stopped


class TakenOver(RecordedEvent):
    """The rollout's owner was gone, and somebody else goes on with it or ends it."""

    kind: Literal["taken over"] = "taken over"
    who: str
    flow_run: str = ""
    """Id of the scheduler's run that goes on with it; empty where none does."""
    before: str
    """Who steered until then, and when that one was last heard of."""
    policy: WhenOrphaned
    found: str
    """The split in force, against the one that had been asked for."""


class Ended(RecordedEvent):
    """The rollout is over."""

    kind: Literal["ended"] = "ended"
    state: EndState
    reason: str
    cause: str = ""
    """What stopped a drill, without the words around it in the reason."""
