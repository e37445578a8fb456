"""Selectors of series in PromQL, as a person writes them in a plan: a metric's name and label matchers, no more.

A text is parsed once and never pasted into a query: what is sent is built from the parsed parts. Regular expressions
are Prometheus' own kind (RE2: linear in time, without look-around and back-references), anchored at both ends. They
are run by the regex engine of pydantic, which is of that kind; `\\d`, `\\w` and `\\b` know more than ASCII there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, TypeGuard

import promql_parser
from pydantic_core import SchemaError, SchemaValidator, core_schema

ALLOWED: Final = 'a metric\'s name and label matchers, such as http_requests_total{status=~"5.."}'
_NAME: Final = "__name__"
_PLAIN_METRIC: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_PLAIN_LABEL: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_KINDS: Final = {
    "AggregateExpr": "an aggregation",
    "BinaryExpr": "an operation on two expressions",
    "Call": "a function",
    "MatrixSelector": "a range",
    "NumberLiteral": "a number",
    "ParenExpr": "an expression in parentheses",
    "StringLiteral": 'a text; a quoted name stands in braces, as in {"http.requests"}',
    "SubqueryExpr": "a subquery",
    "UnaryExpr": "a sign before it",
}
"""What the parser's kinds of expressions are called."""
_ENDINGS: Final = ("", "}", '"}', "'}", "`}", '="a"}', 'a="a"}', '"a"}', 'n"}', "n'}", 'a"}')
"""What makes a selector of the beginning of one."""
_EVERYTHING: Final = "".join(map(chr, range(32, 127))) + "\n\u2603"
_PROBES: Final = ("", *_EVERYTHING, _EVERYTHING)
"""Values of which an expression that matches everything matches each."""


class Operator(StrEnum):
    """How a label's value is matched."""

    EQUAL = "="
    NOT_EQUAL = "!="
    MATCH = "=~"
    NO_MATCH = "!~"


@dataclass(frozen=True, slots=True)
class Matcher:
    """What a label has to be; a label that is absent is the empty text."""

    label: str
    operator: Operator
    value: str

    def matches(self, value: str) -> bool:
        """Return whether a label's value passes.

        >>> [Matcher("status", Operator.MATCH, "5..").matches(value) for value in ("503", "1503", "")]
        [True, False, False]
        """
        if self.operator in (Operator.EQUAL, Operator.NOT_EQUAL):
            return (value == self.value) == (self.operator is Operator.EQUAL)
        return _expression(self.value).isinstance_python(value) == (self.operator is Operator.MATCH)

    @property
    def promql(self) -> str:
        """The matcher as a query has it."""
        label = self.label if _PLAIN_LABEL.fullmatch(self.label) else quoted(self.label)
        return f"{label}{self.operator}{quoted(self.value)}"


@dataclass(frozen=True, slots=True)
class Selector:
    """Series of one metric."""

    metric: str
    matchers: tuple[Matcher, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Selector:
        """Return what a text selects.

        Raises
        ------
        ValueError
            When it is no selector, or none of one metric: with the place, and what is allowed.

        Examples
        --------
        >>> Selector.parse("orders_total{status=~'5..'}").promql
        'orders_total{status=~"5.."}'
        """
        return _parsed(text)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Return whether a series with these labels is one of them."""
        return labels.get(_NAME, "") == self.metric and all(
            matcher.matches(labels.get(matcher.label, "")) for matcher in self.matchers
        )

    def where(self, matchers: Iterable[Matcher]) -> Selector:
        """Return the series that also have these labels."""
        return Selector(self.metric, (*self.matchers, *matchers))

    @property
    def promql(self) -> str:
        """The selector as a query has it."""
        if not _PLAIN_METRIC.fullmatch(self.metric):
            return braced((Matcher(_NAME, Operator.EQUAL, self.metric), *self.matchers))
        return self.metric + (braced(self.matchers) if self.matchers else "")


def braced(matchers: Iterable[Matcher]) -> str:
    """Return matchers as a query has them."""
    return "{" + ", ".join(matcher.promql for matcher in matchers) + "}"


def quoted(text: str) -> str:
    """Return a text as a query quotes it: PromQL knows every escape of JSON's but one that is never needed."""
    return json.dumps(text, ensure_ascii=False)


def metric_name(text: str) -> str:
    """Return which metric a selector names; a text that is no selector names itself.

    >>> metric_name('orders_total{status="500"}'), metric_name("memory used")
    ('orders_total', 'memory used')
    """
    if _PLAIN_METRIC.fullmatch(text):
        return text
    try:
        return Selector.parse(text).metric
    except ValueError:
        return text


@lru_cache(maxsize=512)
def _parsed(text: str) -> Selector:
    try:
        expression = promql_parser.parse(text)
    except ValueError as error:
        raise ValueError(f"{_place(text)}: {error}; allowed: {ALLOWED}") from None
    if not _is_selector(expression):
        raise ValueError(f"{_place(text)}: {_describe_kind(expression)}; allowed: {ALLOWED}")
    parsed = expression.matchers.matchers
    matchers = [Matcher(matcher.name, _OPERATORS[str(matcher.op)], matcher.value) for matcher in parsed]
    metric = _metric(expression.name, [matcher for matcher in matchers if matcher.label == _NAME])
    return Selector(metric, tuple(_checked(matcher) for matcher in matchers if matcher.label != _NAME))


_OPERATORS: Final = {
    "MatchOp.Equal": Operator.EQUAL,
    "MatchOp.NotEqual": Operator.NOT_EQUAL,
    "MatchOp.Re": Operator.MATCH,
    "MatchOp.NotRe": Operator.NO_MATCH,
}


def _is_selector(expression: Any) -> TypeGuard[promql_parser.VectorSelector]:
    return (
        isinstance(expression, promql_parser.VectorSelector)
        and expression.offset is None
        and expression.at is None
        and not expression.matchers.or_matchers
    )


def _describe_kind(expression: Any) -> str:
    if not isinstance(expression, promql_parser.VectorSelector):
        return _KINDS.get(type(expression).__name__, "another expression")
    return "another moment than now (offset, @)" if not expression.matchers.or_matchers else "matchers joined by or"


def _metric(name: str | None, named: list[Matcher]) -> str:
    if name:
        return name
    if len(named) != 1 or named[0].operator is not Operator.EQUAL or not named[0].value:
        what = " and ".join(matcher.promql for matcher in named) or "no name"
        raise ValueError(f"{what} where one metric's name has to be; allowed: {ALLOWED}")
    return named[0].value


def _checked(matcher: Matcher) -> Matcher:
    """Return a matcher that leaves out some series, and not all."""
    if matcher.operator not in (Operator.MATCH, Operator.NO_MATCH):
        return matcher
    try:
        _validator(matcher.value)  # by itself: one that closes the group around it is none
        matches = {_expression(matcher.value).isinstance_python(probe) for probe in _PROBES}
    except SchemaError as error:
        cause = str(error).splitlines()[-1].strip()
        raise ValueError(f"{matcher.promql}: no regular expression of RE2 ({cause}); allowed: {ALLOWED}") from None
    if matches == {True}:
        what = "matches every series" if matcher.operator is Operator.MATCH else "matches no series"
        raise ValueError(f"{matcher.promql} {what}; allowed: matchers that choose, or none: leave it out")
    return matcher


@lru_cache(maxsize=512)
def _expression(text: str) -> SchemaValidator:
    return _validator(f"^(?s:{text})$")


def _validator(pattern: str) -> SchemaValidator:
    return SchemaValidator(core_schema.str_schema(pattern=pattern, regex_engine="rust-regex", strict=True))


def _place(text: str) -> str:
    """Return from where on a text is no selector."""
    size = max((size for size in range(len(text) + 1) if _begins(text[:size])), default=0)
    size += len(text[size:]) - len(text[size:].lstrip())
    return f"at character {size + 1}, {text[size:]!r}" if size < len(text) else "at its end"


def _begins(text: str) -> bool:
    return any(_parses(text + ending) for ending in _ENDINGS)


def _parses(text: str) -> bool:
    try:
        return _is_selector(promql_parser.parse(text))
    except ValueError:
        return False
