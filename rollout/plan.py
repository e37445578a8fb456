"""The rollout plan: what a person writes in `rollout.yaml`, validated."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from rollout.criteria import Criteria, Latency, Part
from rollout.document import mistakes, read_mapping
from rollout.errors import PlanError
from rollout.hooks import Hook
from rollout.load import LoadPlan
from rollout.model import Occasion
from rollout.quantities import (
    Duration,
    Effect,
    Percent,
    Ratio,
    format_duration,
    parse_duration,
)

_NAME = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
Name = Annotated[str, Field(pattern=_NAME, max_length=63)]
"""A Kubernetes name: lower case letters, digits, dots and dashes."""


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


class StableTrack(Part):
    """The version that serves now."""

    version: Name = Field(description="Version label of the pods that serve now.")
    replicas: int = Field(ge=1, le=1000, description="How many of them serve all the traffic.")


class CanaryTrack(Part):
    """The version that is being released."""

    version: Name = Field(description="Version label of the new pods.")


class Approval(Part):
    """A person's word that is asked for when a step has passed; the judge watches on meanwhile."""

    within: Duration = Field(default=timedelta(hours=24), description="How long it is waited for.")
    otherwise: WhenInconclusive = Field(
        default=WhenInconclusive.PAUSE, description="What happens when nobody has said anything by then."
    )
    by: tuple[Annotated[str, Field(min_length=1, max_length=200)], ...] = Field(
        default=(),
        max_length=50,
        description="Who may give it, as the record names people: user, or user@machine. Default: anybody.",
    )
    may_be_skipped: bool = Field(default=False, description="Whether `skip` and `promote-now` do without it.")

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.within <= timedelta(0):
            raise ValueError(f"within is {format_duration(self.within)}, allowed: more than 0s")
        return self


def _approval(value: object) -> object:
    return {} if value == "required" else value


class Step(Part):
    """One share of the traffic, held for a time."""

    name: Name = Field(description="What the step is called in the record.")
    canary: Percent = Field(description="The canary's share of the live traffic.")
    replicas: int = Field(ge=1, le=1000, description="Canary pods that serve it.")
    bake: Duration = Field(description="The least time the step is watched.")
    deadline: Duration = Field(
        default=timedelta(0),
        description="When the step is given up as inconclusive; twice the bake time unless said.",
    )
    approval: Annotated[Approval | None, BeforeValidator(_approval)] = Field(
        default=None, description="Whether a person has to agree before the step is left: `required`, or with a time."
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

    @property
    def longest(self) -> timedelta:
        """How long the step may last: its deadline, and what a person is waited for."""
        return self.deadline + (self.approval.within if self.approval else timedelta(0))


class MinimumEffect(Part):
    """Real differences from stable that are too small to matter."""

    latency: Effect = Field(default=0.1, description="A relative slow-down up to this is no harm.")


class Mirror(Part):
    """Copies of live requests for the canary, before any user is answered by it."""

    share: Percent = Field(description="How many of the live requests are copied.")
    replicas: int = Field(default=1, ge=1, le=1000, description="Canary pods that take them.")
    bake: Duration = Field(description="How long.")

    @model_validator(mode="after")
    def _lasts(self) -> Self:
        if self.bake <= timedelta(0):
            raise ValueError(f"bake is {format_duration(self.bake)}, allowed: more than 0s")
        return self


class MetricsSource(Part):
    """Who counts the requests."""

    profile: str = Field(
        default="istio",
        min_length=1,
        max_length=50_000,
        description="Where Prometheus has what: a shipped profile, such as istio or traefik, or a file of your own.",
    )
    namespace: str = Field(
        default="",
        max_length=63,
        pattern=r"^([a-z0-9]([-a-z0-9]*[a-z0-9])?)?$",
        description="The service's namespace, where nothing else names it, as for a backtest.",
    )


class BaselineCheck(Part):
    """How stable alone is watched before the canary gets traffic."""

    observe: Duration = Field(default=timedelta(minutes=5), description="How long stable alone is watched first.")


def _above_zero(value: float) -> float:
    if not 0 < value < 0.5:
        raise ValueError("allowed: above 0% and below 50%")
    return value


ErrorChance = Annotated[Ratio, AfterValidator(_above_zero)]


class RolloutPlan(Part):
    """A whole rollout: the service, its two versions, the steps and the criteria."""

    service: Name = Field(description="The service that is released.")
    stable: StableTrack = Field(description="The version that serves now.")
    canary: CanaryTrack = Field(description="The version that is being released.")
    baseline: BaselineCheck = Field(
        default=BaselineCheck(), description="Whether stable alone is fit to be compared with."
    )
    mirror: Mirror | None = Field(
        default=None, description="Copy live requests to the canary first; their answers reach nobody."
    )
    steps: tuple[Step, ...] = Field(description="The canary's shares, one after the other, growing.")
    metrics: MetricsSource = Field(default=MetricsSource(), description="Who counts the requests.")
    compare_with: Comparison = Field(
        default=Comparison.STABLE,
        description="What the canary is compared with: stable, or a fresh copy of it that gets the canary's share.",
    )
    retention: Duration = Field(default=timedelta(hours=72), description="How long the old version is kept.")
    criteria: Criteria = Field(description="What is healthy, and what is rolled back.")
    minimum_effect: MinimumEffect = Field(
        default=MinimumEffect(), description="Real differences from stable that are too small to matter."
    )
    alpha: ErrorChance = Field(default=0.01, description="Chance of a false rollback over the whole rollout.")
    beta: ErrorChance = Field(default=0.05, description="Chance that a criterion passes an unhealthy canary.")
    scrape: Duration = Field(default=timedelta(seconds=5), description="How often evidence is read and judged.")
    ready_within: Duration | None = Field(
        default=None,
        description="How long pods may take to become ready; as the Deployment says unless given, else 2m.",
    )
    warm_up: Duration = Field(
        default=timedelta(seconds=60), description="How long a fresh canary's relative latency is not judged."
    )
    timeout: Latency = Field(
        default=timedelta(seconds=15), description="The route's timeout: no answer takes longer than this."
    )
    when_inconclusive: WhenInconclusive = Field(
        default=WhenInconclusive.PAUSE, description="At a step's deadline without enough evidence."
    )
    when_orphaned: WhenOrphaned = Field(
        default=WhenOrphaned.RESTORE, description="What the guard does when the rollout's owner is gone."
    )
    load: LoadPlan = Field(default=LoadPlan(), description="Synthetic requests beside the real traffic.")
    drift: WhenDrifted = Field(
        default=WhenDrifted.HOLD,
        description="When somebody else changes the split: write it again, hold and tell, or roll back.",
    )
    hooks: tuple[Hook, ...] = Field(
        default=(), max_length=50, description="Requests and commands before, between and after the steps."
    )
    notify: tuple[Occasion, ...] = Field(
        default=tuple(Occasion), description="What the receivers in CANARY_NOTIFY are told of; everything unless said."
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
        if self.ready_within is not None and self.ready_within <= timedelta(0):
            raise ValueError(f"ready_within is {format_duration(self.ready_within)}, allowed: more than 0s")
        for step in self.steps:
            if step.bake < self.scrape:
                raise ValueError(
                    f"steps.{step.name}.bake is {format_duration(step.bake)}, allowed: "
                    f"one scrape ({format_duration(self.scrape)}) or more"
                )
        _check_hooks(self.hooks, names)
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
        """The longest time over which the judge may look: the sum of all deadlines, those of approvals too."""
        return sum((step.longest for step in self.steps), timedelta(0))


def _check_hooks(hooks: tuple[Hook, ...], steps: list[str]) -> None:
    names = [hook.name for hook in hooks]
    if len(set(names)) < len(names):
        raise ValueError(f"hooks are named {names}, allowed: names of their own")
    for hook in hooks:
        if unknown := [step for step in hook.steps if step not in steps]:
            raise ValueError(f"hooks.{hook.name}.steps names {unknown}, allowed: {steps}")


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
    data = read_mapping(text, source=source, keys="service, stable, canary, steps, criteria")
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
