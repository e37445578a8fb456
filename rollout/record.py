"""The rollout's record: every event with its time, evidence and reason. The report's only input."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rollout.errors import PlanError
from rollout.hooks import HookMoment, WhenHookFails
from rollout.model import Basis, Outcome, Question, SplitCause, Trouble, Verdict
from rollout.plan import RolloutPlan, WhenInconclusive, WhenOrphaned
from rollout.signals import SignalKind

MAX_POINTS = 2000
"""Points a series keeps: enough for a page-wide chart, and a bounded record after 24 h."""


class _Entry(BaseModel):
    # An infinite log evidence is written as text: JSON has no word for it, and `null` could not be read back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class EndState(StrEnum):
    """How a rollout ended."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    HELD = "held"
    """A step's deadline passed without enough evidence, and a person has to say what happens."""
    FAILED = "failed"
    """The rollout could not go on; all traffic was put on stable."""


class FindingEntry(_Entry):
    """A finding, as the record keeps it; see `rollout.model.Finding`."""

    criterion: str
    basis: Basis
    outcome: Outcome
    reason: str
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    limit: float | None = None
    unit: str = ""
    log_evidence: float = 0.0
    log_needed: float | None = None
    requests_needed: int | None = None
    seconds_needed: float | None = None
    answers: Question = Question.OTHER
    cause: SplitCause | None = None
    """The likely cause of a split that is not the one asked for; None in all other findings."""


class VerdictEntry(_Entry):
    """A verdict, as the record keeps it; see `rollout.model.Verdict`."""

    outcome: Outcome
    reason: str
    findings: tuple[FindingEntry, ...]
    rollback_evidence: float
    rollback_needed: float
    promotion_evidence: float
    promotion_needed: float


class _Event(_Entry):
    at: AwareDatetime


class Started(_Event):
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


class BaselineChecked(_Event):
    """Stable alone was watched and found fit to be compared with."""

    kind: Literal["baseline checked"] = "baseline checked"
    reason: str
    requests: int
    error_ratio: float
    latency_ms: float | None
    history_seconds: float = 0.0
    """How much of the time before the rollout the judge has learnt from."""


class StepStarted(_Event):
    """A step's share is in force and verified: the judge's clock starts."""

    kind: Literal["step started"] = "step started"
    step: str
    canary: int


class Scaled(_Event):
    """A track has been given this many pods, and they are ready (or gone)."""

    kind: Literal["scaled"] = "scaled"
    track: str
    replicas: int
    seconds: float


class WeightsSet(_Event):
    """The gateway has these weights in force."""

    kind: Literal["weights set"] = "weights set"
    stable: int
    canary: int
    reason: str
    milliseconds: float
    """From asking to the gateway's own word that it took them."""


class Mirrored(_Event):
    """Live requests were copied to the canary for a time, and nobody got its answers."""

    kind: Literal["mirrored"] = "mirrored"
    share: int
    """Of the live requests, in percent."""
    seconds: float
    requests: int
    """What the canary's own pods counted; 0 where only the gateway counts, which leaves copies out."""
    errors: int


class Drifted(_Event):
    """Somebody else changed the split."""

    kind: Literal["drifted"] = "drifted"
    asked: int
    """The canary's share that was asked for, in percent."""
    found: int
    who: str
    handled: Literal["reasserted", "held", "rolled back"]


class WeightsObserved(_Event):
    """The split was seen in the traffic itself."""

    kind: Literal["weights observed"] = "weights observed"
    canary: int
    observed: float
    requests: int
    seconds: float
    """From the gateway's word to enough requests counted."""


class VerdictChanged(_Event):
    """The judge says something else than before."""

    kind: Literal["verdict changed"] = "verdict changed"
    step: str
    verdict: VerdictEntry


class DecisionMade(_Event):
    """What the rule made of verdict and triggers; holds are recorded when their reason changes."""

    kind: Literal["decision made"] = "decision made"
    step: str
    decision: Literal["hold", "advance", "promote", "roll back"]
    reason: str


class Said(_Event):
    """Somebody said something to the rollout from outside, and it was heard."""

    kind: Literal["said"] = "said"
    word: SignalKind
    who: str
    reason: str
    count: int = 1


class ApprovalAsked(_Event):
    """A step has passed, and a person has to agree before it is left."""

    kind: Literal["approval asked"] = "approval asked"
    step: str
    until: AwareDatetime
    otherwise: WhenInconclusive
    reason: str
    """What the evidence says."""


class ComparisonRestarted(_Event):
    """The canary is no longer what was judged so far: the step's bake and the evidence for it begin again."""

    kind: Literal["comparison restarted"] = "comparison restarted"
    step: str
    reason: str


class StepEnded(_Event):
    """A step is over, with its last verdict."""

    kind: Literal["step ended"] = "step ended"
    step: str
    verdict: VerdictEntry
    observed: float | None
    """Canary's share of all requests counted over the step."""
    requests: int
    """Requests counted over the step, both tracks."""


class Adopted(_Event):
    """A version became what `stable` means; the one before keeps its pods for the plan's retention."""

    kind: Literal["adopted"] = "adopted"
    version: str
    former: str


class Fault(_Event):
    """A fault was put into the service on purpose, or taken out again."""

    kind: Literal["fault"] = "fault"
    what: str


class Alarm(_Event):
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


class HookEnded(_Event):
    """A hook of the plan has run; one that is asked again and again is told when it says something else."""

    kind: Literal["hook ended"] = "hook ended"
    hook: str
    when: HookMoment
    step: str = ""
    ok: bool
    reason: str
    """What it said: `answered 200`, `ended with exit code 3`."""
    seconds: float
    on_failure: WhenHookFails


class ClientTrack(_Entry):
    """What clients counted of one track; latencies from the moment a request was due."""

    requests: int
    failures: int
    mean_ms: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class LoadSummary(_Event):
    """What the load generator counted on its side."""

    kind: Literal["load summary"] = "load summary"
    requests: int
    failures: int
    failures_by_track: dict[str, int] = {}
    """Failed requests by the track that answered; `none` where no copy of the service did."""
    rate: float
    first_failures: dict[str, AwareDatetime] = {}
    """When a failed request was answered first, by track."""
    last_answers: dict[str, AwareDatetime] = {}
    """When any request was answered last, by track."""
    tracks: dict[str, ClientTrack] = {}
    """By the track that answered; `none` where no copy of the service did."""
    kinds: dict[str, int] = {}
    """Failed requests by track and kind, such as `none: status 503`."""
    synthetic: bool = False
    """Whether these clients were the rollout's own load beside the real traffic."""


class Drilled(_Event):
    """A drill of the rollback is over: what it has shown."""

    kind: Literal["drilled"] = "drilled"
    stopped: str
    """Where the chain stopped, and why; empty when all of it fired."""
    seconds: dict[str, float]
    """By part of the chain, in order: when it was done, since the first bad answer."""
    marked: int
    """Marked requests that the failing canary answered, by the load generator's own books."""
    counted: int
    """Requests of the failing canary's that the gateway counted meanwhile."""
    strays: int
    """Requests without the mark that reached it: counted by the gateway beyond the marked ones, or seen by clients."""

    @property
    def proven(self) -> bool:
        """Whether the whole chain fired, and nobody else was touched."""
        return not self.stopped


class TakenOver(_Event):
    """The rollout's owner was gone, and somebody else goes on with it or ends it."""

    kind: Literal["taken over"] = "taken over"
    who: str
    flow_run: str = ""
    """Id of the scheduler's run that goes on with it; empty where none does."""
    before: str
    """Who steered until then, and when that one was last heard of."""
    policy: WhenOrphaned
    found: str
    """What the world was like: the split in force, against the one that had been asked for."""


class Ended(_Event):
    """The rollout is over."""

    kind: Literal["ended"] = "ended"
    state: EndState
    reason: str


Event = Annotated[
    Started
    | BaselineChecked
    | StepStarted
    | Scaled
    | WeightsSet
    | Drifted
    | Mirrored
    | WeightsObserved
    | VerdictChanged
    | DecisionMade
    | Said
    | ApprovalAsked
    | ComparisonRestarted
    | StepEnded
    | Adopted
    | Fault
    | Alarm
    | HookEnded
    | LoadSummary
    | Drilled
    | TakenOver
    | Ended,
    Field(discriminator="kind"),
]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


class SeriesPoint(_Entry):
    """One value of one series; after thinning, several with their extremes."""

    series: str
    at: AwareDatetime
    low: float
    mean: float
    high: float
    count: int = 1

    @classmethod
    def single(cls, series: str, at: datetime, value: float) -> SeriesPoint:
        """Return the point that one value makes."""
        return cls(series=series, at=at, low=value, mean=value, high=value)


class RolloutRecord(_Entry):
    """Everything that happened, in order."""

    schema_version: Literal[1] = 1
    events: tuple[Event, ...] = ()
    series: dict[str, tuple[SeriesPoint, ...]] = {}
    damage: tuple[str, ...] = ()
    """What of it could not be read and is left out, each with file and line."""

    @property
    def started(self) -> Started | None:
        """The first event, once there is one."""
        return next((event for event in self.events if isinstance(event, Started)), None)

    @property
    def ended(self) -> Ended | None:
        """The last word, once it has been said."""
        return next((event for event in reversed(self.events) if isinstance(event, Ended)), None)


def verdict_entry(verdict: Verdict) -> VerdictEntry:
    """Return the verdict as the record keeps it."""
    return VerdictEntry(
        outcome=verdict.outcome,
        reason=verdict.reason,
        findings=tuple(
            FindingEntry(
                criterion=finding.criterion,
                basis=finding.basis,
                outcome=finding.outcome,
                reason=finding.reason,
                estimate=finding.estimate,
                interval=finding.interval,
                limit=finding.limit,
                unit=finding.unit,
                log_evidence=finding.log_evidence,
                log_needed=finding.log_needed,
                requests_needed=finding.requests_needed,
                seconds_needed=finding.time_needed.total_seconds() if finding.time_needed else None,
                answers=finding.answers,
                cause=finding.mismatch.cause if finding.mismatch else None,
            )
            for finding in verdict.findings
        ),
        rollback_evidence=verdict.rollback_evidence,
        rollback_needed=verdict.rollback_needed,
        promotion_evidence=verdict.promotion_evidence,
        promotion_needed=verdict.promotion_needed,
    )


def thinned(points: Sequence[SeriesPoint], most: int = MAX_POINTS) -> tuple[SeriesPoint, ...]:
    """Return the points of one series, neighbours merged in pairs until at most `most` are left."""
    while len(points) > most:
        pairs = [points[i : i + 2] for i in range(0, len(points), 2)]
        points = [_merged(pair) if len(pair) == 2 else pair[0] for pair in pairs]
    return tuple(points)


def _merged(pair: Sequence[SeriesPoint]) -> SeriesPoint:
    first, second = pair
    count = first.count + second.count
    return SeriesPoint(
        series=first.series,
        at=first.at,
        low=min(first.low, second.low),
        mean=(first.mean * first.count + second.mean * second.count) / count,
        high=max(first.high, second.high),
        count=count,
    )


def dump_event(event: Event) -> str:
    """Return an event as one line of JSON."""
    return event.model_dump_json()


def parse_events(lines: Iterable[str]) -> tuple[Event, ...]:
    """Return the events that JSON lines hold; a last line cut short by a crash is left out."""
    texts = [line for line in lines if line.strip()]
    events = []
    for number, text in enumerate(texts, 1):
        try:
            events.append(_EVENT.validate_json(text))
        except ValidationError as error:
            if number == len(texts):
                break
            raise PlanError(f"record line {number}: not an event of a rollout record") from error
    return tuple(events)


def readable_events(lines: Sequence[str | bytes]) -> tuple[tuple[Event, ...], tuple[int, ...]]:
    """Return the events that can be read, and the numbers of the lines that cannot; a last one cut short is neither.

    >>> readable_events([b"\\xff", b'{"kind": "al'])
    ((), (1,))
    """
    events, damaged = list[Event](), list[int]()
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            events.append(_EVENT.validate_json(line))
        except ValidationError:
            damaged.append(number)
    if damaged and damaged[-1] == len(lines) and lines[-1][:1] in ("{", b"{"):
        damaged.pop()
    return tuple(events), tuple(damaged)


def dump_record(record: RolloutRecord) -> str:
    """Return the record as JSON."""
    return record.model_dump_json(indent=1)


def parse_record(text: str, *, source: str = "record") -> RolloutRecord:
    """Return the record that JSON text holds.

    Raises
    ------
    PlanError
        Naming the first field that does not fit.
    """
    try:
        return RolloutRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise PlanError(f"{source}: not a rollout record: {field}: {first['msg']}") from error
