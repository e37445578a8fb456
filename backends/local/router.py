"""The split between the tracks: written as a route file, confirmed by Envoy itself."""

from __future__ import annotations

import json
import logging
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backends.local.children import check_running
from backends.local.damaged_files import set_aside
from backends.local.envoy import SPARE, applied_weights, version_of, wait_applied
from backends.local.envoy_config import route_file, routes, spare_file
from backends.local.folder import StateFolder, write_atomically
from backends.local.lease import Fence, Lease, LeaseFile
from rollout.errors import ConflictError, LockedError, RolloutError, UnavailableError
from rollout.model import AT_REST, Weights
from rollout.ports import Drift

log = logging.getLogger(__name__)

APPLY_SECONDS = 0.4
"""Envoy takes new routes within milliseconds; the limit lies below the shortest scrape."""


@dataclass(frozen=True, slots=True)
class LocalRouter:
    """The gateway's weights. Talks to Envoy alone: it works when the supervisor does not."""

    gateway: Path
    """Envoy's folder."""
    admin_port: int
    timeout: timedelta
    """The route's timeout."""
    lease: LeaseFile
    fence: Fence

    def read_weights(self) -> Weights:
        """Return the split that Envoy has applied.

        Raises
        ------
        UnavailableError
            When Envoy does not answer.
        """
        return applied_weights(self.admin_port)[0]

    def set_weights(self, weights: Weights) -> None:
        """Apply this split, and return once Envoy confirms it.

        Raises
        ------
        LockedError
            When another owner has taken the service over; nothing is written then.
        ConflictError
            When somebody took the traffic out of our hands, or set other weights at the same moment.
        UnavailableError
            When Envoy does not answer, or does not take it in time.
        SetupError
            When it never will, as the world has ended.
        """
        try:
            self._set_weights(weights)
        except UnavailableError as error:
            check_running(StateFolder(self.gateway.parent), error)
            raise

    def _set_weights(self, weights: Weights) -> None:
        with self.lease.exclusive() as lease:
            if self._is_fenced_off(lease):
                # All traffic may be on stable already, because somebody was faster: then there is nothing to fence.
                if self.read_weights() == weights:
                    return
                raise self._fence_error(lease, weights)
            if self._is_taken_home(weights):
                what = f"set canary={weights.canary} on the gateway"
                raise ConflictError(f"{what}: somebody took the traffic out of our hands, by the spare routes")
            version = self._write(weights, lease)
        self._confirm(weights, version)

    def set_mirror(self, share: int) -> None:
        """Let Envoy copy this percentage of the live requests to the canary; 0 ends it, as does a change of weights."""
        with self.lease.exclusive() as lease:
            weights = self.read_weights()
            if self._is_fenced_off(lease):
                if not share:
                    return  # whoever took over has written routes of his own
                raise self._fence_error(lease, weights)
            version = self._write(weights, lease, mirror=share)
        self._confirm(weights, version)

    def set_drill(self, marker: str) -> None:
        """Let requests with a drill's mark reach the canary; any change of weights ends it."""
        with self.lease.exclusive() as lease:
            weights = self.read_weights()
            if self._is_fenced_off(lease):
                raise self._fence_error(lease, weights)
            version = self._write(weights, lease, drill=marker)
        self._confirm(weights, version)

    def seize(self, weights: Weights) -> None:
        """Apply this split whoever holds the lock, and end their epoch; a full disk keeps no traffic from stable."""
        with self.lease.exclusive(without_lock=weights == AT_REST) as lease:
            seized = lease.model_copy(update={"epoch": lease.next_epoch()})
            try:
                self.lease.write(seized)
            except OSError as error:
                if weights != AT_REST:
                    raise
                log.warning("the epoch of who steers ends in the routes alone: %s", error.strerror)
            version = self._write(weights, seized)
        self._confirm(weights, version)

    def drift(self, asked: Weights) -> Drift | None:
        """Return what Envoy has applied instead of the requested split; None without drift."""
        applied = self.read_weights()
        is_taken = self._is_fenced_off(self.lease.read()) or self._is_taken_home(asked)
        # One that was stopped in the middle of a write may have made it after its epoch was ended.
        if applied == asked and (not is_taken or asked == AT_REST):
            return None
        return Drift(applied, "somebody", is_taken)

    def _is_fenced_off(self, lease: Lease) -> bool:
        """Whether a later epoch than ours has begun; a lost lock has none later than the routes'."""
        return self.fence.epoch is not None and lease.epoch > self.fence.epoch

    def _is_taken_home(self, asked: Weights) -> bool:
        """Whether an owner that asks for more finds the spare routes in place, which end no epoch."""
        return self.fence.epoch is not None and asked != AT_REST and version_of(route_file(self.gateway)) == SPARE

    def _fence_error(self, lease: Lease, weights: Weights) -> RolloutError:
        what = f"set canary={weights.canary} on the gateway: epoch moved {self.fence.epoch} -> {lease.epoch}"
        if lease.holder and lease.holder.lives and lease.taken_in != self.fence.epoch:
            return LockedError(f"{what}, {lease.holder.describe_with_advice()}")
        return ConflictError(f"{what}: somebody took the traffic out of our hands")

    def _write(self, weights: Weights, lease: Lease, *, mirror: int = 0, drill: str = "") -> str:
        owner = os.getpid() if self.fence.epoch is not None else 0
        version = f"{max(lease.epoch, self.fence.epoch or 0)}-{time.time_ns()}-{owner}"
        file = route_file(self.gateway)
        try:
            document = routes(weights, version=version, timeout=self.timeout, mirror=mirror, drill=drill)
            if not version_of(file) and os.path.lexists(file):
                set_aside(file, "holds no routes")
            write_atomically(file, json.dumps(document))
        except OSError as error:
            if weights == AT_REST and self._move_spare(file):
                return SPARE
            what = f"set canary={weights.canary} on the gateway"
            raise UnavailableError(f"{what}: cannot write {file}: {error.strerror}") from error
        return version

    def _move_spare(self, file: Path) -> bool:
        """Put the routes in place that were written when the disk still took files: that needs no space."""
        try:
            spare_file(self.gateway).replace(file)
        except FileNotFoundError:  # it is in place already, unless something else was written since
            return version_of(file) == SPARE
        except OSError:
            return False
        log.warning("%s cannot be written: all traffic goes to stable by the spare one", file)
        return True

    def _confirm(self, weights: Weights, version: str) -> None:
        if wait_applied(self.admin_port, "routes", version, seconds=APPLY_SECONDS):
            return
        what = f"set canary={weights.canary} on the gateway"
        replacement = version_of(route_file(self.gateway))
        if replacement != version:
            raise ConflictError(f"{what}: conflict, version {version} was replaced by {replacement}")
        raise UnavailableError(f"{what}: envoy did not take version {version} within {APPLY_SECONDS:g} s")
