"""Whether a guard watches a state folder: its heartbeat at each look, and whether its process still runs."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from backends.local.children import identify, is_running
from backends.local.damaged_files import make_writable, raising_unavailable
from backends.local.folder import StartedProcess, write_atomically

MISSED_LOOKS = 3.0
"""A guard that has missed so many looks is none, whatever its process does."""
_SLACK_SECONDS = 30.0
"""What one look may take."""


class GuardHeartbeat(BaseModel):
    """What a guard writes at each look."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    process: StartedProcess
    looked_at: float
    every_seconds: float


def record_heartbeat(state: Path, every_seconds: float) -> None:
    """Write that this process has looked.

    Raises
    ------
    UnavailableError
        When the folder cannot be written.
    """
    file = _file(state)
    heartbeat = GuardHeartbeat(
        process=identify("guard", os.getpid()), looked_at=time.time(), every_seconds=every_seconds
    )
    with raising_unavailable("write", file):
        make_writable(file)
        write_atomically(file, heartbeat.model_dump_json())


@dataclass(frozen=True, slots=True)
class GuardStatus:
    """Whether somebody takes over what loses its owner."""

    lives: bool
    description: str


def read_guard_status(state: Path) -> GuardStatus:
    """Return whether a guard looks after the world in a state folder, and since when not."""
    try:
        heartbeat = GuardHeartbeat.model_validate_json(_file(state).read_bytes())
    except (OSError, ValidationError):
        return GuardStatus(lives=False, description="none has looked here")
    age = max(time.time() - heartbeat.looked_at, 0.0)
    pid = heartbeat.process.pid
    if not is_running(heartbeat.process):
        return GuardStatus(lives=False, description=f"its process {pid} is gone, it looked {age:.0f} s ago")
    if age > MISSED_LOOKS * heartbeat.every_seconds + _SLACK_SECONDS:
        return GuardStatus(lives=False, description=f"its process {pid} lives, and has not looked for {age:.0f} s")
    return GuardStatus(
        lives=True, description=f"process {pid} looks every {heartbeat.every_seconds:g} s, {age:.0f} s ago"
    )


def _file(state: Path) -> Path:
    return state / "guard.json"
