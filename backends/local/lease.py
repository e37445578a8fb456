"""The file that says who steers a service, and in which epoch; every write of weights happens under its guard."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from backends.local.children import lives
from backends.local.folder import StartedProcess, write_atomically
from rollout.errors import UnavailableError
from rollout.ports import Holder

LAPSE = timedelta(seconds=30)
"""An owner that has not renewed for this long has lost the lock, even if its process still hangs about."""
_GUARD_SECONDS = 0.4
_NEVER = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class Fence:
    """The epoch in which this process may write; None while it holds no lock."""

    epoch: int | None = None


class Lease(BaseModel):
    """What the file holds. The epoch only grows, also past owners that gave the lock back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = 0
    owner: str = ""
    """Empty when nobody holds it."""
    process: StartedProcess | None = None
    taken_in: int = 0
    """The epoch that began when the owner acquired the lock; it is over when `epoch` is a later one."""
    since: AwareDatetime = _NEVER
    renewed: AwareDatetime = _NEVER

    @property
    def holder(self) -> Holder | None:
        """Who holds it, living or not; None when it was given back."""
        if not self.owner or self.process is None:
            return None
        alive = datetime.now(UTC) - self.renewed <= LAPSE and lives(self.process)
        process = f"pid {self.process.pid}"
        who = self.owner if self.owner.endswith(f" {process}") else f"{self.owner} ({process})"
        return Holder(who, self.since, self.renewed, alive)

    def is_held_by(self, owner: str, pid: int) -> bool:
        """Whether this very process holds it under this name."""
        return self.owner == owner and self.process is not None and self.process.pid == pid and lives(self.process)


@dataclass(frozen=True, slots=True)
class LeaseFile:
    """Where the lease lies."""

    file: Path

    def read(self) -> Lease:
        """Return the lease; one that nobody has written yet is free."""
        try:
            return Lease.model_validate_json(self.file.read_bytes())
        except (FileNotFoundError, ValidationError):
            return Lease()
        except OSError as error:
            raise UnavailableError(f"read the lock {self.file}: {error.strerror}") from error

    def write(self, lease: Lease) -> None:
        """Replace it; only under the guard."""
        write_atomically(self.file, lease.model_dump_json())

    @contextmanager
    def guarded(self) -> Iterator[Lease]:
        """Give the lease as it stands, and let nobody change it, or any weights, meanwhile.

        Raises
        ------
        UnavailableError
            When somebody else is at it for too long, or the file cannot be written.
        """
        try:
            with FileLock(self.file.with_suffix(".guard"), timeout=_GUARD_SECONDS):
                yield self.read()
        except (OSError, Timeout) as error:
            raise UnavailableError(f"lock {self.file}: {error}") from error
