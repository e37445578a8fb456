"""Runs of the real demo, and what a test asks of them."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from rollout.events import WeightsSet
from rollout.record import RolloutRecord, parse_record

ROOT = Path(__file__).parents[2]
CANARY = str(Path(sys.executable).with_name("canary"))


@dataclass(frozen=True)
class DemoRun:
    code: int
    output: str
    record: RolloutRecord
    report: str
    state: Path


def run_to_end(folder: Path, options: tuple[str, ...]) -> DemoRun:
    record, report, state = folder / "record.json", folder / "report.html", folder / "state"
    command = [CANARY, "demo", *options, "--record", str(record), "--report", str(report), "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False, cwd=ROOT)
    assert record.exists(), f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return DemoRun(
        done.returncode, done.stdout + done.stderr, parse_record(record.read_text()), report.read_text(), state
    )


def processes_using(folder: Path) -> list[str]:
    """Return the command lines of the processes that have this folder in them."""
    lines = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        line = " ".join(process.info["cmdline"] or [])
        if str(folder) in line or str(folder) in (process.info["cwd"] or ""):
            lines.append(line)
    return lines


def weights(record: RolloutRecord) -> list[int]:
    """Return the canary's shares that were put in force, in order."""
    return [event.canary for event in record.of(WeightsSet)]


def only(record: RolloutRecord, kind: type[Any]) -> Any:
    """Return the one event of a kind."""
    (event,) = record.of(kind)
    return event
