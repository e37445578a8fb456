"""`canary demo` that is ended from outside, or never begins."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from backends.local.environment import end_leftovers
from backends.local.ledger import LocalLedger
from tests.e2e.runs import CANARY, ROOT, processes_using

pytestmark = pytest.mark.e2e


def wait_begun(state: Path) -> None:
    """Return once the rollout's first event is on the disk."""
    until = time.monotonic() + 120
    while time.monotonic() < until and not any(state.glob("rollouts/*/events.jsonl")):
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_no_process_and_a_readable_record(tmp_path: Path, number: int) -> None:
    command = [CANARY, "demo", "--rate", "100", "--state", str(tmp_path)]
    demo = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    wait_begun(tmp_path)
    time.sleep(random.Random(int(number)).uniform(0, 12))

    os.kill(demo.pid, number)
    demo.wait(timeout=40)
    if number == signal.SIGKILL:
        time.sleep(5)
        end_leftovers(tmp_path)

    assert processes_using(tmp_path) == []
    (folder,) = (tmp_path / "rollouts").glob("*/")
    assert LocalLedger(folder).read().started is not None


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--fault", "boom"], 2, "fault: got 'boom', allowed"),
        (["--fault", "outage", "--at", "nowhere+3"], 2, "--at: got 'nowhere+3'"),
        (["--for", "10s"], 2, "--for: got '10s' without --fault"),
        (["--plan", "missing.yaml"], 2, "missing.yaml: cannot be read"),
        (["--rate", "0"], 2, "--rate"),
        (["--record", "/nowhere/record.json"], 2, "--record: got '/nowhere/record.json'"),
        (["--state", "/proc/nowhere"], 1, "/proc/nowhere"),
        (["--ui-port", "{taken}"], 1, "is taken"),
    ],
)
def test_bad_input_is_one_line_that_says_what_to_do(tmp_path: Path, options: list[str], code: int, said: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        filled = [option.format(taken=taken.getsockname()[1]) for option in options]
        command = [CANARY, "demo", "--state", str(tmp_path / "state"), *filled]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, check=False)

    assert processes_using(tmp_path) == []
    assert done.returncode == code
    assert said in done.stderr
    assert "Traceback" not in done.stderr
