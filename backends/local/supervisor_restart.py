"""A supervisor that was killed is started again: with it the kernel has ended the gateway, Prometheus and the pods."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field

from backends.local.children import end_processes
from backends.local.environment import World, start_supervisor, wait_serving
from backends.local.folder import DesiredState
from rollout.errors import SetupError, UnavailableError
from rollout.model import Track

MOST_RESTARTS = 5
WITHIN_SECONDS = 300.0


@dataclass(slots=True)
class SupervisorRestarter:
    """Restarts the supervisor of a world, for the process that started the world."""

    world: World
    _process: subprocess.Popen[bytes] | None = None
    _restarts: list[float] = field(default_factory=list)
    """When it was started again, on the monotonic clock."""

    def restart_if_ended(self) -> str:
        """Start the supervisor again where it has ended, and return a line that says so; empty while it runs.

        Gateway and Prometheus come back at their ports, the split and the pods as they were.

        Raises
        ------
        SetupError
            When that does not help: nothing serves then.
        """
        process = self._process or self.world.process
        if process is None or (code := process.poll()) is None:
            return ""
        now = time.monotonic()
        self._restarts = [*(at for at in self._restarts if now - at < WITHIN_SECONDS), now]
        if len(self._restarts) > MOST_RESTARTS:
            minutes = WITHIN_SECONDS / 60
            raise SetupError(f"the supervisor ended {MOST_RESTARTS + 1} times in {minutes:g} min: nothing serves now")
        self._restart()
        return f"the supervisor had ended (exit code {code}): started again, the traffic is split as it was"

    def stop(self) -> None:
        """End the world."""
        self.world.stop()
        if self._process is not None:
            self._process.wait()

    def _restart(self) -> None:
        folder, observed = self.world.folder, self.world.observed
        with suppress(UnavailableError):  # the kernel has ended them
            end_processes(folder.processes().children)
        folder.make()
        folder.repair(self.world.settings)
        folder.repair(self._last_desired())
        ports = (observed.gateway_port, observed.admin_port, observed.prometheus_port)
        self._process = start_supervisor(folder, os.getpid(), ports)
        wait_serving(folder, self._process)

    def _last_desired(self) -> DesiredState:
        """Return as many pods as were seen last, in case that the desired state cannot be read."""
        try:
            pods = self.world.folder.observed().pods
        except UnavailableError:
            pods = self.world.observed.pods
        counts = {track: sum(pod.track is track for pod in pods) for track in (Track.STABLE, Track.CANARY)}
        return DesiredState(replicas=counts | {Track.STABLE: max(counts[Track.STABLE], 1)})
