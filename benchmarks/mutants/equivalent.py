"""Mutants that change nothing that anybody could see: by module and change, with the reason."""

from __future__ import annotations

BOTH_ARE_NO = "its callers ask for yes or no: None is no"
A_SHORTCUT = "it only saves the filter below, which decides by itself"

EQUIVALENT: dict[tuple[str, str], str] = {
    ("decide", "one.requests_needed or 0 -> one.requests_needed or 1"): "only findings with a need are compared",
    ("guard", "return False -> return None"): BOTH_ARE_NO,
    (
        "increase",
        (
            "for other_name, other in later.targets.items() if other_name != name -> "
            "for other_name, other in later.targets.items()"
        ),
    ): "the target itself has its own proxy, which is asked for as well",
    ("increase", "newest - target.last > FORGOTTEN -> newest - target.last >= FORGOTTEN"): A_SHORTCUT,
    ("increase", "newest - target.last > FORGOTTEN -> newest - target.last <= FORGOTTEN"): A_SHORTCUT,
    ("increase", "newest - target.last -> newest + target.last"): A_SHORTCUT,
    ("triggers", "stuck: str = '' -> stuck: str = 'other'"): "each look sets it, and without a look its count is 0",
    ("triggers", "unready_scrapes: int = 0 -> unready_scrapes: int = 1"): "the first look sets it to 0",
    ("route_patches", "return False -> return None"): BOTH_ARE_NO,
    ("sequential", "values + np.zeros_like(decay) -> values - np.zeros_like(decay)"): "zero, for its shape alone",
    ("sequential", "step < len(sums) -> step <= len(sums)"): "the step more adds an empty slice",
    ("sequential", "-1 -> -2"): "numpy takes any negative number for the length that is left",
}
"""The line is not a part of the key: it moves with every change above it."""


def reason_equivalent(module: str, change: str) -> str | None:
    """Return why a change of a module cannot be noticed; None where it can."""
    return EQUIVALENT.get((module, change))
