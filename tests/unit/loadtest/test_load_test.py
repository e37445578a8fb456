"""Whole load tests: a real Locust, a real service, and the result."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx
import psutil
import pytest

from loadtest.profile import validate_profile
from loadtest.runner import LoadRun
from loadtest.validation.spec_from_profile import load_spec
from loadtest.validation.validation_run import run_load_test
from rollout.load_test_result import ValidationResult, parse_result
from rollout.model import Outcome
from tests.unit.loadtest.commandline import canary
from tests.unit.loadtest.service import wait_until

LENIENT = {"errors_below": "2%", "success_above": "98%", "throughput_above": "98%"}


def tried(url: str, folder: Path, **profile: Any) -> ValidationResult:
    defaults: dict[str, Any] = {"rate": 150, "duration": "2s", "criteria": LENIENT}
    return run_load_test(validate_profile(defaults | profile, folder=folder), url, folder=folder / "load", files=folder)


def outcomes(result: ValidationResult) -> dict[str, Outcome]:
    return {finding.criterion: finding.outcome for finding in result.findings}


def test_a_healthy_service_passes_and_every_request_is_in_the_result(service: str, tmp_path: Path):
    ramp = {"kind": "ramp", "start": 100, "over": "1s"}
    (tmp_path / "hello.txt").write_text("hello")
    echo = {"path": "/echo", "method": "POST", "body_file": "hello.txt", "headers": {"x-canary": "always"}}

    result = tried(f"{service}/", tmp_path, endpoints=[{"path": "/", "weight": 3}, echo], shape=ramp)

    assert result.outcome is Outcome.PASS
    assert result.total.requests == result.sent == int(httpx.get(f"{service}/seen").text) == 275
    assert {entry.endpoint: entry.track for entry in result.counted} == {"/": "stable", "POST /echo": "stable"}
    assert result.errors == {}
    in_time = sum(point.sent for point in result.course) * 0.1  # windows of a tenth of a second
    assert 200 < in_time <= 275.01  # a busy machine sends the last ones late
    assert parse_result(result.model_dump_json()) == result


def test_errors_of_the_service_fail_the_test_and_are_counted_by_kind(service: str, tmp_path: Path):
    result = tried(f"{service}/bad", tmp_path)

    assert outcomes(result) == {
        "errors": Outcome.FAIL,
        "success": Outcome.FAIL,
        "4xx answers": Outcome.PASS,
        "throughput": Outcome.FAIL,
        "mean latency": Outcome.PASS,
    }
    assert result.errors == {"canary: status 500": pytest.approx(result.total.requests / 2, abs=1)}


def test_answers_that_are_not_found_are_no_errors_and_have_a_criterion_of_their_own(service: str, tmp_path: Path):
    result = tried(f"{service}/missing", tmp_path)

    assert outcomes(result) == {
        "errors": Outcome.PASS,
        "success": Outcome.PASS,
        "4xx answers": Outcome.FAIL,
        "throughput": Outcome.PASS,
        "mean latency": Outcome.PASS,
    }
    assert result.outcome is Outcome.FAIL
    assert result.total.client_errors == result.total.failures == pytest.approx(result.total.requests / 4, abs=1)


def test_answers_that_the_profile_expects_are_no_client_errors(service: str, tmp_path: Path):
    result = tried(f"{service}/missing", tmp_path, expected_statuses=[404])

    assert result.outcome is Outcome.PASS
    assert result.total.failures == 0
    assert result.errors == {}


def test_too_few_requests_are_inconclusive_and_say_how_many_are_missing(service: str, tmp_path: Path):
    result = tried(f"{service}/", tmp_path, criteria={})

    assert result.outcome is Outcome.INCONCLUSIVE
    assert result.findings[0].requests_needed == 2995 - 300  # the rule of three, for 0.1 %


def test_the_load_is_halved_when_the_service_is_melting(service: str, tmp_path: Path):
    result = tried(f"{service}/bad", tmp_path, duration="3s", back_off={"above": "20%", "over": "500ms"})

    assert result.held_back > 100
    assert result.sent + result.held_back == 450
    assert "halved" in result.notes[0]


def test_a_persons_own_locustfile_is_counted_by_its_own_names_and_by_track(service: str, tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "from locust import FastHttpUser, constant, task\n"
        "class Shopper(FastHttpUser):\n"
        "    wait_time = constant(0.01)\n"
        "    @task\n"
        "    def browse(self):\n"
        "        self.client.get('/', name='browsing')\n"
        "        self.client.get('/bad', name='paying')\n"
    )

    result = tried(f"{service}/", tmp_path, locustfile="mine.py", model="closed", users=2, rate=None)

    assert {(entry.endpoint, entry.track) for entry in result.counted} == {("browsing", "stable"), ("paying", "canary")}
    assert result.total.requests == int(httpx.get(f"{service}/seen").text)
    assert outcomes(result)["errors"] is Outcome.FAIL


def test_a_lost_worker_is_reported_and_the_other_takes_its_part_over(service: str, tmp_path: Path):
    profile = validate_profile({"rate": 100, "duration": "60s", "processes": 2})
    run = LoadRun(load_spec(profile, f"{service}/", folder=tmp_path), tmp_path / "load")
    run.start()
    try:
        wait_until(lambda: run.results().requests > 100)
        lost = run.worker_pids[0]
        os.kill(lost, signal.SIGKILL)
        wait_until(lambda: len(run.worker_pids) == 1)
        window = run.windows()[-1].index + 1
        wait_until(lambda: any(one.sent > 90 for one in run.windows() if one.index > window))
    finally:
        run.stop()

    assert [worker.pid for worker in run.lost] == [lost]
    assert run.lost[0].exit_code == -signal.SIGKILL


def test_the_command_writes_four_reports_and_its_exit_code_tells_the_verdict(service: str, tmp_path: Path):
    done = canary("--url", f"{service}/bad", "--rate", "100", "--duration", "2s", "-o", "out", cwd=tmp_path)

    assert done.returncode == 3, done.stderr
    assert done.stdout.splitlines()[1].startswith("Failed: ")
    assert parse_result((tmp_path / "out/result.json").read_text()).outcome is Outcome.FAIL
    assert "Load test failed" in (tmp_path / "out/summary.md").read_text()
    suite = ElementTree.parse(tmp_path / "out/junit.xml").getroot()[0]
    assert (suite.attrib["tests"], suite.attrib["failures"]) == ("5", "4")
    page = (tmp_path / "out/report.html").read_text()
    assert "<h1>" in page
    assert "status 500" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--rate", "10"], "--url: missing"),
        (["--url", "http://127.0.0.1:1/"], "rate: missing"),
        (["--url", "http://127.0.0.1:1/", "--rate", "-1"], "--rate: got -1"),
        (["--url", "http://127.0.0.1:1/", "--rate", "1", "--duration", "soon"], "--duration: got 'soon'"),
        (["--url", "http://shop.example/", "--rate", "1"], "load url is 'http://shop.example/'"),
        (
            ["--url", "http://127.0.0.1:1/", "--rate", "1", "--against", "http://shop.example/"],
            "load url is 'http://shop.example/'",
        ),
        (
            ["--url", "http://127.0.0.1:1/", "--rate", "1", "--against", "http://127.0.0.1:2/", "--accept"],
            "--against: got it together with --accept",
        ),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(arguments: list[str], said: str, tmp_path: Path):
    done = canary(*arguments, cwd=tmp_path)

    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_interrupted_test_leaves_no_process_behind(service: str, tmp_path: Path):
    command = [
        str(Path(sys.executable).with_name("canary")),
        "loadtest",
        "--url",
        service,
        "--rate",
        "50",
        "--processes",
        "2",
    ]
    child = subprocess.Popen([*command, "-o", "out"], cwd=tmp_path, stdout=subprocess.DEVNULL)
    parent = psutil.Process(child.pid)
    wait_until(lambda: (tmp_path / "out/load").is_dir() and len(parent.children()) == 3)
    time.sleep(1)
    load = parent.children()

    child.send_signal(signal.SIGTERM)

    assert child.wait(30) == 128 + signal.SIGTERM
    assert not any(one.is_running() for one in load)
