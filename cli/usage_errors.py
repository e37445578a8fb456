"""A mistake on the command line, told as every other one: the option, what was given, what is allowed."""

from __future__ import annotations

from typer import BadParameter
from typer.exceptions import TyperException


def describe_usage_error(error: TyperException) -> str:
    """Return what was wrong with the command line, in one line; empty when the help has been shown instead.

    Parameters
    ----------
    error
        What Typer says of it; where a value was of the wrong kind, its cause holds the value.
    """
    context = getattr(error, "ctx", None)
    hint = f" (see {context.command_path} --help)" if context else ""
    detail = _describe_value(error) if isinstance(error, BadParameter) else ""
    text = detail or " ".join(error.format_message().split())
    return text and text + hint


def _describe_value(error: BadParameter) -> str:
    """Return option, value and what is allowed; empty where the value was of the right kind."""
    from pydantic import ValidationError

    if not isinstance(cause := error.__cause__, ValidationError):
        return ""
    detail = cause.errors()[0]
    return f"{_option(error)}: got {str(detail['input'])!r}, allowed: {_allowed(detail['msg'])}"


def _option(error: BadParameter) -> str:
    names = getattr(error.param, "opts", None) or [str(getattr(error.param, "name", "argument"))]
    return str(names[-1])


def _allowed(message: str) -> str:
    """Return what Pydantic wants, without how it failed to read it."""
    text = message.removeprefix("Input should be ").partition(", unable to")[0]
    return text[0].lower() + text[1:]
