"""What a plan calls healthy, and what it rolls back: the criteria that a person writes in `rollout.yaml`."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self, assert_never

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, model_validator

from rollout.answers import COMPARED, GRPC_ERRORS, GRPC_STATUSES
from rollout.document import as_written
from rollout.quantities import Duration, Quantity, Ratio, format_percent
from rollout.selectors import Selector

TRACK_LABELS = ("version", "app_kubernetes_io_version")
"""Labels by which a series belongs to a track."""
RECORDED = frozenset({
    *("requests_total", "errors_total", "duration_ms_bucket", "duration_ms_sum", "duration_ms_count"),
    *("restarts_total", "weight"),
})  # fmt: skip
"""Names that a recording gives to what the mesh counted."""


class Part(BaseModel):
    """A part of a plan: immutable, and without keys of its own invention."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=as_written)


class LatencyStatistic(StrEnum):
    """Which number the latency limits speak of."""

    MEAN = "mean"


def _grpc_status(name: str) -> str:
    if name not in GRPC_STATUSES[1:]:
        raise ValueError(f"allowed: {', '.join(GRPC_STATUSES[1:])}")
    return name


GrpcStatus = Annotated[str, AfterValidator(_grpc_status), Field(json_schema_extra={"enum": list(GRPC_STATUSES[1:])})]
"""The name of a gRPC status other than OK."""


class ErrorCriterion(Part):
    """Limits on the share of requests that end in an error of the server.

    HTTP: a status of 500 or more, or no whole answer. gRPC: the statuses of `grpc`.
    """

    healthy_below: Ratio = Field(description="An error share below this is healthy.")
    rollback_above: Ratio = Field(description="An error share above this is rolled back.")
    grpc: tuple[GrpcStatus, ...] = Field(
        default=GRPC_ERRORS, description="The gRPC statuses that are errors of the server; the others are not."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.rollback_above < self.healthy_below:
            raise ValueError(
                f"rollback_above is {format_percent(self.rollback_above)}, "
                f"allowed: healthy_below ({format_percent(self.healthy_below)}) or more"
            )
        return self


class SuccessCriterion(Part):
    """Limit on the share of requests that do not end in an error; a 4xx answer is the client's own doing."""

    healthy_above: Ratio = Field(description="A success share above this is healthy.")


def _latency(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("allowed: a latency above 0ms")
    return value


def _format_latency(value: timedelta) -> str:
    return f"{value / timedelta(milliseconds=1):g}ms"


Latency = Annotated[Duration, AfterValidator(_latency), PlainSerializer(_format_latency)]


class WhenDifferent(StrEnum):
    """What happens when the canary gives more answers of a kind than stable."""

    ROLLBACK = "rollback"
    HOLD = "hold"
    IGNORE = "ignore"


class AnswerCriterion(Part):
    """How answers that are no errors are compared: 204, redirects, 401, 403, 404, 429, other 4xx, requests cut off."""

    when_different: WhenDifferent = Field(
        default=WhenDifferent.ROLLBACK,
        description="What happens when the canary is shown to give more of them than stable: rollback, hold, ignore.",
    )


class LatencyCriterion(Part):
    """Limits on how long an answer takes."""

    statistic: LatencyStatistic = Field(default=LatencyStatistic.MEAN, description="Which number the limits speak of.")
    healthy_below: Latency = Field(description="A latency below this is healthy, such as 200ms.")
    rollback_above: Latency = Field(description="A latency above this is rolled back.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.rollback_above < self.healthy_below:
            raise ValueError(
                f"rollback_above is {_format_latency(self.rollback_above)}, "
                f"allowed: healthy_below ({_format_latency(self.healthy_below)}) or more"
            )
        return self


class PodCriterion(Part):
    """How many restarts of one canary pod are a crash loop."""

    restarts: int = Field(default=2, ge=1, le=100, description="How many restarts of one pod are a crash loop.")
    within: Duration = Field(default=timedelta(minutes=5), description="In which time they count.")


class Worse(StrEnum):
    """In which direction a ratio is worse."""

    HIGHER = "higher"
    LOWER = "lower"


def _selector(text: str) -> str:
    Selector.parse(text)
    return text


def _pods_metric(text: str) -> str:
    if text in RECORDED:
        raise ValueError(f"{text} is the mesh's own count in a recording; allowed: {text}{{}} for a metric of yours")
    for matcher in Selector.parse(text).matchers:
        if matcher.label in TRACK_LABELS:
            raise ValueError(
                f"{matcher.promql} chooses the track, which is compared; allowed: matchers of other labels"
            )
    return text


def _counter(text: str) -> str:
    selector = Selector.parse(text)
    if selector.metric.endswith("_created"):
        began = selector.metric.removesuffix("_created")
        raise ValueError(f"{selector.metric} is when a counter began; allowed: the counter, such as {began}_total")
    if selector.metric.endswith("_bucket") and "le" not in {matcher.label for matcher in selector.matchers}:
        raise ValueError(f'each bucket holds those below it; allowed: one edge, such as {selector.metric}{{le="0.5"}}')
    return text


SelectorText = Annotated[str, Field(min_length=1, max_length=400), AfterValidator(_selector)]
"""A metric's name in Prometheus, and the labels that its series must have."""
PodsMetric = Annotated[SelectorText, AfterValidator(_pods_metric)]
"""A selector of the pods' series; whose they are is not its matter."""
Counter = Annotated[PodsMetric, AfterValidator(_counter)]
"""A selector of the pods' counters."""
CriterionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9 _]*[A-Za-z0-9])?$", max_length=60)]


class ComplaintCriterion(Part):
    """How many complaints of users are a reason to roll back."""

    rollback_at: int = Field(default=3, ge=1, le=1_000_000, description="How many complaints roll back.")
    within: Duration = Field(default=timedelta(minutes=30), description="In which time they count.")
    counter: SelectorText | None = Field(
        default=None,
        description="Your own counter in Prometheus that counts them too, such as complaints_total{service='shop'}.",
    )


class RatioCriterion(Part):
    """Two counters of the user's own whose ratio must not be worse on the canary, such as failed checkouts."""

    name: CriterionName = Field(description="What findings call it, such as failed checkouts.")
    events: Counter = Field(
        description="Counter of what happened, such as checkout_failures_total or checkouts_total{status=~'5..'}."
    )
    total: Counter = Field(description="Counter of how often it could have, such as checkouts_total.")
    worse: Worse = Field(default=Worse.HIGHER, description="Whether more events are worse, or fewer.")


class GaugeCriterion(Part):
    """A limit on what each pod uses, such as memory, that counts only when it is broken for a time."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    name: CriterionName = Field(description="What findings call it, such as memory.")
    metric: PodsMetric = Field(
        description="The pods' metric, such as container_memory_working_set_bytes or "
        "jvm_memory_used_bytes{area='heap'}; a counter (its name ends in _total) is read as its increase a second."
    )
    rollback_above: Quantity = Field(description="The limit of one pod: a number, or a quantity such as 512Mi.")
    window: Duration = Field(alias="for", description="For how long every sample has to be above the limit.")


_TAKEN = frozenset({"errors", "success", "latency", "latency ratio", "pods", "traffic", "common mode", *COMPARED})
"""What the judge's own findings are called."""


class Criteria(Part):
    """What is healthy, and what is rolled back."""

    errors: ErrorCriterion = Field(description="Limits on the share of requests that end in an error of the server.")
    success: SuccessCriterion = Field(description="Limit on the share of requests that do not.")
    answers: AnswerCriterion = Field(
        default=AnswerCriterion(), description="How the other kinds of answers are compared with stable's."
    )
    latency: LatencyCriterion = Field(description="Limits on how long an answer takes.")
    pods: PodCriterion = Field(default=PodCriterion(), description="When a canary pod is in a crash loop.")
    complaints: ComplaintCriterion = Field(
        default=ComplaintCriterion(), description="How many complaints of users are a reason to roll back."
    )
    ratios: tuple[RatioCriterion, ...] = Field(
        default=(), max_length=20, description="Further ratios of counters that the canary is compared by."
    )
    gauges: tuple[GaugeCriterion, ...] = Field(
        default=(), max_length=20, description="Limits on what each pod uses, with the time they have to be broken for."
    )

    @model_validator(mode="after")
    def _named_apart(self) -> Self:
        names = [*(ratio.name for ratio in self.ratios), *(gauge.name for gauge in self.gauges)]
        for name in names:
            if name in _TAKEN or names.count(name) > 1:
                raise ValueError(f"ratios and gauges: two criteria are named {name!r}, allowed: names of their own")
        return self

    def describe_errors(self) -> str:
        """Return what counts as an error, for people."""
        grpc = f"gRPC {', '.join(self.errors.grpc)}" if self.errors.grpc else "no gRPC status"
        return f"an error is HTTP 5xx, no whole answer, or {grpc}; every other answer is a success"

    def describe_answers(self) -> str:
        """Return what becomes of answers that are no errors and that the canary gives more often, for people."""
        kinds = "empty answers, redirects, 401 and 403, 404, 429, other 4xx and requests cut off by clients"
        match self.answers.when_different:
            case WhenDifferent.ROLLBACK:
                return f"a canary that is shown to give more {kinds} than stable is rolled back"
            case WhenDifferent.HOLD:
                return f"a canary that is shown to give more {kinds} than stable is not promoted"
            case WhenDifferent.IGNORE:
                return f"{kinds} are not compared with stable's"
            case _:
                assert_never(self.answers.when_different)

    @property
    def metrics(self) -> tuple[str, ...]:
        """The selectors of the pods' series that are read beside the mesh's own."""
        ratios = (name for ratio in self.ratios for name in (ratio.events, ratio.total))
        return tuple(dict.fromkeys((*ratios, *(gauge.metric for gauge in self.gauges))))

    @model_validator(mode="after")
    def _overlap(self) -> Self:
        if self.success.healthy_above <= 1 - self.errors.rollback_above - 1e-12:
            raise ValueError(
                f"success.healthy_above is {format_percent(self.success.healthy_above)}, allowed: above "
                f"{format_percent(1 - self.errors.rollback_above)}, or a canary that this calls healthy is rolled back"
            )
        return self
