"""Whether a guard looks after a world: it leaves a word at each look, and its process can be seen."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from backends.local.children import entry_of, lives
from backends.local.damaged_files import reaching, room_for
from backends.local.folder import StartedProcess, write_atomically

LATE_LOOKS = 3.0
"""Of its own pauses: a guard that has not looked for longer is none, whatever its process does."""
_SLACK_SECONDS = 30.0
"""What one look may take."""


class Presence(BaseModel):
    """What a guard leaves at each look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    process: StartedProcess
    looked_at: float
    every_seconds: float


def note_look(state: Path, every_seconds: float) -> None:
    """Leave word that this process has looked.

    Raises
    ------
    UnavailableError
        When the folder cannot be written.
    """
    file = _file(state)
    presence = Presence(process=entry_of("guard", os.getpid()), looked_at=time.time(), every_seconds=every_seconds)
    with reaching("write", file), room_for(file):
        write_atomically(file, presence.model_dump_json())


@dataclass(frozen=True, slots=True)
class Guarded:
    """Whether somebody takes over what loses its owner."""

    lives: bool
    words: str


def guard_of(state: Path) -> Guarded:
    """Return whether a guard looks after the world in a state folder, and since when not."""
    try:
        presence = Presence.model_validate_json(_file(state).read_bytes())
    except (OSError, ValidationError):
        return Guarded(lives=False, words="none has looked here")
    age = max(time.time() - presence.looked_at, 0.0)
    pid = presence.process.pid
    if not lives(presence.process):
        return Guarded(lives=False, words=f"its process {pid} is gone, it looked {age:.0f} s ago")
    if age > LATE_LOOKS * presence.every_seconds + _SLACK_SECONDS:
        return Guarded(lives=False, words=f"its process {pid} lives, and has not looked for {age:.0f} s")
    return Guarded(lives=True, words=f"process {pid} looks every {presence.every_seconds:g} s, {age:.0f} s ago")


def _file(state: Path) -> Path:
    return state / "guard.json"
