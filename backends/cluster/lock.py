"""One lock holder a service: a Lease names it, the route's epoch fences off the others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from backends.cluster.api.api_errors import MissingError
from backends.cluster.api.client import LEASES, Api
from backends.cluster.api.conflicts import retry_on_conflict
from backends.cluster.router import ClusterRouter, Fence
from backends.document_fields import mapping
from backends.route_patches import Document, epoch_of
from rollout import ports
from rollout.errors import ConflictError, LockedError

LEASE_DURATION: Final = timedelta(seconds=30)
"""An owner that has not renewed for this long has lost the lock."""
_TIME: Final = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a service's lock; an empty owner is nobody."""

    owner: str
    since: datetime
    renewed: datetime
    epoch: int

    @property
    def lives(self) -> bool:
        """Whether somebody holds it and has renewed it lately."""
        return bool(self.owner) and datetime.now(UTC) - self.renewed <= LEASE_DURATION


def read_holder(api: Api, name: str) -> tuple[Holder | None, Document | None]:
    """Return who holds a Lease, and the Lease itself; None where there is none yet."""
    try:
        lease = api.get(LEASES, name)
    except MissingError:
        return None, None
    spec = mapping(lease, "spec")
    return Holder(
        owner=spec.get("holderIdentity") or "",
        since=_parsed(spec.get("acquireTime")),
        renewed=_parsed(spec.get("renewTime")),
        epoch=spec.get("leaseTransitions") or 0,
    ), lease


@dataclass(frozen=True, slots=True)
class ClusterLock:
    """The service's lock, as one owner sees it."""

    api: Api
    name: str
    owner: str
    router: ClusterRouter
    fence: Fence

    def acquire(self) -> None:
        """Become the only owner, and begin an epoch of our own on the route.

        Raises
        ------
        LockedError
            Saying who is, and since when.
        """
        retry_on_conflict(self._acquire)

    def _acquire(self) -> None:
        holder, lease = read_holder(self.api, self.name)
        if holder and holder.owner != self.owner and holder.lives:
            raise LockedError(_as_holder(holder).describe_with_advice())
        if holder and holder.owner == self.owner:
            epoch = holder.epoch
            self._renew()
        else:
            epoch = max(holder.epoch if holder else 0, epoch_of(self.router.read())) + 1
            self._take(lease, epoch)
        self.router.begin_epoch(epoch)
        self.fence.epoch = epoch

    def renew(self) -> None:
        """Say that the owner lives.

        Raises
        ------
        LockedError
            When somebody else took it over, or it was given back.
        """
        retry_on_conflict(self._renew)

    def _renew(self) -> None:
        try:
            is_ours = {"op": "test", "path": "/spec/holderIdentity", "value": self.owner}
            renewed = {"op": "add", "path": "/spec/renewTime", "value": _now()}
            self.api.patch(LEASES, self.name, [is_ours, renewed])
        except (ConflictError, MissingError) as error:
            holder, _ = read_holder(self.api, self.name)
            if holder and holder.owner == self.owner:
                raise ConflictError(str(error)) from error
            now_held_by = (holder.owner if holder else "") or "nobody"
            raise LockedError(f"{self.owner} lost the lock to {now_held_by}") from error

    def release(self) -> None:
        """Give it back, where it is ours."""
        self.fence.epoch = None
        retry_on_conflict(self._release)

    def holder(self) -> ports.LockHolder | None:
        """Return who holds it, living or not."""
        holder, _ = read_holder(self.api, self.name)
        return _as_holder(holder) if holder and holder.owner else None

    def _release(self) -> None:
        holder, lease = read_holder(self.api, self.name)
        if lease and holder and holder.owner == self.owner:
            self._merge(lease, {"holderIdentity": ""})

    def _take(self, lease: Document | None, epoch: int) -> None:
        spec = {
            "holderIdentity": self.owner,
            "acquireTime": _now(),
            "renewTime": _now(),
            "leaseDurationSeconds": int(LEASE_DURATION.total_seconds()),
            "leaseTransitions": epoch,
        }
        if lease is None:
            self.api.create(LEASES, _lease(self.name, spec))
        else:
            self._merge(lease, spec)

    def _merge(self, lease: Document, spec: dict[str, Any]) -> None:
        version = lease["metadata"]["resourceVersion"]
        self.api.patch(LEASES, self.name, {"metadata": {"resourceVersion": version}, "spec": spec})


def _as_holder(holder: Holder) -> ports.LockHolder:
    return ports.LockHolder(holder.owner, holder.since, holder.renewed, holder.lives)


def _lease(name: str, spec: dict[str, Any]) -> Document:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}


def _now() -> str:
    return datetime.now(UTC).strftime(_TIME)


def _parsed(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.fromtimestamp(0, UTC)
