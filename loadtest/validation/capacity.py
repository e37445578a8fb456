"""The highest rate that still meets the criteria: a staircase, up in leaps until one fails, then halving the gap."""

from __future__ import annotations

from collections.abc import Callable

from rollout.formatting import format_number
from rollout.load_test_result import Capacity, Stair, ValidationResult
from rollout.model import Outcome

LEAP = 1.5
FINE = 0.1
"""Share of the rate within which the search ends."""
MOST_STAIRS = 12
LATE_MS = 100.0
"""Lateness of the generator, at its 99th percentile, from which on it is the generator that is measured."""


def find_capacity(tried: Callable[[float], ValidationResult], *, start: float, ceiling: float) -> Capacity:
    """Return the highest rate of a staircase that met all criteria; the search goes up until one fails.

    Parameters
    ----------
    tried
        Puts a rate on the service for a while, in requests a second.
    start, ceiling
        The first rate, and one that is never passed.
    """
    stairs: list[Stair] = []
    good, bad, rate = 0.0, None, min(start, ceiling)
    while len(stairs) < MOST_STAIRS:
        result = tried(rate)
        stairs.append(_stair(rate, result))
        if is_generator_late(result):
            return _found(
                good, stairs, "Beyond it the load generator itself was late on this machine, not the service."
            )
        if result.outcome is Outcome.FAIL:
            bad = rate
        else:
            good = rate
        if good >= ceiling:
            return _found(good, stairs, f"The search ends there, at the ceiling of {format_number(ceiling)} a second.")
        if bad is not None and bad - good <= FINE * bad:
            return _found(good, stairs, f"At {format_number(bad)} a second a criterion failed.")
        rate = min(good * LEAP, ceiling) if bad is None else _between(good, bad)
    return _found(good, stairs, f"The search ended after {MOST_STAIRS} rates.")


def is_generator_late(result: ValidationResult) -> bool:
    """Return whether the generator could not keep up, so that the service is not what was measured."""
    return (result.lateness_p99_ms or 0.0) > LATE_MS


def _between(good: float, bad: float) -> float:
    return float(f"{(good + bad) / 2 if good else bad / 2:.3g}")


def _stair(rate: float, result: ValidationResult) -> Stair:
    return Stair(rate=rate, reached=result.reached, outcome=result.outcome, reason=result.reason)


def _found(good: float, stairs: list[Stair], bounded_by: str) -> Capacity:
    shown = max((stair.rate for stair in stairs if stair.outcome is Outcome.PASS), default=None)
    if good > (shown or 0.0):
        bounded_by += (
            f" Up to {format_number(good)} a second no criterion failed, "
            "but there were too few requests to show that all hold."
        )
    return Capacity(rate=shown, bounded_by=bounded_by, stairs=tuple(stairs))
