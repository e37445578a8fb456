"""A person's mistakes in a file, told in a line each: field, value, what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from rollout.terminal import printable

MOST_MISTAKES = 20
"""Told of one file: whoever has mended these sees the rest."""
_SHAPES = {
    "tuple_type": "a list",
    "list_type": "a list",
    "model_type": "keys and values",
    "dict_type": "keys and values",
}
"""What pydantic's kinds of mistakes ask for, in a file's words."""


def mistakes(error: ValidationError, *, source: str, schema: str, whole: type[Any]) -> str:
    """Return one line a mistake.

    Parameters
    ----------
    error
        What pydantic found.
    source
        What to call the file.
    schema
        Where its keys are listed.
    whole
        What the file holds: its keys are suggested for unknown ones.
    """
    found = error.errors()
    lines = [_line(detail, schema, whole).removeprefix(": ") for detail in found[:MOST_MISTAKES]]
    if len(found) > MOST_MISTAKES:
        lines.append(f"{len(found) - MOST_MISTAKES} more mistakes")
    return printable("\n".join(f"{source}: {line}" for line in lines))


def _line(detail: ErrorDetails, schema: str, whole: type[Any]) -> str:
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:80]}" for part in detail["loc"]).lstrip(".")
    message = " ".join(detail["msg"].removeprefix("Value error, ").split())
    match detail["type"]:
        case "missing":
            return f"{field}: missing, it has to be given"
        case "extra_forbidden":
            return f"{field}: unknown key (value {shown(detail['input'])}), {_near(detail['loc'], schema, whole)}"
        case "value_error" if isinstance(detail["input"], dict):
            return f"{field}.{message}".lstrip(".")  # a rule across fields names field and value itself
        case "value_error":
            return f"{field}: got {shown(detail['input'])}, {message}"
        case kind if kind in _SHAPES:
            return f"{field}: got {shown(detail['input'])}, allowed: {_SHAPES[kind]}"
        case _:
            return f"{field}: got {shown(detail['input'])}, allowed: {message[0].lower()}{message[1:]}"


def _near(place: tuple[int | str, ...], schema: str, whole: type[Any]) -> str:
    """Return which key may have been meant, and where the keys are listed."""
    part: Any = whole
    for name in place[:-1]:
        fields = getattr(part, "model_fields", {})
        if isinstance(name, str):
            part = _kind(fields[name].annotation) if name in fields else None
    names = [field.alias or name for name, field in getattr(part, "model_fields", {}).items()]
    found = difflib.get_close_matches(str(place[-1]), names, n=1)
    allowed = f"allowed: the keys in {schema}"
    return f"did you mean {found[0]!r}? {allowed}" if found else allowed


def _kind(annotation: Any) -> Any:
    """Return the model that a field holds, also one of several."""
    return next((_kind(one) for one in get_args(annotation) if one is not Ellipsis), annotation)


def shown(value: object) -> str:
    """Return a value as an error quotes it: in one line, and not all of a long one."""
    text = "nothing" if value is None else _quoted(value, 60)
    return printable(text if len(text) <= 60 else text[:57] + "...")


def _quoted(value: object, most: int) -> str:
    """Return a value's `repr`, written out only so far that this many characters are there."""
    match value:
        case dict():
            parts = (f"{_quoted(key, most)}: {_quoted(part, most)}" for key, part in value.items())
            return "{" + _joined(parts, most) + "}"
        case list():
            return "[" + _joined((_quoted(part, most) for part in value), most) + "]"
        case str():
            return repr(value[: most + 10])
        case bytes():
            return repr(value[: most + 10].decode(errors="replace"))
        case int() if abs(value) >= 10**60:
            return f"a number of {value.bit_length()} bits"
        case _:
            return repr(value)


def _joined(parts: Iterable[str], most: int) -> str:
    text = ""
    for part in parts:
        text += (", " if text else "") + part
        if len(text) > most:
            break
    return text
