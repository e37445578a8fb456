"""Runs of the real demo: shared by the benchmarks that measure it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from rollout.record import RolloutRecord, parse_record

CANARY = str(Path(sys.executable).with_name("canary"))
LONGEST_SECONDS = 400


def run_demo(folder: Path, *options: str, expected: int) -> RolloutRecord:
    """Run `canary demo` in a folder of its own, and return its record; exits when it ends in another way."""
    record = folder / "record.json"
    command = [CANARY, "demo", *options, "--record", str(record), "--state", str(folder / "state")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_SECONDS, check=False)
    if done.returncode != expected:
        sys.exit(f"{' '.join(command)}: exit {done.returncode}, expected {expected}\n{done.stdout}{done.stderr}")
    return parse_record(record.read_text(), source=str(record))
