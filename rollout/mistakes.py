"""A person's mistakes in a file, told in a line each: field, value, what is allowed."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def mistakes(error: ValidationError, *, source: str, schema: str) -> str:
    """Return one line a mistake.

    Parameters
    ----------
    error
        What pydantic found.
    source
        What to call the file.
    schema
        Where its keys are listed.
    """
    return "\n".join(f"{source}: {_line(detail, schema)}" for detail in error.errors())


def _line(detail: ErrorDetails, schema: str) -> str:
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    message = " ".join(detail["msg"].removeprefix("Value error, ").split())
    match detail["type"]:
        case "missing":
            return f"{field}: missing, it has to be given"
        case "extra_forbidden":
            return f"{field}: unknown key (value {shown(detail['input'])}), allowed: the keys in {schema}"
        case "value_error" if isinstance(detail["input"], dict):
            return f"{field}.{message}".lstrip(".")  # a rule across fields names field and value itself
        case "value_error":
            return f"{field}: got {shown(detail['input'])}, {message}"
        case _:
            return f"{field}: got {shown(detail['input'])}, allowed: {message[0].lower()}{message[1:]}"


def shown(value: object) -> str:
    """Return a value as an error quotes it: in one line, and not all of a long one."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
