"""Everything that is printed goes through here: what comes from outside moves no cursor and hides nothing."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from rollout.formatting import printable


class Terminal(Console):
    """A terminal, or a file in its place, that shows text as it is: marks in brackets and colons mean nothing."""

    def __init__(self, **named: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | named)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield what is to be written; styles and moves of the cursor that are our own stand beside the text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=printable(segment.text))


def print_line(line: str) -> None:
    """Print a line as it is, however long."""
    Terminal().print(line, soft_wrap=True)


def complain(text: str) -> None:
    """Write a line to standard error."""
    print(printable(text), file=sys.stderr)  # noqa: T201


def log_to_terminal() -> None:
    """Let warnings and worse be told as plain lines on standard error, whoever's they are."""
    handler = logging.StreamHandler()
    handler.setFormatter(_VisibleLines("%(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.setLogRecordFactory(_VisibleRecord)  # Prefect has handlers of its own


class _VisibleLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the message, and the traceback where there is one, as they may be shown."""
        return printable(super().format(record))


class _VisibleRecord(logging.LogRecord):
    def getMessage(self) -> str:  # noqa: N802 - logging's name
        """Return the message as it may be shown."""
        return printable(super().getMessage())
