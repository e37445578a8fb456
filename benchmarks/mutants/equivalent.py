"""Mutants that change nothing that anybody could see: by module and change, with the reason."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str], str] = {
    ("sequential", "values + np.zeros_like(keep) -> values - np.zeros_like(keep)"): "zero, for its shape alone",
    ("sequential", "step < len(sums) -> step <= len(sums)"): "the step more adds an empty slice",
    ("sequential", "-1 -> -2"): "numpy takes any negative number for the length that is left",
    (
        "decide",
        "one.requests_needed or 0 -> one.requests_needed or 1",
    ): "only findings with a need are compared: the default is never taken",
}
"""The line is not a part of the key: it moves with every change above it."""


def reason_equivalent(module: str, change: str) -> str | None:
    """Return why a change of a module cannot be noticed; None where it can."""
    return EQUIVALENT.get((module, change))
