"""Files that are not what they should be: read as far as they go, and set aside before anything is written there."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from rollout.errors import DamagedError, UnavailableError

log = logging.getLogger(__name__)

MOST_BYTES = 64 * 2**20
"""Of a larger file its two ends are read: a record has its beginning at the one and its end at the other."""
_PERMANENT = frozenset(
    {errno.EISDIR, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EINVAL, errno.EIO}
)
"""Errors that no later call will be without: not those of a disk that is full or slow."""


def is_permanent(error: OSError) -> bool:
    """Return whether a file cannot be read because of what it is, and not because of the moment."""
    return error.errno in _PERMANENT


@contextmanager
def raising_damaged(what: str, file: Path) -> Iterator[None]:
    """Translate an OSError of the body into an error of ours that names the file.

    Raises
    ------
    DamagedError
        When the file will never be readable.
    UnavailableError
        When the same call may succeed later.
    """
    try:
        yield
    except OSError as error:
        kind = DamagedError if is_permanent(error) else UnavailableError
        raise kind(f"{what} {file}: {error.strerror or error}") from error


@contextmanager
def raising_unavailable(what: str, file: Path) -> Iterator[None]:
    """Translate any OSError of the body into an UnavailableError: the next write sets aside what is in its way."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(f"{what} {file}: {error.strerror or error}") from error


def read_bounded(file: Path) -> bytes:
    """Return what a regular file holds; of one that is too large both ends, as if cut within a line. Empty: no file.

    Raises
    ------
    OSError
        Also where something else than a regular file is in its place: a pipe would never end.
    """
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
    except FileNotFoundError:
        return b""
    with os.fdopen(descriptor, "rb", buffering=0) as stream:
        if not file.is_file():
            raise IsADirectoryError(errno.EISDIR, "is no regular file", str(file))
        size = os.fstat(stream.fileno()).st_size
        if size <= MOST_BYTES:
            return stream.readall()
        half = MOST_BYTES // 2
        return os.pread(descriptor, half, 0) + b"\n" + os.pread(descriptor, half, size - half)


def ends_with_newline(descriptor: int) -> bool:
    """Return whether an open file of lines is empty, or ends with a whole one."""
    size = os.fstat(descriptor).st_size
    return not size or os.pread(descriptor, 1, size - 1) == b"\n"


def set_aside(file: Path, why: str) -> Path | None:
    """Rename what is in a file's place, log that, and return the new path; None where nothing was there.

    Raises
    ------
    OSError
        When the folder does not allow it.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    aside = file.with_name(f"{file.name}.damaged-{stamp}-{os.getpid()}")
    try:
        file.rename(aside)
    except FileNotFoundError:
        return None
    log.warning("%s: %s; set aside as %s", file, why, aside.name)
    return aside


def make_writable(file: Path) -> None:
    """Make a file's folder, and set aside whatever is in the file's place and cannot be written to.

    What can be read of it is copied back, so that a record that was made read-only goes on.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if os.path.lexists(file) and not (file.is_file() and os.access(file, os.W_OK)):
        aside = set_aside(file, "is no file that can be written")
        if aside is not None and aside.is_file() and os.access(aside, os.R_OK):
            file.write_bytes(aside.read_bytes())
