"""Signals from outside, one JSON line each in the rollout's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from backends.local.damaged_files import is_ended, reaching, read_bounded, room_for
from rollout.ports import Signal

_SIGNAL = TypeAdapter(Signal)


@dataclass(frozen=True, slots=True)
class LocalSignals:
    """What was said to one rollout."""

    file: Path

    def read(self) -> tuple[Signal, ...]:
        """Return everything said so far, oldest first."""
        with reaching("read signals from", self.file):
            lines = read_bounded(self.file).splitlines()
        return tuple(signal for line in lines if (signal := _parsed(line)))

    def send(self, signal: Signal) -> None:
        """Say something; another process may be saying something too."""
        with (
            reaching("write a signal to", self.file),
            room_for(self.file),
            self.file.open("a+b", buffering=0) as stream,
        ):
            # Half a line, which somebody was killed at, must not take this one with it.
            stream.write((b"" if is_ended(stream.fileno()) else b"\n") + _SIGNAL.dump_json(signal) + b"\n")


def _parsed(line: bytes) -> Signal | None:
    try:
        signal = _SIGNAL.validate_json(line)
    except ValidationError:
        return None  # not written to its end, or not ours
    return signal if signal.at.tzinfo else None
