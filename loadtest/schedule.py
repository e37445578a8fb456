"""When requests are due: pure arithmetic, in seconds since the load began."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Leg:
    """A stretch of time in which the rate runs in a straight line; rates in requests a second."""

    seconds: float
    """May be infinite, in the last leg, whose rate is then constant."""
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


Legs = tuple[Leg, ...]


def steady(rate: float, seconds: float = math.inf) -> Legs:
    """Return the legs of one rate."""
    return (Leg(seconds, rate, rate),)


def duration(legs: Legs) -> float:
    """Return how long the legs take, in seconds; may be infinite."""
    return sum(leg.seconds for leg in legs)


def requests_due(legs: Legs, seconds: float = math.inf) -> float:
    """Return how many requests are due in the first seconds of the legs.

    >>> requests_due((Leg(10, 0, 100), Leg(10, 100, 100)), 15)
    1000.0
    """
    found, left = 0.0, seconds
    for leg in legs:
        part = min(left, leg.seconds)
        if part > 0:
            found += Leg(part, leg.first, rate_at((leg,), part)).requests
        left -= part
    return found


def rate_at(legs: Legs, seconds: float) -> float:
    """Return the rate asked for at a moment, in requests a second; 0 after the end."""
    for leg in legs:
        if seconds <= leg.seconds:
            return leg.first + (leg.last - leg.first) * (seconds / leg.seconds)
        seconds -= leg.seconds
    return 0.0


def peak(legs: Legs) -> float:
    """Return the highest rate asked for."""
    return max(max(leg.first, leg.last) for leg in legs)


def scaled(legs: Legs, factor: float) -> Legs:
    """Return the legs at a multiple of their rates."""
    return tuple(Leg(leg.seconds, leg.first * factor, leg.last * factor) for leg in legs)


def cut(legs: Legs, seconds: float) -> Legs:
    """Return the legs up to a moment."""
    kept: list[Leg] = []
    for leg in legs:
        part = min(leg.seconds, seconds - duration(tuple(kept)))
        if part > 0:
            kept.append(Leg(part, leg.first, rate_at((leg,), part)))
    return tuple(kept)


def even(*, slot: int = 0, slots: int = 1) -> Iterator[float]:
    """Yield the numbers 0, 1, 2, ... of the requests that one of several equal generators sends."""
    return (float(number) for number in itertools.count(slot, slots))


def poisson(seed: str, *, slots: int = 1) -> Iterator[float]:
    """Yield the marks of a Poisson process: distances drawn from the exponential law, with mean `slots`."""
    draw = random.Random(seed)
    return itertools.accumulate(draw.expovariate(1 / slots) for _ in itertools.count())


def due_times(legs: Legs, marks: Iterable[float]) -> Iterator[float]:
    """Yield when requests are due: the moments at which the count asked for passes each mark.

    Computed from each leg's beginning, not summed, so that an hour of rounding does not move the rate.

    Parameters
    ----------
    legs
        The rate over time.
    marks
        Growing counts: `even()` for equal distances at a constant rate, `poisson()` for independent arrivals.

    >>> list(due_times(steady(4, seconds=1), even()))
    [0.0, 0.25, 0.5, 0.75]
    """
    rest = iter(legs)
    leg, began, before = next(rest, None), 0.0, 0.0
    for mark in marks:
        while leg is not None and mark - before >= leg.requests:
            began, before = began + leg.seconds, before + leg.requests
            leg = next(rest, None)
        if leg is None:
            return
        yield began + leg.when(mark - before)
