"""Label values with names left open, such as `{namespace}-{destination}-{port}@*`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

NAMES: Final = ("service", "namespace", "version", "track", "destination", "subset")
_OPEN: Final = {"{port}": "[a-z0-9]+", "*": ".*"}
"""What fits where nothing is known beforehand, as both RE2 and Python write it."""
_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_PART: Final = re.compile(r"\{\w*\}|\*")


@dataclass(frozen=True, slots=True)
class Pattern:
    """The values that a template allows."""

    regex: str
    """Anchored, as both RE2 and Python read it."""
    fixed: int
    """Characters of it that are fixed: of two patterns that fit the more particular one counts."""


def check_template(text: str) -> None:
    """Raise ValueError, naming what is allowed, where a template holds an unknown name."""
    allowed = {f"{{{name}}}" for name in NAMES} | set(_OPEN)
    if unknown := [part for part in _PART.findall(text) if part not in allowed]:
        raise ValueError(f"{unknown[0]} is no name, allowed: {', '.join(sorted(allowed))}")


def names_in(text: str) -> tuple[str, ...]:
    """Return the names that a template leaves to be filled in."""
    return tuple(part[1:-1] for part in _PART.findall(text) if part not in _OPEN)


def fill(text: str, names: Mapping[str, str]) -> Pattern | None:
    """Return what a template allows with these names; None where it has one that is not known.

    >>> fill("{namespace}-{service}-{port}@*", {"namespace": "eu", "service": "shop"})
    Pattern(regex='eu-shop-[a-z0-9]+@.*', fixed=9)
    >>> fill("{namespace}-{service}", {"service": "shop"})
    """
    regex, fixed, place = "", 0, 0
    for part in _PART.finditer(text):
        literal, name = text[place : part.start()], part.group()
        if (open_to := _OPEN.get(name)) is None and not (known := names.get(name[1:-1], "")):
            return None
        literal += "" if open_to else known
        regex, fixed, place = regex + escape_regex(literal) + (open_to or ""), fixed + len(literal), part.end()
    return Pattern(regex + escape_regex(text[place:]), fixed + len(text) - place)


def escape_regex(text: str) -> str:
    """Return the pattern that fits this text alone, in the form that Go's `regexp.QuoteMeta` gives it.

    >>> escape_regex("shop.eu-1")
    'shop\\\\.eu-1'
    """
    return _SPECIAL.sub(r"\\\g<0>", text)
