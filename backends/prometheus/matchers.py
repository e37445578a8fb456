"""Label matchers of the values that a label may have, whatever is in them."""

from __future__ import annotations

from collections.abc import Iterable

from backends.profiles.template import escape_regex
from rollout.selectors import Matcher, Operator


def one_of(label: str, values: Iterable[str]) -> Matcher:
    """Return the matcher of a label that has one of these values.

    >>> one_of("namespace", ["shop"]).promql, one_of("service.name", ['a"b', "c.d"]).promql
    ('namespace="shop"', '"service.name"=~"a\\\\"b|c\\\\\\\\.d"')
    """
    return matching(label, map(escape_regex, values))


def none_of(label: str, values: Iterable[str]) -> Matcher:
    """Return the matcher of a label that has none of these values."""
    return Matcher(label, Operator.NO_MATCH, "|".join(map(escape_regex, values)))


def matching(label: str, patterns: Iterable[str]) -> Matcher:
    """Return the matcher of a label that one of these patterns fits, from its beginning to its end."""
    first, *others = dict.fromkeys(patterns)
    if not others and escape_regex(first) == first:
        return Matcher(label, Operator.EQUAL, first)
    return Matcher(label, Operator.MATCH, "|".join((first, *others)))
