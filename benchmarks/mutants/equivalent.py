"""Mutants that change nothing that anybody could see: by module and change, with the reason."""

from __future__ import annotations

EQUIVALENT: dict[tuple[str, str], str] = {}


def reason_equivalent(module: str, change: str) -> str | None:
    """Return why a change of a module cannot be noticed; None where it can."""
    return EQUIVALENT.get((module, change))
