"""One owner a service: who, which process, since when, a heartbeat, and an epoch of its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from backends.local.children import entry_of
from backends.local.lease import LAPSE as LAPSE
from backends.local.lease import Fence, Lease, LeaseFile
from rollout.errors import LockedError
from rollout.ports import Holder


@dataclass(frozen=True, slots=True)
class LocalLock:
    """The service's lock, as one process sees it."""

    file: Path
    owner: str
    fence: Fence = field(default_factory=Fence)

    def acquire(self) -> None:
        """Become the only owner, in an epoch that nobody had before.

        Raises
        ------
        LockedError
            Saying who is, and since when.
        """
        with self._lease.guarded() as lease:
            if lease.is_held_by(self.owner, os.getpid()):
                self.fence.epoch = lease.epoch
                return
            if lease.holder and lease.holder.lives:
                raise LockedError(lease.holder.words)
            now = datetime.now(UTC)
            taken = Lease(
                epoch=lease.epoch + 1,
                owner=self.owner,
                process=entry_of(self.owner, os.getpid()),
                taken_in=lease.epoch + 1,
                since=now,
                renewed=now,
            )
            self._lease.write(taken)
            self.fence.epoch = taken.epoch

    def renew(self) -> None:
        """Say that the owner lives.

        Raises
        ------
        LockedError
            When somebody else took it over, or it was given back.
        """
        with self._lease.guarded() as lease:
            if not lease.is_held_by(self.owner, os.getpid()):
                raise LockedError(f"{self.owner} lost the lock to {lease.owner or 'nobody'}")
            self._lease.write(lease.model_copy(update={"renewed": datetime.now(UTC)}))

    def release(self) -> None:
        """Give it back, where it is ours."""
        self.fence.epoch = None
        with self._lease.guarded() as lease:
            if lease.is_held_by(self.owner, os.getpid()):
                self._lease.write(Lease(epoch=lease.epoch))

    def holder(self) -> Holder | None:
        """Return who holds it, living or not."""
        return self._lease.read().holder

    @property
    def _lease(self) -> LeaseFile:
        return LeaseFile(self.file)
