"""Signals to a rollout, one JSON line each in its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from backends.local.damaged_files import ends_with_newline, make_writable, raising_unavailable, read_bounded
from rollout.ports import Signal

_SIGNAL = TypeAdapter(Signal)


@dataclass(frozen=True, slots=True)
class LocalSignals:
    """Signals sent to one rollout."""

    file: Path

    def read(self) -> tuple[Signal, ...]:
        """Return all signals so far, oldest first."""
        with raising_unavailable("read signals from", self.file):
            lines = read_bounded(self.file).splitlines()
        return tuple(signal for line in lines if (signal := _parsed(line)))

    def send(self, signal: Signal) -> None:
        """Send a signal; another process may send one too."""
        with raising_unavailable("write a signal to", self.file):
            make_writable(self.file)
            with self.file.open("a+b", buffering=0) as stream:
                # Half a line, which somebody was killed at, must not take this one with it.
                stream.write((b"" if ends_with_newline(stream.fileno()) else b"\n") + _SIGNAL.dump_json(signal) + b"\n")


def _parsed(line: bytes) -> Signal | None:
    try:
        signal = _SIGNAL.validate_json(line)
    except ValidationError:
        return None  # not written to its end, or not ours
    return signal if signal.at.tzinfo else None
