"""The process that owns Envoy, Prometheus and the pods: `python -m backends.local.supervisor STATE_DIR --owner PID`.

It compares what `desired.json` asks for with what runs, makes up the difference, and writes `observed.json`.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

from backends.local.children import Child, end_children, identify, is_running
from backends.local.envoy import find_ports, prepare_envoy, start_envoy, wait_applied
from backends.local.envoy_config import Endpoint, endpoint_file, endpoints, route_file
from backends.local.folder import DesiredState, ObservedState, Processes, StateFolder, write_atomically
from backends.local.loopback import free_port, is_free, responds
from backends.local.pods import LocalPod, children_of, reconcile
from backends.local.prometheus_process import start_prometheus
from backends.local.restarting import SupervisedProcess
from rollout.errors import RolloutError, SetupError, UnavailableError
from rollout.model import Track

TICK_SECONDS = 0.05
HEARTBEAT_SECONDS = 0.5
STARTUP_SECONDS = 20.0
ENDPOINTS_SECONDS = 0.05
"""How long a tick waits for Envoy to take new endpoints; the next tick looks again."""
TRACKS = (Track.STABLE, Track.CANARY)

log = logging.getLogger(__name__)


class Supervisor:
    """Everything that runs, and the loop that keeps it running."""

    def __init__(self, folder: StateFolder, owner: int, ports: tuple[int, int, int] | None = None) -> None:
        self._folder = folder
        self._settings = folder.settings()
        self._owner = identify("owner", owner)
        self._self = identify("supervisor", os.getpid())
        self._is_restart = ports is not None
        """Whether it goes on where another one was killed: with its ports, routes and wanted pods."""
        gateway, admin, self._prometheus_port = ports or (self._settings.gateway_port, 0, 0)
        self._ports = (gateway, admin)
        self._processes: dict[str, SupervisedProcess] = {}
        self._pods: dict[str, LocalPod] = {}
        self._routed: dict[Track, list[Endpoint]] = {track: [] for track in TRACKS}
        self._unconfirmed: dict[Track, str] = {}
        """Versions of endpoints that were written and that Envoy has not confirmed."""
        self._envoy_up = self._serving = self._stopping = False
        self._desired: DesiredState | None = None
        self._observed: ObservedState | None = None
        self._processes_written: Processes | None = None

    def run(self) -> None:
        """Keep things as they are wanted until told to stop, or until the owner is gone."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        self._write_processes()
        prepare_envoy(self._folder, self._settings, keeps_routes=self._is_restart)
        deadline = time.monotonic() + STARTUP_SECONDS
        while not self._stopping and is_running(self._owner):
            self._tick_despite_full_disk()
            if not self._serving:
                self._check_startup(deadline)
            time.sleep(TICK_SECONDS if self._serving else TICK_SECONDS / 4)

    def end(self) -> None:
        """End everything: the gateway first, so that nobody is sent to a pod that is gone."""
        end_children(child for child in self._children() if child.name == "envoy")
        end_children(self._children())

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _tick_despite_full_disk(self) -> None:
        try:
            self._tick()
        except OSError as error:
            if not self._serving:
                raise
            # A disk that takes no files is no reason to take the gateway away from its users.
            log.warning("going on without it: %s", error)

    def _tick(self) -> None:
        if self._serving:
            self._repair_folder()
        desired = self._desired = self._read_desired()
        self._run_gateway()
        reconcile(self._pods, desired, self._folder, self._settings)
        for pod in self._pods.values():
            pod.tick(desired.faults.get(pod.track))
        self._write_processes()
        if self._envoy_up:
            for track in TRACKS:
                self._route(track)
        for pod in self._pods.values():
            pod.end_when_drained()
        if not self._serving:
            self._serving = self._all_up(desired)
        self._report()

    def _read_desired(self) -> DesiredState:
        try:
            return self._folder.desired()
        except UnavailableError:
            if self._desired is None:
                raise
            log.warning("the desired state cannot be read; going on with the last one")
            self._folder.repair(self._desired)
            return self._desired

    def _repair_folder(self) -> None:
        """Put back what was deleted of the folder, which may be going on: a part today, the rest at the next tick."""
        watched = (route_file(self._folder.gateway), *(endpoint_file(self._folder.gateway, track) for track in TRACKS))
        if not all(file.parent.is_dir() for file in watched):
            self._recreate_folder()
        self._folder.make()  # without its logs and configuration nothing could be started again

    def _recreate_folder(self) -> None:
        """Write what was deleted, with all traffic on stable: Envoy hears no more of the folder that is gone."""
        log.error("the state folder was deleted: it is made anew, with all traffic on stable")
        self._folder.make()
        prepare_envoy(self._folder, self._settings)
        self._repair_documents()
        self._routed, self._unconfirmed = {track: [] for track in TRACKS}, {}
        end_children(process.child for process in self._processes.values() if process.child is not None)

    # -- gateway and Prometheus

    def _start_envoy(self) -> Child:
        gateway, admin = self._ports
        return start_envoy(self._folder, self._settings, gateway_port=gateway, admin_port=admin)

    def _start_prometheus(self) -> Child:
        # Another process may take the port in between; then it ends, and is started again on a new one.
        if not self._prometheus_port or not is_free(self._prometheus_port):
            self._prometheus_port = free_port()
        return start_prometheus(self._folder, self._settings, port=self._prometheus_port, admin_port=self._ports[1])

    def _run_gateway(self) -> None:
        envoy = self._processes.get("envoy") or self._processes.setdefault(
            "envoy", SupervisedProcess(self._start_envoy)
        )
        if envoy.tick():
            self._envoy_up = False
        if not self._envoy_up and (ports := find_ports(self._folder)):
            self._ports, self._envoy_up = ports, True
        if "prometheus" in self._processes:
            self._processes["prometheus"].tick()
        elif self._envoy_up:
            self._processes["prometheus"] = SupervisedProcess(self._start_prometheus)

    def _all_up(self, desired: DesiredState) -> bool:
        # A canary that cannot start may be why a rollout is under way: stable serves without it.
        tracks = (Track.STABLE,) if self._is_restart else TRACKS
        ready = sum(pod.healthy and pod.routed for pod in self._pods.values() if pod.track in tracks)
        pods = sum(replicas for track, replicas in desired.replicas.items() if track in tracks)
        return self._envoy_up and ready == pods and responds(self._prometheus_port, "/-/ready")

    def _check_startup(self, deadline: float) -> None:
        crashed = [name for name, process in self._processes.items() if process.restarts > 1]
        for name in crashed:
            raise SetupError(f"{name}: ends as soon as it is started; see {self._folder.logs / name}.log")
        if time.monotonic() > deadline:
            raise SetupError(f"not up within {STARTUP_SECONDS:g} s; see the logs in {self._folder.logs}")

    # -- endpoints

    def _route(self, track: Track) -> None:
        pods = [pod for pod in self._pods.values() if pod.track is track]
        reachable = [pod.endpoint for pod in pods if pod.endpoint is not None]
        if reachable != self._routed[track]:
            self._write_endpoints(track, reachable)
        version = self._unconfirmed.get(track)
        if version and self._is_applied(track, version):
            del self._unconfirmed[track]
        if track not in self._unconfirmed:
            _mark_routed(pods, {endpoint.pod for endpoint in reachable})

    def _write_endpoints(self, track: Track, reachable: list[Endpoint]) -> None:
        version = f"{time.time_ns()}"
        document = endpoints(self._settings.service, track, reachable, version=version)
        write_atomically(endpoint_file(self._folder.gateway, track), json.dumps(document))
        self._routed[track], self._unconfirmed[track] = reachable, version

    def _is_applied(self, track: Track, version: str) -> bool:
        try:
            return wait_applied(self._ports[1], str(track), version, seconds=ENDPOINTS_SECONDS)
        except UnavailableError:
            return False

    # -- what others read

    def _children(self) -> list[Child]:
        process = [process.child for process in self._processes.values() if process.child is not None]
        return process + children_of(self._pods.values())

    def _write_processes(self) -> None:
        listed = Processes(
            supervisor=self._self, owner=self._owner, children=tuple(child.entry for child in self._children())
        )
        if listed != self._processes_written:
            self._folder.write(listed)
            self._processes_written = listed

    def _report(self) -> None:
        observed = ObservedState(
            at=time.time(),
            supervisor=os.getpid(),
            gateway_port=self._ports[0],
            admin_port=self._ports[1],
            prometheus_port=self._prometheus_port,
            pods=tuple(pod.observed() for pod in self._pods.values()),
            serving=self._serving,
        )
        last = self._observed
        if (
            last is None
            or observed.at - last.at > HEARTBEAT_SECONDS
            or observed.model_copy(update={"at": last.at}) != last
        ):
            self._repair_documents()
            self._folder.write(observed)
            self._observed = observed

    def _repair_documents(self) -> None:
        """Put in place again what somebody has damaged: all of it is known here."""
        for document in (self._settings, self._desired, self._processes_written):
            if document is not None:
                self._folder.repair(document)


def _mark_routed(pods: list[LocalPod], routed: set[str]) -> None:
    for pod in pods:
        if pod.routed and pod.name not in routed:
            pod.unrouted_at = time.monotonic()
        pod.routed = pod.name in routed


def main() -> int:
    """Run until told to stop; say in the observed state why, when it could not go on."""
    parser = argparse.ArgumentParser(prog="supervisor", description=__doc__)
    parser.add_argument("state_dir", type=Path)
    parser.add_argument("--owner", type=int, required=True, help="pid of the process whose end ends everything")
    parser.add_argument(
        "--ports", type=int, nargs=3, help="go on with these ports of gateway, its admin and Prometheus"
    )
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    folder = StateFolder(options.state_dir)
    supervisor = Supervisor(folder, options.owner, tuple(options.ports) if options.ports else None)
    try:
        supervisor.run()
    except (RolloutError, OSError) as error:
        log.exception("giving up")
        folder.write(ObservedState(at=time.time(), supervisor=os.getpid(), error=str(error)))
        return 1
    finally:
        supervisor.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
