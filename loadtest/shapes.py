"""How a load runs over time, as a person writes it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from loadtest.allowed_targets import HIGHEST_RATE
from loadtest.schedule import Leg, Legs, cut, steady
from rollout.document import as_written
from rollout.quantities import Duration, format_duration

LONGEST = timedelta(days=7)
Rate = Annotated[float, Field(gt=0, le=HIGHEST_RATE, strict=True)]


class Part(BaseModel):
    """A part of a profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=as_written)


def _some_time(value: timedelta) -> timedelta:
    if not timedelta(0) < value <= LONGEST:
        raise ValueError(f"allowed: more than 0s, at most {format_duration(LONGEST)}")
    return value


Time = Annotated[Duration, AfterValidator(_some_time)]


class Constant(Part):
    """One rate from start to end."""

    kind: Literal["constant"] = "constant"

    def legs(self, rate: float, seconds: float) -> Legs:
        """Return the rate over time."""
        return steady(rate, seconds)


class Ramp(Part):
    """A straight line up (or down) to the rate, which is then kept."""

    kind: Literal["ramp"]
    start: float = Field(default=0.0, ge=0, le=HIGHEST_RATE, strict=True)
    over: Time

    def legs(self, rate: float, seconds: float) -> Legs:
        """Return the rate over time."""
        return _followed((Leg(self.over.total_seconds(), self.start, rate),), rate, seconds)


class Stairs(Part):
    """Equal steps from a first rate to the rate, which is kept from the last step on."""

    kind: Literal["step"]
    start: Rate
    steps: int = Field(ge=2, le=100, strict=True)
    every: Time

    def legs(self, rate: float, seconds: float) -> Legs:
        """Return the rate over time."""
        rise = (rate - self.start) / (self.steps - 1)
        levels = [self.start + rise * number for number in range(self.steps - 1)]
        stairs = tuple(Leg(self.every.total_seconds(), level, level) for level in levels)
        return _followed(stairs, rate, seconds)


class Spike(Part):
    """The rate, a sudden peak, and the rate again."""

    kind: Literal["spike"]
    peak: Rate
    after: Time
    lasts: Time

    def legs(self, rate: float, seconds: float) -> Legs:
        """Return the rate over time."""
        before = Leg(self.after.total_seconds(), rate, rate)
        return _followed((before, Leg(self.lasts.total_seconds(), self.peak, self.peak)), rate, seconds)


class Soak(Part):
    """A slow start, then one rate for a long time."""

    kind: Literal["soak"]
    warm_up: Time = timedelta(minutes=1)

    def legs(self, rate: float, seconds: float) -> Legs:
        """Return the rate over time."""
        return _followed((Leg(self.warm_up.total_seconds(), 0.0, rate),), rate, seconds)


Shape = Annotated[Constant | Ramp | Stairs | Spike | Soak, Field(discriminator="kind")]


def _followed(first: Legs, rate: float, seconds: float) -> Legs:
    rest = seconds - sum(leg.seconds for leg in first)
    return (*first, Leg(rest, rate, rate)) if rest > 0 else cut(first, seconds)
