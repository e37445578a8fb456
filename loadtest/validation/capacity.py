"""The highest rate that still meets the criteria: a staircase, up in leaps until one fails, then halving the gap."""

from __future__ import annotations

from collections.abc import Callable

from rollout.formatting import format_number
from rollout.load_test_result import Capacity, CapacityStep, ValidationResult
from rollout.model import Outcome

GROWTH_FACTOR = 1.5
TOLERANCE = 0.1
"""Share of the rate within which the search ends."""
MOST_STEPS = 12
LATE_MS = 100.0
"""Lateness of the generator, at its 99th percentile, from which on it is the generator that is measured."""


def find_capacity(run_at: Callable[[float], ValidationResult], *, start: float, ceiling: float) -> Capacity:
    """Return the highest rate of a staircase that met all criteria; the search goes up until one fails.

    Parameters
    ----------
    run_at
        Puts a rate on the service for a while, in requests a second.
    start, ceiling
        The first rate, and one that is never passed.
    """
    stairs: list[CapacityStep] = []
    highest_passed, lowest_failed, rate = 0.0, None, min(start, ceiling)
    while len(stairs) < MOST_STEPS:
        result = run_at(rate)
        stairs.append(_capacity_step(rate, result))
        if is_generator_late(result):
            return _capacity(
                highest_passed, stairs, "Beyond it the load generator itself was late on this machine, not the service."
            )
        if result.outcome is Outcome.FAIL:
            lowest_failed = rate
        else:
            highest_passed = rate
        if highest_passed >= ceiling:
            return _capacity(
                highest_passed, stairs, f"The search ends there, at the ceiling of {format_number(ceiling)} a second."
            )
        if lowest_failed is not None and lowest_failed - highest_passed <= TOLERANCE * lowest_failed:
            return _capacity(highest_passed, stairs, f"At {format_number(lowest_failed)} a second a criterion failed.")
        rate = (
            min(highest_passed * GROWTH_FACTOR, ceiling)
            if lowest_failed is None
            else _next_rate(highest_passed, lowest_failed)
        )
    return _capacity(highest_passed, stairs, f"The search ended after {MOST_STEPS} rates.")


def is_generator_late(result: ValidationResult) -> bool:
    """Return whether the generator could not keep up, so that the service is not what was measured."""
    return (result.lateness_p99_ms or 0.0) > LATE_MS


def _next_rate(highest_passed: float, lowest_failed: float) -> float:
    return float(f"{(highest_passed + lowest_failed) / 2 if highest_passed else lowest_failed / 2:.3g}")


def _capacity_step(rate: float, result: ValidationResult) -> CapacityStep:
    return CapacityStep(rate=rate, reached=result.reached, outcome=result.outcome, reason=result.reason)


def _capacity(highest_passed: float, stairs: list[CapacityStep], bounded_by: str) -> Capacity:
    proven = max((stair.rate for stair in stairs if stair.outcome is Outcome.PASS), default=None)
    if highest_passed > (proven or 0.0):
        bounded_by += (
            f" Up to {format_number(highest_passed)} a second no criterion failed, "
            "but there were too few requests to show that all hold."
        )
    return Capacity(rate=proven, bounded_by=bounded_by, stairs=tuple(stairs))
