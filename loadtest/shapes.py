"""How a load runs over time, as a person writes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from loadtest.allowed_targets import HIGHEST_RATE
from loadtest.schedule import Stage, Stages, cut, steady
from rollout.document import as_written
from rollout.quantities import Duration, format_duration

LONGEST = timedelta(days=7)
Rate = Annotated[float, Field(gt=0, le=HIGHEST_RATE, strict=True)]


class ProfileSection(BaseModel):
    """A part of a profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=as_written)


def _positive(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= LONGEST:
        raise ValueError(f"allowed: more than 0s, at most {format_duration(LONGEST)}")
    return value


Time = Annotated[Duration, AfterValidator(_positive)]


class Constant(ProfileSection):
    """One rate from start to end."""

    kind: Literal["constant"] = "constant"

    def stages(self, rate: float, seconds: float) -> Stages:
        """Return the rate over time."""
        return steady(rate, seconds)


class Ramp(ProfileSection):
    """A straight line up (or down) to the rate, which is then kept."""

    kind: Literal["ramp"]
    start: float = Field(default=0.0, ge=0, le=HIGHEST_RATE, strict=True)
    over: Time

    def stages(self, rate: float, seconds: float) -> Stages:
        """Return the rate over time."""
        return _then_steady((Stage(self.over.total_seconds(), self.start, rate),), rate, seconds)


class Stairs(ProfileSection):
    """Equal steps from a first rate to the rate, which is kept from the last step on."""

    kind: Literal["step"]
    start: Rate
    steps: int = Field(ge=2, le=100, strict=True)
    every: Time

    def stages(self, rate: float, seconds: float) -> Stages:
        """Return the rate over time."""
        rise = (rate - self.start) / (self.steps - 1)
        levels = [self.start + rise * number for number in range(self.steps - 1)]
        stairs = tuple(Stage(self.every.total_seconds(), level, level) for level in levels)
        return _then_steady(stairs, rate, seconds)


class Spike(ProfileSection):
    """The rate, a sudden peak, and the rate again."""

    kind: Literal["spike"]
    peak: Rate
    after: Time
    lasts: Time

    def stages(self, rate: float, seconds: float) -> Stages:
        """Return the rate over time."""
        before = Stage(self.after.total_seconds(), rate, rate)
        return _then_steady((before, Stage(self.lasts.total_seconds(), self.peak, self.peak)), rate, seconds)


class Soak(ProfileSection):
    """A slow start, then one rate for a long time."""

    kind: Literal["soak"]
    warm_up: Time = timedelta(minutes=1)

    def stages(self, rate: float, seconds: float) -> Stages:
        """Return the rate over time."""
        return _then_steady((Stage(self.warm_up.total_seconds(), 0.0, rate),), rate, seconds)


Shape = Annotated[Constant | Ramp | Stairs | Spike | Soak, Field(discriminator="kind")]


def _then_steady(first: Stages, rate: float, seconds: float) -> Stages:
    seconds_left = seconds - sum(stage.seconds for stage in first)
    return (*first, Stage(seconds_left, rate, rate)) if seconds_left > 0 else cut(first, seconds)
