"""Postgres for Prefect's server, in a folder of its own: SQLite is locked for seconds when many runs begin at once."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from backends.local.children import Child, as_user, end_children, start_child
from backends.local.loopback import free_port
from rollout.errors import SetupError

_DEBIAN = Path("/usr/lib/postgresql")
_USER = "prefect"
_START_SECONDS = 30.0
_STOP_SECONDS = 5.0
_READY_LINE = 7
"""Line of `postmaster.pid` that says whether connections are taken."""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "100",
    "shared_buffers": "64MB",
    # A crash of the machine may forget the last half second of what Prefect shows; rollouts have their own record.
    "synchronous_commit": "off",
}


@contextmanager
def running_postgres(folder: Path) -> Iterator[str]:
    """Run Postgres on loopback while the body runs, and give its address as SQLAlchemy writes it.

    Parameters
    ----------
    folder
        Where its data lies; made at the first time. Under root it is given to the user `postgres`, or `nobody`.

    Raises
    ------
    SetupError
        In one line: it is not installed, or cannot be used in this folder. Nothing is left running.
    """
    programs, data, port = find_programs(), folder / "data", free_port()
    password = _database_password(folder, programs)
    settings = [f"--{name}={value}" for name, value in _SETTINGS.items()]
    command = [str(programs / "postgres"), "-D", str(data), "-p", str(port), *settings]
    child = start_child("postgres", command, log=folder.parent / "postgres.log", user=_unprivileged())
    try:
        _wait_ready(child, data, folder.parent / "postgres.log")
        yield f"postgresql+asyncpg://{_USER}:{password}@127.0.0.1:{port}/postgres"
    finally:
        _end(child)


def find_programs() -> Path:
    """Return the folder of `postgres` and `initdb`: the one on the PATH, or the newest of Debian's.

    Raises
    ------
    SetupError
        When there is none.
    """
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += sorted(_DEBIAN.glob("[0-9]*/bin"), key=lambda folder: int(folder.parent.name), reverse=True)
    for folder in folders:
        if (folder / "initdb").is_file() and (folder / "postgres").is_file():
            return folder
    raise SetupError("postgres: not found on the PATH nor in /usr/lib/postgresql; `apt-get install postgresql`")


def _unprivileged() -> str | None:
    """Return whom Postgres has to run as, where this is root: it refuses to be."""
    if os.geteuid() != 0:
        return None
    with suppress(KeyError):
        return pwd.getpwnam("postgres").pw_name
    return "nobody"


def _database_password(folder: Path, programs: Path) -> str:
    """Make the database where there is none yet, and return its password."""
    secret = folder / "password"
    if not (folder / "data" / "PG_VERSION").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True, mode=0o700)
            secret.touch(mode=0o600)
            secret.write_text(secrets.token_urlsafe(24))
            if user := _unprivileged():
                for path in (folder, secret):
                    shutil.chown(path, user)
        except OSError as error:
            raise SetupError(f"postgres: {folder}: {error.strerror}") from error
        _initialise(folder, programs)
    return secret.read_text()


def _initialise(folder: Path, programs: Path) -> None:
    command = [str(programs / "initdb"), "-D", str(folder / "data"), "-U", _USER, "--pwfile", str(folder / "password")]
    command += ["-A", "scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync"]
    user = _unprivileged()
    run_as = as_user(user) if user else {}
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **run_as)
    if done.returncode:
        message = next((line for line in done.stderr.splitlines() if "error:" in line), done.stderr.strip())
        raise SetupError(
            f"postgres: {message.partition('error: ')[2] or message}{f' (as user {user})' if user else ''}"
        )


def _wait_ready(child: Child, data: Path, log: Path) -> None:
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if child.ended:
            raise SetupError(f"postgres: ended at its start; see {log}")
        with suppress(OSError):
            lines = (data / "postmaster.pid").read_text().splitlines()
            if lines[:1] == [str(child.process.pid)] and lines[_READY_LINE:][:1] == ["ready   "]:
                return
        time.sleep(0.02)
    raise SetupError(f"postgres: not ready after {_START_SECONDS:g} s; see {log}")


def _end(child: Child) -> None:
    """End it without waiting for its clients, as SIGTERM would."""
    if not child.ended:
        child.process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            child.process.wait(_STOP_SECONDS)
    end_children([child])
