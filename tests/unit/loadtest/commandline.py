"""The command line, as a user types it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def canary(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `canary loadtest` to its end."""
    command = [str(Path(sys.executable).with_name("canary")), "loadtest", *arguments]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=240)
