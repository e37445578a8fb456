"""When requests are due: pure arithmetic, in seconds since the load began."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stage:
    """A stretch of time in which the rate runs in a straight line; rates in requests a second."""

    seconds: float
    """May be infinite, in the last stage, whose rate is then constant."""
    first: float
    last: float

    @property
    def requests(self) -> float:
        """Return how many requests are due in it."""
        return 0.0 if self.first == self.last == 0 else self.seconds * (self.first + self.last) / 2

    def when(self, number: float) -> float:
        """Return the seconds after which so many requests have been due, 0 <= number <= requests."""
        slope = (self.last - self.first) / self.seconds
        # The stable form of the quadratic's root: no difference of nearly equal numbers when the slope is slight.
        return 2 * number / (self.first + math.sqrt(max(self.first**2 + 2 * slope * number, 0.0))) if number else 0.0


Stages = tuple[Stage, ...]


def steady(rate: float, seconds: float = math.inf) -> Stages:
    """Return the stages of one rate."""
    return (Stage(seconds, rate, rate),)


def duration(stages: Stages) -> float:
    """Return how long the stages take, in seconds; may be infinite."""
    return sum(stage.seconds for stage in stages)


def requests_due(stages: Stages, seconds: float = math.inf) -> float:
    """Return how many requests are due in the first seconds of the stages.

    >>> requests_due((Stage(10, 0, 100), Stage(10, 100, 100)), 15)
    1000.0
    """
    requests, seconds_left = 0.0, seconds
    for stage in stages:
        stage_seconds = min(seconds_left, stage.seconds)
        if stage_seconds > 0:
            requests += Stage(stage_seconds, stage.first, rate_at((stage,), stage_seconds)).requests
        seconds_left -= stage_seconds
    return requests


def rate_at(stages: Stages, seconds: float) -> float:
    """Return the rate asked for at a moment, in requests a second; 0 after the end."""
    for stage in stages:
        if seconds <= stage.seconds:
            return stage.first + (stage.last - stage.first) * (seconds / stage.seconds)
        seconds -= stage.seconds
    return 0.0


def peak(stages: Stages) -> float:
    """Return the highest rate asked for."""
    return max(max(stage.first, stage.last) for stage in stages)


def scaled(stages: Stages, factor: float) -> Stages:
    """Return the stages at a multiple of their rates."""
    return tuple(Stage(stage.seconds, stage.first * factor, stage.last * factor) for stage in stages)


def cut(stages: Stages, seconds: float) -> Stages:
    """Return the stages up to a moment."""
    shortened: list[Stage] = []
    for stage in stages:
        stage_seconds = min(stage.seconds, seconds - duration(tuple(shortened)))
        if stage_seconds > 0:
            shortened.append(Stage(stage_seconds, stage.first, rate_at((stage,), stage_seconds)))
    return tuple(shortened)


def even(*, slot: int = 0, slots: int = 1) -> Iterator[float]:
    """Yield the numbers 0, 1, 2, ... of the requests that one of several equal generators sends."""
    return (float(number) for number in itertools.count(slot, slots))


def poisson(seed: str, *, slots: int = 1) -> Iterator[float]:
    """Yield the marks of a Poisson process: distances drawn from the exponential law, with mean `slots`."""
    draw = random.Random(seed)
    return itertools.accumulate(draw.expovariate(1 / slots) for _ in itertools.count())


def due_times(stages: Stages, marks: Iterable[float]) -> Iterator[float]:
    """Yield when requests are due: the moments at which the count asked for passes each mark.

    Computed from each stage's beginning, not summed, so that an hour of rounding does not move the rate.

    Parameters
    ----------
    stages
        The rate over time.
    marks
        Growing counts: `even()` for equal distances at a constant rate, `poisson()` for independent arrivals.

    >>> list(due_times(steady(4, seconds=1), even()))
    [0.0, 0.25, 0.5, 0.75]
    """
    remaining = iter(stages)
    stage, began, before = next(remaining, None), 0.0, 0.0
    for mark in marks:
        while stage is not None and mark - before >= stage.requests:
            began, before = began + stage.seconds, before + stage.requests
            stage = next(remaining, None)
        if stage is None:
            return
        yield began + stage.when(mark - before)
