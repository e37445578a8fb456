"""Label matchers in PromQL; a name or a value is never pasted into one, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from backends.profiles.template import escape_regex

_PLAIN: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""A label's name that needs no quotes; those that do, Prometheus 3 alone takes."""
_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r"})


def one_of(label: str, values: Iterable[str]) -> str:
    """Return the matcher of a label that has one of these values.

    >>> one_of("namespace", ["shop"]), one_of("service.name", ['a"b', "c.d"])
    ('namespace="shop"', '"service.name"=~"a\\\\"b|c\\\\\\\\.d"')
    """
    return matching(label, map(escape_regex, values))


def none_of(label: str, values: Iterable[str]) -> str:
    """Return the matcher of a label that has none of these values."""
    return f"{_name(label)}!~{_quoted('|'.join(map(escape_regex, values)))}"


def matching(label: str, patterns: Iterable[str]) -> str:
    """Return the matcher of a label that one of these patterns fits, from its beginning to its end."""
    first, *others = dict.fromkeys(patterns)
    if not others and escape_regex(first) == first:
        return f"{_name(label)}={_quoted(first)}"
    return f"{_name(label)}=~{_quoted('|'.join((first, *others)))}"


def selector(matchers: Iterable[str]) -> str:
    """Return the matchers as a selector."""
    return "{" + ", ".join(matchers) + "}"


def _name(label: str) -> str:
    return label if _PLAIN.fullmatch(label) else _quoted(label)


def _quoted(text: str) -> str:
    return f'"{text.translate(_ESCAPES)}"'
