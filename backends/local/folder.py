"""The state folder: desired state, observed state, and where each file lies."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from filelock import FileLock
from pydantic import BaseModel, ConfigDict, ValidationError

from backends.local.damaged_files import make_writable, set_aside
from rollout.errors import UnavailableError
from rollout.model import Pod, Track
from sample.faults import Protocol

TERMINATING = "Terminating"


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Document = TypeVar("_Document", bound=_File)


class Settings(_File):
    """What does not change while a world lives."""

    service: str
    versions: dict[Track, str]
    scrape_seconds: float
    timeout_seconds: float
    seed: int
    envoy: str
    prometheus: str
    gateway_port: int = 0
    protocol: Protocol = Protocol.HTTP
    noise: str = ""
    """A fault that the pods of every track have all the time."""


class DesiredFault(_File):
    """A fault that a track's pods are to have, until a moment in seconds since the epoch."""

    text: str
    until: float | None = None


class DesiredState(_File):
    """The desired state: clients write it, the supervisor makes it so."""

    replicas: dict[Track, int]
    faults: dict[Track, DesiredFault] = {}


class ObservedPod(_File):
    """A pod as the supervisor sees it."""

    name: str
    track: Track
    version: str
    port: int
    pid: int
    ready: bool
    restarts: int
    waiting: str

    def as_pod(self) -> Pod:
        """Return what the ports speak of."""
        return Pod(self.name, self.track, self.ready, self.restarts, self.waiting)


class ObservedState(_File):
    """The observed state: the supervisor writes it, at least twice a second."""

    at: float
    supervisor: int
    gateway_port: int = 0
    admin_port: int = 0
    prometheus_port: int = 0
    pods: tuple[ObservedPod, ...] = ()
    serving: bool = False
    """All that was wanted at the start is up."""
    error: str = ""
    """Why the supervisor gave up, if it did."""


class StartedProcess(_File):
    """A process that has to be ended: its number alone could by then be another's."""

    name: str
    pid: int
    created: float


class Processes(_File):
    """All processes of a world, the supervisor and its owner included."""

    supervisor: StartedProcess
    owner: StartedProcess
    children: tuple[StartedProcess, ...] = ()


_NAMES: dict[type[_File], str] = {
    Settings: "settings.json",
    DesiredState: "desired.json",
    ObservedState: "observed.json",
    Processes: "processes.json",
}


@dataclass(frozen=True, slots=True)
class StateFolder:
    """Paths below a state folder, and the four documents in it."""

    path: Path

    @property
    def gateway(self) -> Path:
        """Envoy's files."""
        return self.path / "gateway"

    @property
    def prometheus(self) -> Path:
        """Prometheus' configuration and data."""
        return self.path / "prometheus"

    @property
    def logs(self) -> Path:
        """One log a process."""
        return self.path / "logs"

    def rollout(self, name: str) -> Path:
        """Where a rollout's record lies."""
        return self.path / "rollouts" / name

    def make(self) -> None:
        """Make the folders that processes expect."""
        for folder in (self.gateway / "routes", self.gateway / "endpoints", self.prometheus, self.logs):
            folder.mkdir(parents=True, exist_ok=True)

    def write(self, document: Settings | DesiredState | ObservedState | Processes) -> None:
        """Replace a document; what is no file in its place is set aside."""
        file = self._file(type(document))
        make_writable(file)
        write_atomically(file, document.model_dump_json())

    def repair(self, document: Settings | DesiredState | Processes) -> None:
        """Make sure that a document can be read; one that cannot is set aside, and this one written in its place."""
        file = self._file(type(document))
        try:
            type(document).model_validate_json(file.read_bytes())
        except (OSError, ValidationError) as error:
            set_aside(file, f"cannot be read ({type(error).__name__})")
            self.write(document)

    def settings(self) -> Settings:
        """Return what the world was started with."""
        return _read(self._file(Settings), Settings)

    def desired(self) -> DesiredState:
        """Return the desired state."""
        return _read(self._file(DesiredState), DesiredState)

    def observed(self) -> ObservedState:
        """Return the observed state."""
        return _read(self._file(ObservedState), ObservedState)

    def processes(self) -> Processes:
        """Return the processes that were started."""
        return _read(self._file(Processes), Processes)

    def update_desired(
        self, *, replicas: dict[Track, int] | None = None, faults: dict[Track, DesiredFault | None]
    ) -> None:
        """Change the desired state; None takes a track's fault away. Safe among several writers."""
        with FileLock(self.path / "desired.guard", timeout=1):
            now = self.desired()
            merged = {**now.faults, **faults}
            self.write(
                DesiredState(
                    replicas=now.replicas | (replicas or {}),
                    faults={track: fault for track, fault in merged.items() if fault is not None},
                )
            )

    def documents(self) -> tuple[Path, ...]:
        """Return the documents' files."""
        return tuple(self.path / name for name in _NAMES.values())

    def _file(self, kind: type[_File]) -> Path:
        return self.path / _NAMES[kind]


def _read(file: Path, kind: type[_Document]) -> _Document:
    try:
        return kind.model_validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise UnavailableError(f"read {file}: {type(error).__name__}; is the local backend running?") from error


def write_atomically(file: Path, text: str) -> None:
    """Replace a file's content in one step, so that no reader ever sees half of it."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text(text)
    draft.replace(file)
