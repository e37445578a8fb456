"""What `canary` takes before it does anything: processor time, beside that of `python -c pass` and `git --version`.

    python -m benchmarks.startup [--rounds 7] [--json FILE] [--check]

`status` and `abort` are measured up to their first request to a cluster's API, which is a socket of ours that hangs up.
Processor time is user and system time of the process: a busy machine makes it no longer by waiting.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import psutil
import yaml
from rich.console import Console
from rich.table import Table

PLAN = Path(__file__).parents[1] / "rollout.yaml"
CANARY = (sys.executable, "-m", "cli.main")
LIGHT_SECONDS, REQUEST_SECONDS = 0.4, 0.6
PYTHON, GIT = "python -c pass", "git --version"


@dataclass(frozen=True, slots=True)
class Start:
    """Processor time of one command, median of the rounds."""

    command: str
    seconds: float
    allowed: float | None = None

    @property
    def is_met(self) -> bool:
        """Whether it takes no more than is allowed."""
        return self.allowed is None or self.seconds <= self.allowed


def measure(rounds: int) -> list[Start]:
    """Return what each command takes; the rounds go over all of them, so that a disturbance hits all alike."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as api:
        kubeconfig = _kubeconfig(Path(folder), api.getsockname()[1])
        measured: dict[str, tuple[float | None, Callable[[], float]]] = {
            PYTHON: (None, lambda: whole(sys.executable, "-c", "pass")),
            GIT: (None, lambda: whole("git", "--version")),
            "canary --version": (LIGHT_SECONDS, lambda: whole(*CANARY, "--version")),
            "canary --help": (LIGHT_SECONDS, lambda: whole(*CANARY, "--help")),
            "canary abrot": (LIGHT_SECONDS, lambda: whole(*CANARY, "abrot")),
            "completion of canary a": (LIGHT_SECONDS, lambda: whole(*CANARY, completing="canary a")),
            "canary status, first request": (REQUEST_SECONDS, lambda: to_first_request(api, kubeconfig, "status")),
            "canary abort, first request": (REQUEST_SECONDS, lambda: to_first_request(api, kubeconfig, "abort")),
        }
        times: dict[str, list[float]] = {command: [] for command in measured}
        for round_number in range(rounds + 1):
            for command, (_, run) in measured.items():
                seconds = run()
                if round_number:  # the first one reads the files
                    times[command].append(seconds)
    return [Start(command, median(times[command]), allowed) for command, (allowed, _) in measured.items()]


def whole(*line: str, completing: str = "") -> float:
    """Return the processor time of a command from its start to its end, in seconds."""
    env = os.environ | {"_CANARY_COMPLETE": "complete_bash", "COMP_WORDS": completing, "COMP_CWORD": "1"}
    child = subprocess.Popen(
        line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env if completing else None
    )
    _, _, usage = os.wait4(child.pid, 0)
    child.returncode = 0
    return usage.ru_utime + usage.ru_stime


def to_first_request(api: socket.socket, kubeconfig: Path, *words: str) -> float:
    """Return the processor time of a command until it has connected to the API, in seconds."""
    line = [*CANARY, *words, "--kubeconfig", str(kubeconfig), "--plan", str(PLAN)]
    child = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    api.settimeout(60)
    try:
        with api.accept()[0]:
            used = psutil.Process(child.pid).cpu_times()
    finally:
        child.kill()
        child.wait()
    return used.user + used.system


def _kubeconfig(folder: Path, port: int) -> Path:
    context = {"name": "here", "context": {"cluster": "here", "user": "me"}}
    cluster = {"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    kubeconfig = {"clusters": [cluster], "contexts": [context], "users": [{"name": "me", "user": {}}]}
    file = folder / "config"
    file.write_text(yaml.safe_dump(kubeconfig | {"current-context": "here"}))
    return file


def show(starts: list[Start]) -> None:
    """Print the table."""
    by_command = {start.command: start.seconds for start in starts}
    table = Table(title="Processor time at the start", title_justify="left")
    for heading in ("", "seconds", "allowed", "x python -c pass", "x git --version", ""):
        table.add_column(heading, justify="right" if heading else "left")
    for start in starts:
        table.add_row(
            start.command,
            f"{start.seconds:.3f}",
            f"{start.allowed:.1f}" if start.allowed else "",
            f"{_ratio(start.seconds, by_command[PYTHON]):.0f}",
            f"{_ratio(start.seconds, by_command[GIT]):.0f}",
            "" if start.allowed is None else "met" if start.is_met else "missed",
        )
    Console().print(table)


def _ratio(seconds: float, of: float) -> float:
    return seconds / max(of, 0.001)


def main() -> None:
    """Measure, and show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each command is started")
    parser.add_argument("--json", type=Path, help="where to write the results")
    parser.add_argument("--check", action="store_true", help="exit 1 where a command takes more than is allowed")
    options = parser.parse_args()
    starts = measure(options.rounds)
    show(starts)
    if options.json:
        options.json.write_text(json.dumps([asdict(start) | {"met": start.is_met} for start in starts], indent=1))
    sys.exit(1 if options.check and not all(start.is_met for start in starts) else 0)


if __name__ == "__main__":
    main()
