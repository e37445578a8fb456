"""Lines for a terminal. Others write what stands in them: reasons, names, records; none of it steers the terminal."""

from __future__ import annotations

from rich.console import Console

from rollout.terminal import printable


def print_line(line: str) -> None:
    """Print a line as it is, however long."""
    Console(highlight=False).print(printable(line), markup=False, soft_wrap=True)
