"""Child processes that are never left behind."""

from __future__ import annotations

import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from backends.local.folder import StartedProcess, StateFolder
from rollout.errors import SetupError, UnavailableError

GRACE_SECONDS = 2.0
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Child:
    """A running process of ours."""

    name: str
    process: subprocess.Popen[bytes]
    entry: StartedProcess
    began: float
    """On the monotonic clock."""

    @property
    def ended(self) -> bool:
        """Whether it has exited."""
        return self.process.poll() is not None


def start_child(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    env: Mapping[str, str] | None = None,
    fds: Sequence[int] = (),
    user: str | None = None,
) -> Child:
    """Start a process in a session of its own that ends when its parent does, as another user where one is named.

    Raises
    ------
    OSError
        When the program cannot be run.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, **(env or {})},
            pass_fds=fds,
            start_new_session=True,
            preexec_fn=_end_with_parent(),
            **(as_user(user) if user else {}),
        )
    return Child(name, process, identify(name, process.pid), time.monotonic())


def as_user(name: str) -> dict[str, Any]:
    """Return how `subprocess` runs a program as this user, with none of the groups that are ours."""
    return {"user": name, "group": pwd.getpwnam(name).pw_gid, "extra_groups": []}


def identify(name: str, pid: int) -> StartedProcess:
    """Return what identifies a process for good: its number and when it was made."""
    try:
        return StartedProcess(name=name, pid=pid, created=psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return StartedProcess(name=name, pid=pid, created=0)


def _end_with_parent() -> Callable[[], None]:
    """Return what a child has to do between fork and exec for the kernel to end it with its parent."""
    parent = os.getpid()
    ask_kernel = _death_signal(signal.SIGKILL)

    def ask() -> None:
        ask_kernel()
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask


def end_with_parent() -> None:
    """Let this process get a SIGTERM when its parent dies, so that it can clean up; Linux only."""
    _death_signal(signal.SIGTERM)()


def _death_signal(number: int) -> Callable[[], None]:
    if sys.platform != "linux":
        return lambda: None
    libc = ctypes.CDLL(None)  # loaded before a fork, never after it
    return lambda: libc.prctl(_PR_SET_PDEATHSIG, number)


def is_running(entry: StartedProcess) -> bool:
    """Return whether this very process still runs."""
    try:
        process = psutil.Process(entry.pid)
        return abs(process.create_time() - entry.created) < 0.1 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def was_running_at(pid: int, moment: float) -> bool:
    """Return whether the process of this number lives and lived at a moment already, in seconds since the epoch."""
    try:
        process = psutil.Process(pid)
        return process.create_time() <= moment and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.NoSuchProcess, OverflowError):
        return False


def end_children(children: Iterable[Child], *, grace: float = GRACE_SECONDS) -> None:
    """End processes, kindly first, and reap them."""
    running = [child for child in children if not child.ended]
    for child in running:
        child.process.terminate()
    deadline = time.monotonic() + grace
    for child in running:
        try:
            child.process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.process.kill()
            child.process.wait()


def end_processes(entries: Iterable[StartedProcess], *, grace: float = GRACE_SECONDS) -> tuple[str, ...]:
    """End whichever of these processes still run, ours or not; return their names."""
    running = [(entry, psutil.Process(entry.pid)) for entry in entries if is_running(entry)]
    for _, process in running:
        _send(process.terminate)
    _, survivors = psutil.wait_procs([process for _, process in running], timeout=grace)
    for process in survivors:
        _send(process.kill)
    psutil.wait_procs(survivors, timeout=grace)
    return tuple(entry.name for entry, _ in running)


def _send(call: Callable[[], None]) -> None:
    try:
        call()
    except psutil.NoSuchProcess:
        return


def end_leftovers(state_dir: Path) -> tuple[str, ...]:
    """End the processes that a dead world left behind, and return their names.

    A world whose supervisor and owner both live is no leftover and is left alone.
    """
    try:
        processes = StateFolder(state_dir).processes()
    except UnavailableError:
        return ()
    if is_running(processes.supervisor) and is_running(processes.owner):
        return ()
    # The supervisor goes first, or it would start again what we end.
    return end_processes([processes.supervisor]) + end_processes(processes.children)


def check_running(folder: StateFolder, error: UnavailableError) -> None:
    """Return where a world that did not answer may answer later: its supervisor lives, or who starts that again.

    Raises
    ------
    SetupError
        When it has ended for good.
    """
    try:
        processes = folder.processes()
    except UnavailableError:
        return
    if not is_running(processes.supervisor) and not is_running(processes.owner):
        raise SetupError(f"the local world in {folder.path} has ended, nothing serves there any more") from error
