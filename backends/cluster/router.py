"""The split between the tracks, as one field each of a VirtualService or an HTTPRoute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta

from backends.cluster.api.client import Api, Resource
from backends.cluster.api.conflicts import retry_on_conflict
from backends.route_patches import (
    Destinations,
    Document,
    Operation,
    Writer,
    epoch_of,
    has_drill,
    last_writer,
    with_drill,
    with_epoch,
    with_mirror,
    with_weights,
)
from backends.route_splits import find_split
from rollout.errors import ConflictError, LockedError, RolloutError
from rollout.model import Weights
from rollout.ports import Drift


@dataclass(slots=True)
class Fence:
    """The epoch in which this process may write; None while it holds no lock, as a restore by hand does not."""

    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class ClusterRouter:
    """The routes of one document that split the traffic; everything else in it belongs to other people."""

    api: Api
    resource: Resource
    name: str
    destinations: Destinations
    fence: Fence
    holder: Callable[[], str]
    """Who holds the service's lock now."""
    _last_read: list[Document] = field(default_factory=list, repr=False, compare=False)
    """The document as it was seen last, if it was."""

    def read(self) -> Document:
        """Return the whole document."""
        return self._remember(self.api.get(self.resource, self.name))

    def read_weights(self) -> Weights:
        """Return the split that the document asks for.

        Raises
        ------
        PlanError
            When it holds no such route.
        """
        return find_split(self.read(), self.destinations).weights

    def last_writer(self) -> Writer | None:
        """Return who changed the routes last: a person, a GitOps controller, or this pipeline."""
        return self._writer_of(self.read())

    def drift(self, asked: Weights) -> Drift | None:
        """Return the split that stands there instead of the requested one, and who wrote it; None without drift.

        Somebody who changes other fields of the route makes no drift.
        """
        document = self.read()
        split = find_split(document, self.destinations)
        if split.matches(asked):
            return None
        writer = self._writer_of(document)
        return Drift(split.weights, str(writer or "somebody"), self.fence.epoch not in (None, epoch_of(document)))

    def _writer_of(self, document: Document) -> Writer | None:
        return last_writer(document, "spec", "http" if self.resource.plural == "virtualservices" else "rules")

    def set_weights(self, weights: Weights) -> None:
        """Write this split, and return once the server has it. What stands there already is not written again.

        Raises
        ------
        LockedError
            When another owner has begun an epoch of its own.
        ConflictError
            When somebody ended our epoch, as an emergency rollback does, or keeps changing the route.
        """
        self._write(lambda document: self._patch(document, weights))

    def set_mirror(self, share: int) -> None:
        """Let the route copy this percentage of its requests to the canary; 0 takes the copy away, and nothing else.

        Raises
        ------
        PlanError
            When it is an HTTPRoute, or mirrors to somebody else already.
        LockedError, ConflictError
            As `set_weights` does.
        """

        def patch(document: Document) -> tuple[Operation, ...]:
            if share:
                self._check_epoch(document, find_split(document, self.destinations).weights)
            return with_mirror(document, self.destinations, share, epoch=self.fence.epoch if share else None)

        if share or self.resource.plural == "virtualservices":
            self._write(patch)

    def set_drill(self, marker: str, delay: timedelta) -> None:
        """Send the requests with a drill's mark to the canary, each this much late; any write of the split ends it.

        Raises
        ------
        PlanError
            When it is an HTTPRoute.
        LockedError, ConflictError
            As `set_weights` does.
        """

        def patch(document: Document) -> tuple[Operation, ...]:
            self._check_epoch(document, find_split(document, self.destinations).weights)
            return with_drill(document, self.destinations, marker, delay, epoch=self.fence.epoch)

        self._write(patch)

    def seize(self, weights: Weights) -> None:
        """Write this split whoever steers, and end the epoch, so that no write of theirs lands after it."""

        def patch(document: Document) -> tuple[Operation, ...]:
            change = with_weights(document, self.destinations, weights)
            return (*with_epoch(document, epoch_of(document) + 1), *change[1:])

        self._write(patch)

    def begin_epoch(self, epoch: int) -> None:
        """Let an epoch begin on the route, unless it has, or an emergency rollback has ended it already."""
        self._write(lambda document: with_epoch(document, epoch) if epoch_of(document) < epoch else ())

    def _write(self, patch: Callable[[Document], tuple[Operation, ...]]) -> None:
        def attempt() -> None:
            # What was read a moment ago serves as well, as long as the server finds it unchanged: one request, not two.
            if operations := self._patch_last_read(patch) or patch(self.read()):
                self._remember(self.api.patch(self.resource, self.name, operations))

        retry_on_conflict(attempt)

    def _patch_last_read(self, patch: Callable[[Document], tuple[Operation, ...]]) -> tuple[Operation, ...]:
        """Return the patch for the document as it was seen last, once; none where that is not known or not enough."""
        try:
            return patch(self._last_read.pop())
        except (IndexError, RolloutError):  # whatever is wrong with it has to be found in a fresh one
            return ()

    def _remember(self, document: Document) -> Document:
        self._last_read[:] = [document]
        return document

    def _patch(self, document: Document, weights: Weights) -> tuple[Operation, ...]:
        # All traffic may be on stable already, because somebody was faster: then there is nothing to fence.
        if find_split(document, self.destinations).matches(weights) and not has_drill(document):
            return ()
        self._check_epoch(document, weights)
        return with_weights(document, self.destinations, weights, epoch=self.fence.epoch)

    def _check_epoch(self, document: Document, weights: Weights) -> None:
        current, ours = epoch_of(document), self.fence.epoch
        if ours is None or current == ours:
            return
        what = f"set canary={weights.canary} on {self.resource.plural} {self.api.namespace}/{self.name}"
        if holder := self.holder():
            raise LockedError(f"{what}: epoch moved {ours} -> {current}, steered by {holder}")
        raise ConflictError(f"{what}: epoch moved {ours} -> {current}: somebody took the traffic out of our hands")
