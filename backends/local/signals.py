"""Words from outside, one JSON line each in the rollout's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from rollout.errors import UnavailableError
from rollout.ports import Signal

_SIGNAL = TypeAdapter(Signal)


@dataclass(frozen=True, slots=True)
class LocalSignals:
    """What was said to one rollout."""

    file: Path

    def read(self) -> tuple[Signal, ...]:
        """Return everything said so far, oldest first."""
        try:
            lines = self.file.read_bytes().splitlines()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise UnavailableError(f"read signals from {self.file}: {error.strerror}") from error
        return tuple(signal for line in lines if (signal := _parsed(line)))

    def say(self, signal: Signal) -> None:
        """Say something; another process may be saying something too."""
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("ab", buffering=0) as stream:
                stream.write(_SIGNAL.dump_json(signal) + b"\n")
        except OSError as error:
            raise UnavailableError(f"write a signal to {self.file}: {error.strerror}") from error


def _parsed(line: bytes) -> Signal | None:
    try:
        return _SIGNAL.validate_json(line)
    except ValidationError:
        return None  # not written to its end
