"""How a rollout's end is told to a person and to a shell."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from rollout.events import Ended, EndState

EXIT_CODES: Final = {EndState.PROMOTED: 0, EndState.ROLLED_BACK: 3, EndState.HELD: 4, EndState.FAILED: 1}


def describe_end(ended: Ended) -> Text:
    """Return in a line how it ended, and why."""
    return Text.assemble((ended.state, "bold"), f": {ended.reason}")
