"""One owner a service: a Lease says who and since when, the route's epoch keeps the others from writing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from backends.cluster.client import LEASES, Api
from backends.cluster.errors import MissingError
from backends.cluster.router import ClusterRouter, Fence
from backends.documents import Document, epoch_of
from rollout.errors import ConflictError, LockedError

LAPSE: Final = timedelta(seconds=30)
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
        """Whether somebody holds it and has said so lately."""
        return bool(self.owner) and datetime.now(UTC) - self.renewed <= LAPSE


def read_holder(api: Api, name: str) -> tuple[Holder | None, Document | None]:
    """Return who holds a Lease, and the Lease itself; None where there is none yet."""
    try:
        lease = api.get(LEASES, name)
    except MissingError:
        return None, None
    spec = lease["spec"]
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
        holder, lease = read_holder(self.api, self.name)
        if holder and holder.owner == self.owner:
            return self._take_up(holder)
        if holder and holder.lives:
            raise LockedError(f"steered by {holder.owner} since {holder.since:%Y-%m-%d %H:%M:%S} UTC")
        epoch = (holder.epoch if holder else 0) + 1
        self._take(lease, epoch)
        self.fence.epoch = self.router.begin_epoch(epoch)
        if self.fence.epoch != epoch:  # an emergency rollback had raised it; the Lease catches up
            self.api.patch(LEASES, self.name, [self._is_ours(), _put("leaseTransitions", self.fence.epoch)])
        return None

    def renew(self) -> None:
        """Say that the owner lives.

        Raises
        ------
        LockedError
            When somebody else took it over, or it was given back.
        """
        try:
            self.api.patch(LEASES, self.name, [self._is_ours(), _put("renewTime", _now())])
        except (ConflictError, MissingError) as error:
            holder, _ = read_holder(self.api, self.name)
            if holder and holder.owner == self.owner:
                raise
            now_held_by = (holder.owner if holder else "") or "nobody"
            raise LockedError(f"{self.owner} lost the lock to {now_held_by}") from error

    def release(self) -> None:
        """Give it back, where it is ours."""
        self.fence.epoch = None
        try:
            self.api.patch(LEASES, self.name, [self._is_ours(), _put("holderIdentity", "")])
        except (ConflictError, MissingError):
            return

    def _take_up(self, holder: Holder) -> None:
        self.fence.epoch = holder.epoch
        self.renew()
        if epoch_of(self.router.read()) < holder.epoch:  # ended between the two writes of an earlier `acquire`
            self.router.begin_epoch(holder.epoch)

    def _take(self, lease: Document | None, epoch: int) -> None:
        spec = {
            "holderIdentity": self.owner,
            "acquireTime": _now(),
            "renewTime": _now(),
            "leaseDurationSeconds": int(LAPSE.total_seconds()),
            "leaseTransitions": epoch,
        }
        try:
            if lease is None:
                self.api.create(LEASES, _lease(self.name, spec))
            else:
                version = lease["metadata"]["resourceVersion"]
                self.api.patch(LEASES, self.name, {"metadata": {"resourceVersion": version}, "spec": spec})
        except ConflictError as error:
            holder, _ = read_holder(self.api, self.name)
            if holder and holder.owner == self.owner:
                return  # our own write, whose answer was lost
            raise LockedError(f"steered by {holder.owner if holder else 'somebody'}, who was faster") from error

    def _is_ours(self) -> dict[str, Any]:
        return {"op": "test", "path": "/spec/holderIdentity", "value": self.owner}


def _put(field: str, value: Any) -> dict[str, Any]:
    return {"op": "add", "path": f"/spec/{field}", "value": value}


def _lease(name: str, spec: dict[str, Any]) -> Document:
    return {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name}, "spec": spec}


def _now() -> str:
    return datetime.now(UTC).strftime(_TIME)


def _parsed(text: str | None) -> datetime:
    return datetime.fromisoformat(text) if text else datetime.fromtimestamp(0, UTC)
