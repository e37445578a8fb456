"""The split between the tracks: written as a route file, confirmed by Envoy itself."""

from __future__ import annotations

import json
import os
import time
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from backends.local.envoy import wait_in_force, weights_in_force
from backends.local.folder import write_atomically
from backends.local.gateway import route_file, routes
from rollout.errors import ConflictError, UnavailableError
from rollout.model import Weights

IN_FORCE_SECONDS = 0.4
"""Envoy takes new routes within milliseconds; the limit lies below the shortest scrape."""


@dataclass(frozen=True, slots=True)
class LocalRouter:
    """The gateway's weights. Talks to Envoy alone: it works when the supervisor does not."""

    gateway: Path
    """Envoy's folder."""
    admin_port: int
    timeout: timedelta
    """The route's timeout."""

    def read_weights(self) -> Weights:
        """Return the split that Envoy has in force.

        Raises
        ------
        UnavailableError
            When Envoy does not answer.
        """
        return weights_in_force(self.admin_port)[0]

    def set_weights(self, weights: Weights) -> None:
        """Put this split in force, and return once Envoy says that it is.

        Raises
        ------
        UnavailableError
            When Envoy does not answer, or does not take it in time.
        ConflictError
            When somebody else set other weights at the same moment.
        """
        version = f"{time.time_ns()}-{os.getpid()}"
        file = route_file(self.gateway)
        what = f"set canary={weights.canary} on the gateway"
        try:
            write_atomically(file, json.dumps(routes(weights, version=version, timeout=self.timeout)))
        except OSError as error:
            raise UnavailableError(f"{what}: cannot write {file}: {error.strerror}") from error
        if not wait_in_force(self.admin_port, "routes", version, seconds=IN_FORCE_SECONDS):
            raise self._refusal(what, version)

    def _refusal(self, what: str, version: str) -> ConflictError | UnavailableError:
        found = json.loads(route_file(self.gateway).read_text())["version_info"]
        if found != version:
            return ConflictError(f"{what}: conflict, version {version} was replaced by {found}")
        return UnavailableError(f"{what}: envoy did not take version {version} within {IN_FORCE_SECONDS:g} s")
