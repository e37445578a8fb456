"""`canary demo` on the real parts: Envoy, Prometheus, Prefect, Locust and the sample service."""

from __future__ import annotations

import math
import os
import random
import re
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backends.local.ledger import LocalLedger
from backends.local.world import end_leftovers
from rollout.record import (
    DecisionMade,
    EndState,
    LoadSummary,
    RolloutRecord,
    StepEnded,
    VerdictChanged,
    WeightsSet,
)
from tests.e2e.conftest import CANARY, ROOT, DemoRun, processes_using

pytestmark = pytest.mark.e2e
Demo = Callable[..., DemoRun]


def weights(record: RolloutRecord) -> list[int]:
    return [event.canary for event in record.events if isinstance(event, WeightsSet)]


def only(record: RolloutRecord, kind: type[Any]) -> Any:
    (event,) = [event for event in record.events if isinstance(event, kind)]
    return event


def test_a_healthy_canary_is_promoted_and_the_report_says_why(run_demo: Demo) -> None:
    run = run_demo()

    assert (run.code, run.record.ended.state) == (0, EndState.PROMOTED)
    assert weights(run.record) == [0, 20, 50, 100]
    assert run.record.ended.reason in run.report
    assert "promoted" in run.output


def test_no_request_is_lost_over_a_whole_rollout(run_demo: Demo) -> None:
    load: LoadSummary = only(run_demo().record, LoadSummary)

    assert load.requests >= 20_000
    assert load.failures == 0


def test_the_observed_share_fits_the_weight_at_every_step(run_demo: Demo) -> None:
    run = run_demo()

    steps = {step.name: step.canary / 100 for step in run.record.started.plan.steps}
    for event in run.record.events:
        if isinstance(event, StepEnded):
            share, requests = steps[event.step], event.requests
            assert abs(event.observed - share) <= 3.29 * math.sqrt(share * (1 - share) / requests)


@pytest.mark.parametrize(
    ("fault", "said"),
    [("errors=5%", "error"), ("errors=0.5%", "error"), ("latency=+50%", "latency"), ("crash-loop", "pod|crash|ready")],
)
def test_a_faulty_canary_is_rolled_back(run_demo: Demo, fault: str, said: str) -> None:
    run = run_demo("--fault", fault)

    assert (run.code, run.record.ended.state) == (3, EndState.ROLLED_BACK)
    assert weights(run.record) == [0, 20, 0]
    assert re.search(said, run.record.ended.reason)
    assert only(run.record, LoadSummary).failures_by_track.get("stable", 0) == 0


def test_an_outage_of_both_tracks_is_held_as_common_mode_and_then_promoted(run_demo: Demo) -> None:
    run = run_demo("--fault", "outage")

    verdicts = [event for event in run.record.events if isinstance(event, VerdictChanged)]
    decisions = [event.decision for event in run.record.events if isinstance(event, DecisionMade)]
    assert run.code == 0
    assert "roll back" not in decisions
    assert any(finding.basis == "common mode" for event in verdicts for finding in event.verdict.findings)


def test_nothing_is_left_running_after_a_demo(run_demo: Demo) -> None:
    assert processes_using(run_demo().state) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_demo_that_is_ended_leaves_no_process_and_a_readable_record(tmp_path: Path, number: int) -> None:
    moment = random.Random(int(number)).uniform(22, 45)
    demo = subprocess.Popen([CANARY, "demo", "--state", str(tmp_path)], cwd=ROOT, stdout=subprocess.DEVNULL)
    time.sleep(moment)

    os.kill(demo.pid, number)
    demo.wait(timeout=40)
    if number == signal.SIGKILL:
        time.sleep(5)
        end_leftovers(tmp_path)

    assert processes_using(tmp_path) == []
    for folder in (tmp_path / "rollouts").glob("*/"):
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
