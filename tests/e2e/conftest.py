from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

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


@pytest.fixture(scope="session")
def run_demo(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DemoRun]:
    """Run `canary demo` with these options to its end, and return what it leaves."""
    runs: dict[tuple[str, ...], DemoRun] = {}

    def run(*options: str) -> DemoRun:
        if options not in runs:
            runs[options] = _run(tmp_path_factory.mktemp("demo"), options)
        return runs[options]

    return run


def _run(folder: Path, options: tuple[str, ...]) -> DemoRun:
    record, report, state = folder / "record.json", folder / "report.html", folder / "state"
    command = [CANARY, "demo", *options, "--record", str(record), "--report", str(report), "--state", str(state)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False, cwd=ROOT)
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
