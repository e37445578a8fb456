"""The pods of each track, through the supervisor's two files."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta

from filelock import Timeout

from backends.local.folder import ObservedState, StateFolder
from rollout.errors import PlanError, UnavailableError
from rollout.model import Pod, Track
from rollout.ports import PodInputs

STALE_SECONDS = 2.5
"""The supervisor writes twice a second; older than this, it is not there."""


@dataclass(frozen=True, slots=True)
class LocalWorkloads:
    """Pods as sample processes."""

    folder: StateFolder

    def pods(self) -> tuple[Pod, ...]:
        """Return all pods of all tracks, as they are now.

        Raises
        ------
        UnavailableError
            When the supervisor does not report.
        """
        return tuple(pod.as_pod() for pod in fresh_state(self.folder).pods)

    def pod_inputs(self) -> PodInputs:
        """Return no inputs: the pods read no configuration that could change, and a process can be started."""
        return PodInputs()

    def ready_within(self, track: Track) -> timedelta | None:  # noqa: ARG002 - one signature for all backends
        """Return None: nobody has said how long a process may take to start."""
        return None

    def scale(self, track: Track, replicas: int) -> None:
        """Ask for this many pods of a track.

        Raises
        ------
        UnavailableError
            When the state folder cannot be written, or the supervisor does not report.
        PlanError
            When there is no such track here, or the number is negative.
        """
        versions = self.folder.settings().versions
        if track not in versions or replicas < 0:
            allowed = ", ".join(versions)
            raise PlanError(f"scale {track} to {replicas}: allowed are tracks {allowed} and 0 replicas or more")
        fresh_state(self.folder)
        try:
            self.folder.update_desired(replicas={track: replicas}, faults={})
        except (OSError, Timeout) as error:
            raise UnavailableError(f"scale {track} to {replicas}: cannot write {self.folder.path}: {error}") from error


def fresh_state(folder: StateFolder) -> ObservedState:
    """Return the observed state, or raise UnavailableError when it is an old one."""
    observed = folder.observed()
    age = time.time() - observed.at
    if age > STALE_SECONDS:
        raise UnavailableError(f"read pods from {folder.path}: last report {age:.1f} s ago, allowed: {STALE_SECONDS} s")
    return observed
