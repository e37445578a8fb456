"""Locustfiles as others write them, each run by `canary loadtest` in a real Locust on a real service."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from rollout.load_test_result import ValidationResult, parse_result
from tests.unit.loadtest.commandline import canary

EXAMPLES = Path(__file__).parents[2] / "loadtest_examples"


def run(example: str, service: str, tmp_path: Path, *options: str) -> tuple[int, ValidationResult]:
    """Return the exit code and the result of an example, run from elsewhere."""
    folder = shutil.copytree(EXAMPLES / example, tmp_path / example)
    profile = str(folder / "loadtest.yaml")
    done = canary("--url", service, "--profile", profile, "-o", "out", *options, cwd=tmp_path)
    assert done.returncode in (0, 3, 4), done.stdout + done.stderr
    return done.returncode, parse_result((tmp_path / "out/result.json").read_text())


def endpoints(result: ValidationResult) -> set[str]:
    return {entry.endpoint for entry in result.counted}


def failed(result: ValidationResult) -> set[str]:
    return {finding.criterion for finding in result.findings if finding.outcome == "fail"}


@pytest.mark.parametrize(
    ("example", "wanted"),
    [
        ("quickstart", {"POST /login", "/hello", "/world", "/item"}),
        ("data_file", {"POST /login", "/items", "/pay"}),
        ("tags", {"/task1", "/task3"}),
        ("weights", {"/web", "/mobile", "POST /restart"}),
        ("custom_arguments", {"/argued"}),
        ("event_hooks", {"/"}),
        ("load_shape", {"/"}),
        ("finite", {"/walk"}),
    ],
)
def test_an_example_runs_where_it_lies_and_sends_what_it_says(
    example: str, wanted: set[str], service: str, tmp_path: Path
):
    before = {path.name for path in (EXAMPLES / example).iterdir()}

    code, result = run(example, service, tmp_path)

    assert code == 0, result.reason
    assert endpoints(result) == wanted
    assert result.raised == {}
    assert {path.name for path in (tmp_path / example).iterdir()} - before <= {"hooks.txt", "__pycache__"}


def test_two_workers_run_an_example_too(service: str, tmp_path: Path):
    code, result = run("data_file", service, tmp_path, "--processes", "2", "--duration", "4s")

    assert (code, endpoints(result)) == (0, {"POST /login", "/items", "/pay"})


def test_what_a_locustfile_says_of_an_answer_counts(service: str, tmp_path: Path):
    code, result = run("validating_responses", service, tmp_path)

    assert code == 3
    assert result.errors.keys() == {"stable: check failed: Got wrong response"}
    by_endpoint = {entry.endpoint: (entry.requests, entry.failures) for entry in result.counted}
    assert by_endpoint["/status/404"][1] == by_endpoint["/status/500"][1] == 0
    assert by_endpoint["/wrong"][0] == by_endpoint["/wrong"][1] == sum(result.errors.values())
    assert result.total.client_errors == 0


def test_tasks_that_raise_fail_the_test_and_the_report_says_how_many_and_what(service: str, tmp_path: Path):
    code, result = run("raising", service, tmp_path)

    assert (code, failed(result)) == (3, {"raised tasks"})
    assert result.total.failures == 0
    assert set(result.raised) == {
        "KeyError: 'order_id' (locustfile.py:12, in order)",
        "AssertionError: took too long (locustfile.py:17, in check)",
    }
    assert sum(result.raised.values()) == result.total.requests  # each task raises after its only request
    for report in ("report.html", "summary.md", "junit.xml"):
        assert "took too long" in (tmp_path / "out" / report).read_text(), report


def test_users_who_raise_at_their_start_fail_the_test_at_once(service: str, tmp_path: Path):
    code, result = run("raising_at_start", service, tmp_path, "--duration", "60s")

    assert code == 3
    assert result.raised == {"KeyError: 'token' (locustfile.py:8, in on_start)": 4}
    assert result.seconds < 30


def test_a_client_of_the_users_own_is_counted_by_the_events_that_it_fires(service: str, tmp_path: Path):
    code, result = run("custom_client", service, tmp_path)

    assert code == 0, result.reason
    assert endpoints(result) == {"rpc get_time", "rpc throw_error"}
    assert set(result.errors) == {"none: RuntimeError: the call was refused"}


def test_every_hook_of_a_run_is_called_in_the_locustfiles_folder(service: str, tmp_path: Path):
    run("event_hooks", service, tmp_path)

    hooks = (tmp_path / "event_hooks/hooks.txt").read_text().splitlines()
    assert hooks[:2] == ["init at event_hooks", "test_start http://127.0.0.1"]
    assert "quitting" in hooks
    assert hooks[-1] == "test_stop"
    assert set(hooks[2:-1]) == {"request of hooked", "quitting"}


def test_a_listener_that_raises_fails_the_test(service: str, tmp_path: Path):
    code, result = run("listener_raises", service, tmp_path)

    assert code == 3
    assert any("an event listener" in kind for kind in result.raised)


def test_the_locustfiles_own_exit_code_fails_the_test(service: str, tmp_path: Path):
    code, result = run("exit_code", service, tmp_path)

    assert (code, failed(result)) == (3, {"exit code"})
    assert "exit code 7" in result.reason


@pytest.mark.parametrize(("example", "code"), [("stops_itself", 3), ("load_shape", 0), ("finite", 0)])
def test_a_locustfile_that_ends_the_test_itself_is_judged_by_what_it_sent(
    example: str, code: int, service: str, tmp_path: Path
):
    found, result = run(example, service, tmp_path)

    assert found == code, result.reason
    assert any("ended the test by itself" in record for record in result.notes)
    assert result.seconds < 30


def test_requests_to_other_hosts_are_not_sent_and_fail_the_test(service: str, tmp_path: Path):
    code, result = run("other_hosts", service, tmp_path)

    assert (code, failed(result)) == (3, {"refused hosts"})
    assert set(result.refused) == {"shop.example:80", "shop.example:8443"}
    assert endpoints(result) == {"/"}
    assert result.raised == {}
