"""The values that a rollout is made of: tracks, weights, findings, verdicts, decisions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class Track(StrEnum):
    """Which copy of the service answered."""

    STABLE = "stable"
    BASELINE = "baseline"
    CANARY = "canary"


@dataclass(frozen=True, slots=True)
class Weights:
    """Shares of live traffic, in whole percent, summing to 100."""

    stable: int
    canary: int

    def __post_init__(self) -> None:
        if not 0 <= self.canary <= 100 or self.stable + self.canary != 100:
            raise ValueError(
                f"weights stable={self.stable} canary={self.canary}: allowed are whole percents 0-100 that sum to 100"
            )

    @classmethod
    def with_canary(cls, percent: int) -> Weights:
        """Return the weights that give the canary this share, and stable the rest."""
        return cls(stable=100 - percent, canary=percent)


AT_REST = Weights(stable=100, canary=0)


@dataclass(frozen=True, slots=True)
class Pod:
    """One running copy of a track, as the workload controller reports it."""

    name: str
    track: Track
    ready: bool
    restarts: int = 0
    waiting: str = ""
    """Why it does not run, first in Kubernetes' word: CrashLoopBackOff, ImagePullBackOff; empty when it does."""
    cannot_start: bool = False
    """Whether that is what no time will cure, such as an image that cannot be pulled."""
    out_of_memory: bool = False
    """Whether the platform ended it last for what memory it took."""


class Outcome(StrEnum):
    """What the evidence says of one criterion, or of all of them."""

    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


class Basis(StrEnum):
    """What a finding rests on."""

    RELATIVE = "relative"
    """Canary compared with stable."""
    ABSOLUTE = "absolute"
    """Canary held against a limit of the plan."""
    COMMON_MODE = "common mode"
    """Both tracks break the limit: not the canary's fault."""
    SAMPLE_RATIO = "sample ratio mismatch"
    """The observed share is not the weight that was asked for."""
    TRIGGER = "trigger"
    """A deterministic reason to act: crash loop, no ready pod, an abort, complaints."""
    CLIENTS = "clients"
    """What the load generator counted on its own side."""
    SOURCE_DOWN = "metrics source down"
    SERIES_ABSENT = "series absent"
    NO_TRAFFIC = "no traffic"
    STALE = "stale samples"
    NOTE = "note"
    """Worth knowing, and no evidence of anything."""


NO_DATA = frozenset({Basis.SOURCE_DOWN, Basis.SERIES_ABSENT, Basis.NO_TRAFFIC, Basis.STALE})
"""The four kinds of having nothing to judge. None of them is evidence against the canary."""


class SplitCause(StrEnum):
    """What a split that is not the one asked for most likely comes from."""

    NO_CANARY_PODS = "the subset of the canary has no pods"
    NO_STABLE_PODS = "the subset of stable has no pods"
    MIRROR = "a mirror that copies requests to the canary"
    KEPT_ON_STABLE = "sticky sessions, long-lived connections or a testers' header that keep clients on stable"
    KEPT_ON_CANARY = "sticky sessions, long-lived connections or a testers' header that keep clients on the canary"
    OTHER_ROUTE = (
        "the gateway itself splits otherwise (another route before it, a subset that selects other pods, "
        "or clients told apart by their address)"
    )


@dataclass(frozen=True, slots=True)
class SplitMismatch:
    """A split in the traffic that is not the one asked for; shares are the canary's, 0-1."""

    observed: float
    asked: float
    requests: float
    """Of both tracks, since it has been wrong."""
    cause: SplitCause


class Question(StrEnum):
    """What a finding answers."""

    HARM = "harm"
    """Does the canary do harm? Without evidence the answer is: no sign of it."""
    HEALTH = "health"
    """Has the canary been shown to be healthy? Without evidence the answer is: not yet."""
    OTHER = "other"
    """Something that a person should know."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Evidence on one criterion, with the sentence a person reads."""

    criterion: str
    """Its name in the plan or the judge: `errors`, `success`, `latency`, `pods`, `traffic`, ..."""
    basis: Basis
    outcome: Outcome
    reason: str
    estimate: float | None = None
    interval: tuple[float, float] | None = None
    limit: float | None = None
    unit: str = ""
    """Unit of estimate, interval and limit: `ratio` (0-1), `ms`, `x` (canary over stable), or empty."""
    log_evidence: float = 0.0
    """Natural log of the e-value against what this finding tests."""
    log_needed: float | None = None
    """The log evidence at which it becomes decisive."""
    requests_needed: int | None = None
    """Canary requests still missing at the present rates, where that can be said."""
    time_needed: timedelta | None = None
    answers: Question = Question.OTHER
    mismatch: SplitMismatch | None = None
    """How the traffic is split otherwise than asked; None in all other findings."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all criteria say together, at one scrape."""

    outcome: Outcome
    findings: tuple[Finding, ...]
    """Ordered by weight of evidence, most telling first."""
    rollback_evidence: float = 0.0
    """Log e-value of the rollback mixture."""
    rollback_needed: float = 0.0
    """log(1 / alpha): the line at which the canary is condemned."""
    promotion_evidence: float = 0.0
    """The weakest promotion criterion's log e-value."""
    promotion_needed: float = 0.0
    """log(1 / beta): the line that every promotion criterion has to reach."""

    @property
    def reason(self) -> str:
        """The most telling finding's sentence; of a pass, the one that was hardest to show."""
        if not self.findings:
            return "nothing has been judged yet"
        if self.outcome is not Outcome.PASS:
            return self.findings[0].reason
        shown = [finding for finding in self.findings if finding.outcome is Outcome.PASS]
        weakest = min(shown, key=lambda finding: finding.log_evidence if finding.log_needed else float("inf"))
        return f"all {len(shown)} criteria are met, the hardest one: {weakest.reason}"


class Occasion(StrEnum):
    """What a notice is about; Prefect's events are called `canary.` and this."""

    STARTED = "started"
    STEP = "step"
    """A step's share is in force and watched."""
    HELD = "held"
    """The rollout stands still, and a person has to say what happens."""
    APPROVAL_ASKED = "approval-asked"
    ALARM = "alarm"
    """Something a person should know that is not evidence against the canary."""
    TAKEN_OVER = "taken-over"
    """The rollout's process was gone, and another one goes on with it or ends it."""
    PROMOTED = "promoted"
    ROLLED_BACK = "rolled-back"
    FAILED = "failed"
    """The rollout could not go on; all traffic was put on stable."""


class Trouble(StrEnum):
    """What an alarm is about. A closed set: two alarms of one kind and subject are the same trouble."""

    METRICS_SOURCE_DOWN = "metrics source down"
    SERIES_ABSENT = "series absent"
    METRICS_PARTIAL = "metrics partial"
    """The source says that its answer may lack something."""
    JUDGED_BY_CLIENTS = "judged by the clients' own counts"
    COMPLAINTS_UNCOUNTED = "complaints uncounted"
    SIGNALS_UNSEEN = "signals unseen"
    PODS_UNSEEN = "pods unseen"
    PODS_NOT_READY = "pods not ready"
    POD_INPUTS_UNSEEN = "pod inputs unseen"
    WEIGHTS_UNSEEN = "weights unseen"
    """The gateway does not say how it splits the traffic."""
    NOT_ON_STABLE = "not on stable"
    """All traffic is to be on stable, and the gateway does not take it."""
    DRIFT_NOT_REASSERTED = "drift not reasserted"
    SPLIT_MISMATCH = "split mismatch"
    """The traffic is not split as asked; the subject is the likely cause."""
    TRAFFIC_NOT_DRAINED = "traffic not drained"
    MIRROR_NOT_ENDED = "mirror not ended"
    DRILL_NOT_CLEARED = "drill not cleared"
    CANARY_NOT_SCALED_DOWN = "canary not scaled down"
    NOT_ADOPTED = "stable not changed"
    """The promoted version is not what `stable` means yet."""
    LOCK_NOT_RENEWED = "lock not renewed"
    LOCK_HOLDER_SILENT = "lock holder silent"
    RECORD_NOT_WRITTEN = "record not written"
    NOTICES_UNDELIVERED = "notices undelivered"
    """The subject is the receiver."""
    LOAD_GENERATOR_ENDED = "load generator ended"
    LOAD_GENERATOR_NOT_RESTARTED = "load generator not restarted"
    LOAD_GENERATOR_LOST = "load generator lost"
    LOAD_RATE_NOT_SET = "load rate not set"
    LOAD_NOT_RECORDED = "load not recorded"
    HELD = "held"
    """A person is waited for; the subject is the step."""
    APPROVAL_OVERDUE = "approval overdue"
    """Nobody approved in time, and a person is waited for; the subject is the step."""
    HELD_BY_HOOK = "held by a hook"
    """The subject is the step, the hook and its outcome."""

    @property
    def is_repeated(self) -> bool:
        """Whether people are reminded while it goes on: not of a state that stands until somebody acts."""
        return self not in _TOLD_ONCE


_TOLD_ONCE = frozenset(
    {
        Trouble.HELD,
        Trouble.APPROVAL_OVERDUE,
        Trouble.HELD_BY_HOOK,
        Trouble.NOTICES_UNDELIVERED,
        Trouble.LOAD_GENERATOR_LOST,
        Trouble.SPLIT_MISMATCH,
    }
)
