"""Folders that a program of another user may enter."""

import stat
from pathlib import Path


def enterable(folder: Path) -> Path:
    """Let everybody pass through a folder of pytest's: Postgres runs as a user of its own where this is root."""
    closed = [one for one in (folder, *folder.parents) if not one.stat().st_mode & stat.S_IXOTH]
    for one in closed:
        one.chmod(one.stat().st_mode | stat.S_IXOTH)
    return folder
