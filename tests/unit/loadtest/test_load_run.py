"""A real Locust against a real server on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import httpx
import psutil
import pytest

from loadtest.results import LoadResults
from loadtest.runner import LoadRun, steady_spec
from rollout.errors import PlanError, SetupError, UnavailableError
from tests.unit.loadtest.service import free_port, wait_until


def loaded(url: str, folder: Path, *, rate: float, requests: int) -> LoadResults:
    run = LoadRun(steady_spec(url, rate), folder)
    run.start()
    try:
        wait_until(lambda: run.results().requests >= requests)
    finally:
        run.stop()
    return run.results()


def test_every_request_is_counted_to_the_last_one(service: str, tmp_path: Path):
    results = loaded(f"{service}/", tmp_path / "load", rate=300, requests=600)

    assert results.requests == int(httpx.get(f"{service}/seen").text)
    assert results.failures == results.abandoned == 0
    assert results.rate == pytest.approx(300, rel=0.02)


def test_failures_are_counted_by_the_track_that_answered(service: str, tmp_path: Path):
    results = loaded(f"{service}/mixed", tmp_path / "load", rate=300, requests=600)

    tenth = results.requests / 10
    assert results.tracks["stable"].requests == pytest.approx(8 * tenth, abs=8)
    assert results.tracks["canary"].requests == pytest.approx(tenth, abs=2)
    assert results.failures_by_track == pytest.approx({"stable": tenth, "canary": 0, "none": tenth}, abs=2)
    assert set(results.errors) == {"stable: status 500", "none: status 503"}


def test_a_stall_shows_in_the_latencies_of_the_requests_that_were_due_in_it(service: str, tmp_path: Path):
    # 100 requests are due within the stalled second; a closed loop would have sent, and counted, one.
    results = loaded(f"{service}/stall", tmp_path / "load", rate=100, requests=300)

    assert results.tracks["stable"].latency_ms[0.9] > 200
    assert results.tracks["stable"].latency_ms[0.99] > 800


def test_a_new_rate_is_taken_up_under_way_and_nought_sends_nothing(service: str, tmp_path: Path):
    run = LoadRun(steady_spec(f"{service}/", 20), tmp_path / "load")
    run.start()
    try:
        run.set_rate(400)
        wait_until(lambda: run.counts().requests["stable"] > 400)
        run.set_rate(0)
        wait_until(lambda: (run.results().requests, time.sleep(1.5))[0] == run.results().requests)
        quiet = run.results().requests
        run.set_rate(50)
        wait_until(lambda: run.results().requests > quiet + 20)
    finally:
        run.stop()

    assert run.results().requests == int(httpx.get(f"{service}/seen").text)


def test_a_killed_load_goes_on_at_its_last_rate_with_the_counts_so_far(service: str, tmp_path: Path):
    run = LoadRun(steady_spec(f"{service}/", 20), tmp_path / "load")
    run.start()
    try:
        run.set_rate(200)
        wait_until(lambda: run.counts().requests["stable"] > 300)
        assert run.pid is not None
        os.kill(run.pid, signal.SIGKILL)
        wait_until(lambda: run.pid is None)
        before, words = run.results(), run.exit_reason

        run.restart()
        wait_until(lambda: run.results().requests > before.requests + 300)
    finally:
        run.stop()

    results, seen = run.results(), int(httpx.get(f"{service}/seen").text)
    assert words == "it was ended by SIGKILL"
    assert results.seconds > before.seconds + 1
    assert (results.requests - before.requests) / (results.seconds - before.seconds) == pytest.approx(200, rel=0.05)
    assert 0 <= seen - results.requests <= 400  # what was counted since the file was written last: about a second's


def test_no_answer_at_the_url_is_said_with_what_was_seen(tmp_path: Path):
    run = LoadRun(steady_spec(f"http://127.0.0.1:{free_port()}/", 50), tmp_path / "load")

    with pytest.raises(UnavailableError, match="ConnectionRefusedError"):
        run.start()

    assert run.pid is None


def test_a_folder_that_cannot_be_written_is_a_setup_error(tmp_path: Path):
    (tmp_path / "file").touch()

    with pytest.raises(SetupError, match="start locust"):
        LoadRun(steady_spec("http://127.0.0.1:1/", 50), tmp_path / "file").start()


@pytest.mark.parametrize(
    "url",
    ["http://example.com/", "http://192.0.2.1/", "ftp://127.0.0.1/", "127.0.0.1:80", "http://127.0.0.1:x/", ""],
)
def test_a_target_that_is_not_loopback_is_refused(url: str, tmp_path: Path):
    with pytest.raises(PlanError, match="load url"):
        steady_spec(url, 50)


@pytest.mark.parametrize("rate", [0, -1, 5001, float("nan"), float("inf")])
def test_a_rate_out_of_bounds_is_refused(rate: float, tmp_path: Path):
    with pytest.raises(PlanError, match="load rate"):
        steady_spec("http://127.0.0.1:80/", rate)


def test_stopping_twice_and_before_the_start_is_harmless(tmp_path: Path):
    run = LoadRun(steady_spec("http://127.0.0.1:80/", 50), tmp_path)

    run.stop()
    run.stop()

    assert run.results() == LoadResults()


def test_the_load_ends_when_its_parent_is_killed(service: str, tmp_path: Path):
    script = textwrap.dedent(f"""
        import pathlib, sys, time
        from loadtest.runner import LoadRun, steady_spec
        run = LoadRun(steady_spec({f"{service}/"!r}, 50), pathlib.Path({str(tmp_path / "load")!r}))
        run.start()
        print(run.pid, flush=True)
        time.sleep(60)
    """)
    parent = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    load = psutil.Process(int(parent.stdout.readline()))

    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()

    wait_until(lambda: not load.is_running() or load.status() == psutil.STATUS_ZOMBIE)
