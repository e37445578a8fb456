"""The pods of one track: started, probed, given their fault, drained and ended."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field

from backends.local.children import Child, start_child
from backends.local.envoy_config import Endpoint
from backends.local.folder import TERMINATING, DesiredFault, DesiredState, ObservedPod, Settings, StateFolder
from backends.local.loopback import bound_socket, request, responds
from backends.local.restarting import SupervisedProcess
from rollout.errors import UnavailableError
from rollout.model import Track
from sample.app import FAULT_PATH
from sample.faults import Protocol

PROBE_SECONDS = 1.0
FAILED_PROBES = 3
"""Readiness is lost after this many in a row, as in Kubernetes."""
SETTLE_SECONDS = 0.1
"""Between Envoy's word that an endpoint is gone and the end of its pod: its workers hear a little later."""
TERMINATION_SECONDS = 30.0
"""A pod that does not end is killed after this, as in Kubernetes."""
_UNKNOWN_FAULT = DesiredFault(text="?")
"""Equal to no fault that can be wanted."""


@dataclass
class LocalPod:
    """One copy of the sample service, under a name that survives its restarts."""

    folder: StateFolder
    settings: Settings
    name: str
    track: Track
    fault: DesiredFault | None
    applied: DesiredFault | None = None
    """The fault that the running process knows of."""
    port: int = 0
    """Where probes and the fault switch answer, and HTTP."""
    grpc_port: int = 0
    """Where gRPC answers, if it does."""
    healthy: bool = False
    routed: bool = False
    """The gateway sends requests to it."""
    terminating: bool = False
    unrouted_at: float = 0.0
    """When the gateway let go of it, on the monotonic clock."""
    terminated_at: float | None = None
    failed_probes: int = 0
    probed_at: float = 0.0
    supervised: SupervisedProcess = field(init=False)

    def __post_init__(self) -> None:
        self.supervised = SupervisedProcess(self._start)

    def _start(self) -> Child:
        self.applied = self.fault
        environment = {
            "SERVICE": self.settings.service,
            "TRACK": str(self.track),
            "VERSION": self.settings.versions[self.track],
            "POD": self.name,
            "SEED": str(self.settings.seed),
            "NOISE": self.settings.noise,
            "FAULT": self.fault.text if self.fault else "",
            "FAULT_UNTIL": str(self.fault.until) if self.fault and self.fault.until else "",
        }
        with ExitStack() as sockets:
            bound = [sockets.enter_context(bound_socket())]
            command = [sys.executable, "-m", "sample", "--fd", str(bound[0].fileno())]
            if self.settings.protocol is Protocol.GRPC:
                bound.append(sockets.enter_context(bound_socket(shared=True)))
                self.grpc_port = bound[1].getsockname()[1]
                command += ["--grpc-port", str(self.grpc_port)]
            self.port = bound[0].getsockname()[1]
            log = self.folder.logs / f"{self.name}.log"
            return start_child(self.name, command, log=log, env=environment, fds=[sock.fileno() for sock in bound])

    @property
    def gone(self) -> bool:
        """Whether it was to leave and has ended."""
        return self.terminating and (
            self.supervised.child is None or (self.terminated_at is not None and self.supervised.child.ended)
        )

    @property
    def endpoint(self) -> Endpoint | None:
        """Where the gateway may send requests, if it may."""
        if not self.healthy or self.terminating:
            return None
        version = self.settings.versions[self.track]
        return Endpoint(self.name, self.track, version, self.grpc_port or self.port)

    def tick(self, fault: DesiredFault | None) -> None:
        """Restart, probe and switch the fault, where that is due."""
        self.fault = fault
        if not self.terminating and self.supervised.tick():
            self.healthy = False
        if self.supervised.child is None or self.supervised.child.ended:
            self.healthy = False
        else:
            self._probe()
            self._apply_fault()

    def _probe(self) -> None:
        now = time.monotonic()
        if self.healthy and now - self.probed_at < PROBE_SECONDS:
            return
        self.probed_at = now
        if responds(self.port, "/healthz"):
            self.healthy, self.failed_probes = not self.terminating, 0
        else:
            self.failed_probes += 1
            self.healthy = self.healthy and self.failed_probes < FAILED_PROBES

    def _apply_fault(self) -> None:
        if self.applied == self.fault or not self.healthy:
            return
        body = {"fault": self.fault.text, "until": self.fault.until} if self.fault else {"fault": "", "until": None}
        try:
            request(self.port, FAULT_PATH, seconds=0.3, body=body)
        except UnavailableError:
            self.applied = _UNKNOWN_FAULT  # a pod that hangs may take it later
            self.probed_at = 0.0  # a crash was asked for, or it hangs: look at once
        else:
            self.applied = self.fault

    def end_when_drained(self) -> None:
        """Ask it to finish and end, once the gateway has let go of it for long enough."""
        child, now = self.supervised.child, time.monotonic()
        if not self.terminating or child is None:
            return
        if self.terminated_at is None and not self.routed and now - self.unrouted_at > SETTLE_SECONDS:
            child.process.terminate()
            self.terminated_at = now
        elif self.terminated_at is not None and now - self.terminated_at > TERMINATION_SECONDS:
            child.process.kill()

    def observed(self) -> ObservedPod:
        """Return its observed state; ready means that the gateway knows it too."""
        child = self.supervised.child
        return ObservedPod(
            name=self.name,
            track=self.track,
            version=self.settings.versions[self.track],
            port=self.port,
            pid=child.process.pid if child else 0,
            ready=self.healthy and self.routed,
            restarts=self.supervised.restarts,
            waiting=TERMINATING if self.terminating else self.supervised.waiting,
        )


def reconcile(pods: dict[str, LocalPod], desired: DesiredState, folder: StateFolder, settings: Settings) -> None:
    """Start what is missing, let go of what is too much, forget what is gone."""
    names = {
        f"{settings.service}-{settings.versions[track]}-{number}": track
        for track, replicas in desired.replicas.items()
        for number in range(replicas)
    }
    for pod in [pod for pod in pods.values() if pod.gone]:
        del pods[pod.name]
    for pod in pods.values():
        pod.terminating = pod.terminating or pod.name not in names
    for name, track in names.items():
        if name not in pods:
            pods[name] = LocalPod(folder, settings, name, track, desired.faults.get(track))


def children_of(pods: Iterable[LocalPod]) -> list[Child]:
    """Return the processes of pods that have one."""
    return [pod.supervised.child for pod in pods if pod.supervised.child is not None]
