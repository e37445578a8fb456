"""The file that names a service's lock holder and its epoch; every write of weights excludes all others.

The epoch also stands in the version of the gateway's routes, and the larger one counts. A new one is the time in
microseconds, or more: so it never comes twice, whatever became of both files.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from backends.local.children import is_running, was_running_at
from backends.local.damaged_files import is_permanent, read_bounded, set_aside
from backends.local.envoy_config import route_file
from backends.local.folder import StartedProcess, write_atomically
from rollout.errors import UnavailableError
from rollout.ports import LockHolder

log = logging.getLogger(__name__)

LEASE_DURATION = timedelta(seconds=30)
"""An owner that has not renewed for this long has lost the lock, even if its process still hangs about."""
_EXCLUSIVE_SECONDS = 0.4
_NEVER = datetime.fromtimestamp(0, UTC)
_VERSION = re.compile(r"(\d+)-(\d+)-(\d+)")
"""Of the routes: the epoch, when they were written in nanoseconds, and by which owner's process; 0: by no owner's."""


@dataclass(slots=True)
class Fence:
    """The epoch in which this process may write; None while it holds no lock."""

    epoch: int | None = None


class Lease(BaseModel):
    """What the file holds. The epoch only grows, also past owners that gave the lock back."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int = Field(default=0, ge=0)
    owner: str = ""
    """Empty when nobody holds it."""
    process: StartedProcess | None = None
    taken_in: int = 0
    """The epoch that began when the owner acquired the lock; it is over when `epoch` is a later one."""
    since: AwareDatetime = _NEVER
    renewed: AwareDatetime = _NEVER
    lost: str = Field(default="", exclude=True)
    """Why the file does not say who holds it: it is gone, or damaged."""
    writer: LockHolder | None = Field(default=None, exclude=True)
    """Who wrote the split in force and still lives, where the file does not say who holds the lock."""

    @property
    def holder(self) -> LockHolder | None:
        """Who holds it, living or not; None when it was given back."""
        if self.lost:
            return self.writer
        if not self.owner or self.process is None:
            return None
        alive = datetime.now(UTC) - self.renewed <= LEASE_DURATION and is_running(self.process)
        process = f"pid {self.process.pid}"
        who = self.owner if self.owner.endswith(f" {process}") else f"{self.owner} ({process})"
        return LockHolder(who, self.since, self.renewed, alive)

    def is_held_by(self, owner: str, pid: int) -> bool:
        """Whether this very process holds it under this name."""
        return self.owner == owner and self.process is not None and self.process.pid == pid and is_running(self.process)

    def next_epoch(self) -> int:
        """Return an epoch that nobody has had."""
        return max(self.epoch + 1, time.time_ns() // 1000)


@dataclass(frozen=True, slots=True)
class LeaseFile:
    """Where the lease lies."""

    file: Path

    def read(self) -> Lease:
        """Return the lease, with the later epoch of the two that are kept; a lost one is nobody's.

        Raises
        ------
        UnavailableError
            When the file cannot be read now, and may be later.
        """
        epoch, writer = self._routes()
        try:
            content = read_bounded(self.file)
            lease = Lease.model_validate_json(content) if content or self.file.exists() else Lease(lost="is gone")
        except ValidationError:
            lease = Lease(lost="is damaged")
        except OSError as error:
            if not is_permanent(error):
                raise UnavailableError(f"read the lock {self.file}: {error.strerror}") from error
            lease = Lease(lost=f"cannot be read: {error.strerror}")
        return lease.model_copy(update={"epoch": max(lease.epoch, epoch), "writer": writer if lease.lost else None})

    def write(self, lease: Lease) -> None:
        """Replace it; only within `exclusive`. What cannot be read is set aside first."""
        self.file.parent.mkdir(parents=True, exist_ok=True)
        if (lost := self.read().lost) and lost != "is gone":
            set_aside(self.file, lost)
        write_atomically(self.file, lease.model_dump_json())

    @contextmanager
    def exclusive(self, *, without_lock: bool = False) -> Iterator[Lease]:
        """Give the lease as it stands, and let nobody change it, or any weights, meanwhile.

        Parameters
        ----------
        without_lock
            Whether to go on without the file lock where it cannot be had: a stopped process may hold it for ever.

        Raises
        ------
        UnavailableError
            When somebody else is at it for too long, or the file cannot be written.
        """
        guard = self.file.with_suffix(".guard")
        try:
            with ExitStack() as held:
                try:
                    if guard.is_dir():
                        set_aside(guard, "is no file")
                    held.enter_context(FileLock(guard, timeout=_EXCLUSIVE_SECONDS))
                except (OSError, Timeout) as error:
                    if not without_lock:
                        raise
                    log.warning("going on without the guard: %s", error)
                yield self.read()
        except (OSError, Timeout) as error:
            raise UnavailableError(f"lock {self.file}: {error}") from error

    def _routes(self) -> tuple[int, LockHolder | None]:
        """Return the epoch that stands in the routes, and the owner that wrote them, if its process still lives."""
        with suppress(OSError, ValueError, LookupError, TypeError, RecursionError):
            version = json.loads(read_bounded(route_file(self.file.parent / "gateway")))["version_info"]
            if parts := _VERSION.fullmatch(version):
                epoch, nanoseconds, pid = map(int, parts.groups())
                at = datetime.fromtimestamp(nanoseconds / 1e9, UTC)
                who = f"pid {pid}, which set the split (the lock is lost)"
                return epoch, LockHolder(who, at, at, lives=True) if pid and was_running_at(
                    pid, at.timestamp()
                ) else None
        return 0, None
