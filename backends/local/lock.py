"""One lock holder a service: its process, since when, its heartbeat, and its epoch."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from backends.local.children import identify
from backends.local.lease import LEASE_DURATION as LEASE_DURATION
from backends.local.lease import Fence, Lease, LeaseFile
from rollout.errors import ConflictError, LockedError
from rollout.ports import LockHolder

log = logging.getLogger(__name__)


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
        with self._lease.exclusive() as lease:
            if lease.is_held_by(self.owner, os.getpid()):
                self.fence.epoch = lease.epoch
                return
            if lease.holder and lease.holder.lives and not self._is_own_lease_lost(lease):
                raise LockedError(lease.holder.describe_with_advice())
            self._take(lease.next_epoch())

    def renew(self) -> None:
        """Renew the lock; take it back where it was lost to nobody.

        Raises
        ------
        LockedError
            When somebody else took it over, or it was given back.
        ConflictError
            When it is lost, and somebody took the traffic out of our hands meanwhile.
        """
        with self._lease.exclusive() as lease:
            if lease.is_held_by(self.owner, os.getpid()):
                epoch = max(lease.epoch, self.fence.epoch or 0)
                self._lease.write(lease.model_copy(update={"epoch": epoch, "renewed": datetime.now(UTC)}))
                return
            if lease.owner or self.fence.epoch is None or (lease.epoch > self.fence.epoch and not lease.lost):
                raise LockedError(f"{self.owner} lost the lock to {lease.owner or 'nobody'}")
            if lease.epoch > self.fence.epoch:
                raise ConflictError(f"the lock {lease.lost}, and somebody took the traffic out of our hands")
            log.warning("%s: the lock %s: taken back", self.owner, lease.lost or "was given to nobody")
            self._take(self.fence.epoch)

    def _take(self, epoch: int) -> None:
        now, process = datetime.now(UTC), identify(self.owner, os.getpid())
        taken = Lease(epoch=epoch, owner=self.owner, process=process, taken_in=epoch, since=now, renewed=now)
        self._lease.write(taken)
        self.fence.epoch = epoch

    def _is_own_lease_lost(self, lease: Lease) -> bool:
        """Whether the lock is lost in an epoch that this very process has, or that it ended itself."""
        return bool(lease.lost) and self.fence.epoch is not None and lease.epoch <= self.fence.epoch

    def release(self) -> None:
        """Give it back, where it is ours."""
        self.fence.epoch = None
        with self._lease.exclusive() as lease:
            if lease.is_held_by(self.owner, os.getpid()):
                self._lease.write(Lease(epoch=lease.epoch))

    def holder(self) -> LockHolder | None:
        """Return who holds it, living or not."""
        return self._lease.read().holder

    @property
    def _lease(self) -> LeaseFile:
        return LeaseFile(self.file)
