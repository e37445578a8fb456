"""The rollout plan: what a person writes in `rollout.yaml`, validated."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, model_validator

from rollout.errors import PlanError
from rollout.mistakes import mistakes, shown
from rollout.quantities import (
    Duration,
    Effect,
    Percent,
    Quantity,
    Ratio,
    format_duration,
    format_percent,
    parse_duration,
)

_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
Name = Annotated[str, Field(pattern=_NAME, max_length=63)]
"""A Kubernetes name: lower case letters, digits, dots and dashes."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class WhenInconclusive(StrEnum):
    """What happens at a step's deadline when the evidence is not enough."""

    PAUSE = "pause"
    ROLLBACK = "rollback"
    PROMOTE = "promote"


class WhenOrphaned(StrEnum):
    """What the guard does with a rollout whose owner is gone."""

    RESTORE = "restore"
    RESUME = "resume"


class Comparison(StrEnum):
    """What the canary is compared with."""

    STABLE = "stable"
    BASELINE = "baseline"


class WhenDrifted(StrEnum):
    """What happens when somebody else changes the split during a rollout."""

    REASSERT = "reassert"
    HOLD = "hold"
    ABORT = "abort"


class LatencyStatistic(StrEnum):
    """Which number the latency limits speak of."""

    MEAN = "mean"


class StableTrack(_Part):
    """The version that serves now."""

    version: Name = Field(description="Version label of the pods that serve now.")
    replicas: int = Field(ge=1, le=1000, description="How many of them serve all the traffic.")


class CanaryTrack(_Part):
    """The version that is being released."""

    version: Name = Field(description="Version label of the new pods.")


class Step(_Part):
    """One share of the traffic, held for a time."""

    name: Name
    canary: Percent = Field(description="The canary's share of the live traffic.")
    replicas: int = Field(ge=1, le=1000, description="Canary pods that serve it.")
    bake: Duration = Field(description="The least time the step is watched.")
    deadline: Duration = Field(
        default=timedelta(0),
        description="When the step is given up as inconclusive; twice the bake time unless said.",
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_deadline(cls, data: Any) -> Any:
        if isinstance(data, dict) and "deadline" not in data and "bake" in data:
            try:
                return data | {"deadline": format_duration(2 * parse_duration(data["bake"]))}
            except ValueError:
                pass  # the bake time's own error will be shown
        return data

    @model_validator(mode="after")
    def _bake_fits(self) -> Self:
        if self.bake <= timedelta(0):
            raise ValueError(f"bake is {format_duration(self.bake)}, allowed: more than 0s")
        if self.deadline < self.bake:
            raise ValueError(
                f"deadline is {format_duration(self.deadline)}, "
                f"allowed: the bake time ({format_duration(self.bake)}) or more"
            )
        return self


class ErrorCriterion(_Part):
    """Limits on the share of answers that are errors (HTTP 5xx)."""

    healthy_below: Ratio
    rollback_above: Ratio

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.rollback_above < self.healthy_below:
            raise ValueError(
                f"rollback_above is {format_percent(self.rollback_above)}, "
                f"allowed: healthy_below ({format_percent(self.healthy_below)}) or more"
            )
        return self


class SuccessCriterion(_Part):
    """Limit on the share of answers that are not errors."""

    healthy_above: Ratio


def _latency(value: timedelta) -> timedelta:
    if value <= timedelta(0):
        raise ValueError("allowed: a latency above 0ms")
    return value


def _format_latency(value: timedelta) -> str:
    return f"{value / timedelta(milliseconds=1):g}ms"


Latency = Annotated[Duration, AfterValidator(_latency), PlainSerializer(_format_latency)]


class LatencyCriterion(_Part):
    """Limits on how long an answer takes."""

    statistic: LatencyStatistic = LatencyStatistic.MEAN
    healthy_below: Latency
    rollback_above: Latency

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.rollback_above < self.healthy_below:
            raise ValueError(
                f"rollback_above is {_format_latency(self.rollback_above)}, "
                f"allowed: healthy_below ({_format_latency(self.healthy_below)}) or more"
            )
        return self


class PodCriterion(_Part):
    """How many restarts of one canary pod are a crash loop."""

    restarts: int = Field(default=2, ge=1, le=100)
    within: Duration = timedelta(minutes=5)


class Worse(StrEnum):
    """In which direction a ratio is worse."""

    HIGHER = "higher"
    LOWER = "lower"


Metric = Annotated[str, Field(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$", max_length=200)]
"""A metric's name in Prometheus."""
CriterionName = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9 _]*[A-Za-z0-9])?$", max_length=60)]


class RatioCriterion(_Part):
    """Two counters of the user's own whose ratio must not be worse on the canary, such as failed checkouts."""

    name: CriterionName = Field(description="What findings call it, such as failed checkouts.")
    events: Metric = Field(description="Counter of what happened, such as checkout_failures_total.")
    total: Metric = Field(description="Counter of how often it could have, such as checkouts_total.")
    worse: Worse = Field(default=Worse.HIGHER, description="Whether more events are worse, or fewer.")


class GaugeCriterion(_Part):
    """A limit on what each pod uses, such as memory, that counts only when it is broken for a time."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_name=True, serialize_by_alias=True)

    name: CriterionName = Field(description="What findings call it, such as memory.")
    metric: Metric = Field(
        description="The pods' metric, such as container_memory_working_set_bytes; a counter (its name ends in _total) "
        "is read as its increase a second."
    )
    rollback_above: Quantity = Field(description="The limit of one pod: a number, or a quantity such as 512Mi.")
    window: Duration = Field(alias="for", description="For how long every sample has to be above the limit.")


_TAKEN = frozenset({"errors", "success", "latency", "latency ratio", "pods", "traffic", "common mode"})
"""What the judge's own findings are called."""


class Criteria(_Part):
    """What is healthy, and what is rolled back."""

    errors: ErrorCriterion
    success: SuccessCriterion
    latency: LatencyCriterion
    pods: PodCriterion = PodCriterion()
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

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics of the pods that are read beside the mesh's own."""
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


class MinimumEffect(_Part):
    """Real differences from stable that are too small to matter."""

    latency: Effect = 0.1


class BaselineCheck(_Part):
    """How stable alone is watched before the canary gets traffic."""

    observe: Duration = timedelta(minutes=5)


def _above_zero(value: float) -> float:
    if not 0 < value < 0.5:
        raise ValueError("allowed: above 0% and below 50%")
    return value


ErrorChance = Annotated[Ratio, AfterValidator(_above_zero)]


class RolloutPlan(_Part):
    """A whole rollout: the service, its two versions, the steps and the criteria."""

    service: Name = Field(description="The service that is released.")
    stable: StableTrack
    canary: CanaryTrack
    baseline: BaselineCheck = BaselineCheck()
    steps: tuple[Step, ...]
    compare_with: Comparison = Field(
        default=Comparison.STABLE,
        description="What the canary is compared with: stable, or a fresh copy of it that gets the canary's share.",
    )
    retention: Duration = Field(default=timedelta(hours=72), description="How long the old version is kept.")
    criteria: Criteria
    minimum_effect: MinimumEffect = MinimumEffect()
    alpha: ErrorChance = Field(default=0.01, description="Chance of a false rollback over the whole rollout.")
    beta: ErrorChance = Field(default=0.05, description="Chance that a criterion passes an unhealthy canary.")
    scrape: Duration = Field(default=timedelta(seconds=5), description="How often evidence is read and judged.")
    warm_up: Duration = Field(
        default=timedelta(seconds=60), description="How long a fresh canary's relative latency is not judged."
    )
    timeout: Latency = Field(
        default=timedelta(seconds=15), description="The route's timeout: no answer takes longer than this."
    )
    when_inconclusive: WhenInconclusive = WhenInconclusive.PAUSE
    when_orphaned: WhenOrphaned = WhenOrphaned.RESTORE
    drift: WhenDrifted = Field(
        default=WhenDrifted.HOLD,
        description="When somebody else changes the split: write it again, hold and tell, or roll back.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.canary.version == self.stable.version:
            raise ValueError(f"canary.version is {self.canary.version!r}, allowed: a version other than stable's")
        if not 1 <= len(self.steps) <= 50:
            raise ValueError(f"steps has {len(self.steps)} entries, allowed: 1 to 50")
        shares = [step.canary for step in self.steps]
        if shares != sorted(set(shares)):
            raise ValueError(f"steps have canary shares {shares}, allowed: shares that grow from step to step")
        names = [step.name for step in self.steps]
        if len(set(names)) < len(names):
            raise ValueError(f"steps are named {names}, allowed: names of their own")
        if self.scrape < timedelta(milliseconds=500):
            raise ValueError(f"scrape is {format_duration(self.scrape)}, allowed: 500ms or more")
        for step in self.steps:
            if step.bake < self.scrape:
                raise ValueError(
                    f"steps.{step.name}.bake is {format_duration(step.bake)}, allowed: "
                    f"one scrape ({format_duration(self.scrape)}) or more"
                )
        return self

    def baseline_share(self, canary: float) -> float:
        """Return the baseline track's share beside a canary's (0-1): as much, where that is left."""
        return min(canary, 1 - canary) if self.compare_with == Comparison.BASELINE else 0.0

    def compared_share(self, canary: float) -> float:
        """Return the canary's share (0-1) of its own traffic and that of the track it is compared with."""
        other = 1 - canary if self.compare_with == Comparison.STABLE else self.baseline_share(canary)
        return canary / (canary + other) if canary else 0.0

    @property
    def horizon(self) -> timedelta:
        """The longest time over which the judge may look: the sum of all deadlines."""
        return sum((step.deadline for step in self.steps), timedelta(0))


def parse_plan(text: str, *, source: str = "plan") -> RolloutPlan:
    """Return the plan that YAML text holds.

    Parameters
    ----------
    text
        The content of a `rollout.yaml`.
    source
        What to call the text in an error, usually the file's name.

    Raises
    ------
    PlanError
        One line a mistake: field, value, what is allowed.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PlanError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise PlanError(
            f"{source}: got {shown(data)}, allowed: a mapping with service, stable, canary, steps, criteria"
        )
    return validate_plan(data, source=source)


def validate_plan(data: dict[str, Any], *, source: str = "plan") -> RolloutPlan:
    """Return the plan that plain data holds; see `parse_plan`."""
    try:
        return RolloutPlan.model_validate(data)
    except ValidationError as error:
        raise PlanError(mistakes(error, source=source, schema="docs/rollout.schema.json", whole=RolloutPlan)) from error


def dump_plan(plan: RolloutPlan) -> str:
    """Return the plan as YAML that `parse_plan` reads back to an equal one."""
    return yaml.safe_dump(plan.model_dump(mode="json"), sort_keys=False)


def plan_schema() -> dict[str, Any]:
    """Return the JSON schema of `rollout.yaml`."""
    return RolloutPlan.model_json_schema()
