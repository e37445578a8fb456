"""One owner a service: a file with who, which process, since when, and a heartbeat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from backends.local.children import entry_of, lives
from backends.local.folder import StartedProcess, write_atomically
from rollout.errors import LockedError, UnavailableError

LAPSE = timedelta(seconds=30)
"""An owner that has not renewed for this long has lost the lock, even if its process still hangs about."""


class _Holder(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str
    process: StartedProcess
    since: AwareDatetime
    renewed: AwareDatetime

    @property
    def lapsed(self) -> bool:
        return datetime.now(UTC) - self.renewed > LAPSE or not lives(self.process)


@dataclass(frozen=True, slots=True)
class LocalLock:
    """The service's lock, as one owner sees it."""

    file: Path
    owner: str

    def acquire(self) -> None:
        """Become the only owner.

        Raises
        ------
        LockedError
            Saying who is, and since when.
        """
        with self._guard():
            holder = self._read()
            if holder and holder.owner != self.owner and not holder.lapsed:
                raise LockedError(
                    f"steered by {holder.owner} (pid {holder.process.pid}) since {holder.since:%Y-%m-%d %H:%M:%S} UTC"
                )
            mine = holder is not None and holder.owner == self.owner
            self._write(holder.since if holder and mine else datetime.now(UTC))

    def renew(self) -> None:
        """Say that the owner lives.

        Raises
        ------
        LockedError
            When somebody else took it over, or it was given back.
        """
        with self._guard():
            holder = self._read()
            if holder is None or holder.owner != self.owner:
                raise LockedError(f"{self.owner} lost the lock to {holder.owner if holder else 'nobody'}")
            self._write(holder.since)

    def release(self) -> None:
        """Give it back, where it is ours."""
        with self._guard():
            holder = self._read()
            if holder and holder.owner == self.owner:
                self.file.unlink()

    def _read(self) -> _Holder | None:
        try:
            return _Holder.model_validate_json(self.file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None

    def _write(self, since: datetime) -> None:
        process = entry_of(self.owner, os.getpid())
        holder = _Holder(owner=self.owner, process=process, since=since, renewed=datetime.now(UTC))
        write_atomically(self.file, holder.model_dump_json())

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            with FileLock(self.file.with_suffix(".guard"), timeout=0.4):
                yield
        except (OSError, Timeout) as error:
            raise UnavailableError(f"lock {self.file}: {error}") from error
