"""Hooks for real: requests to a server on loopback, and commands."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from backends.hook_runner import HookRunner
from rollout.hooks import Hook
from rollout.ports import HookOutcome, RunningHook
from tests.receiving import WebServer, serving
from tests.unit.backends.test_receivers import dead

PAYLOAD = json.dumps({"rollout": "r1", "weights": {"stable": 80, "canary": 20}})


@pytest.fixture
def web() -> Iterator[WebServer]:
    with serving(WebServer()) as server:
        yield server
        server.lets_go.set()


@pytest.fixture
def start() -> Iterator[Callable[..., RunningHook]]:
    running: list[RunningHook] = []

    def begin(**parts: Any) -> RunningHook:
        hook = Hook.model_validate({"name": "migrate", "when": "before-step", "timeout": "20s"} | parts)
        running.append(HookRunner().start(hook, PAYLOAD))
        return running[-1]

    yield begin
    for one in running:
        one.stop()


def eventually(found: Callable[[], Any]) -> Any:
    until = time.monotonic() + 30
    while not (seen := found()) and time.monotonic() < until:
        time.sleep(0.01)
    return seen


def test_a_command_that_may_not_run_here_has_failed_and_did_not_run(tmp_path: Path) -> None:
    command = {"command": ["touch", str(tmp_path / "done")]}
    hook = Hook.model_validate({"name": "migrate", "when": "before-step"} | command)

    running = HookRunner(refused=(hook,)).start(hook, PAYLOAD)

    assert running.outcome() == HookOutcome(
        ok=False, reason="may not run touch here: no plan file of this machine has this hook"
    )
    running.stop()
    assert list(tmp_path.iterdir()) == []


def test_a_request_carries_the_json_and_any_2xx_is_a_success(web: WebServer, start: Callable[..., RunningHook]) -> None:
    web.statuses = [204]

    outcome = eventually(start(url=f"http://{web.where}/gate?x=1").outcome)

    assert outcome == HookOutcome(ok=True, reason="answered 204")
    assert web.got == [("/gate?x=1", json.loads(PAYLOAD))]


@pytest.mark.parametrize("status", [302, 403, 500])
def test_any_other_answer_is_a_failure_and_no_redirect_is_followed(
    web: WebServer, start: Callable[..., RunningHook], status: int
) -> None:
    web.statuses = [status]

    outcome = eventually(start(url=f"http://{web.where}/").outcome)

    assert outcome == HookOutcome(ok=False, reason=f"answered {status}")
    assert len(web.got) == 1


def test_where_nobody_listens_the_hook_has_failed(start: Callable[..., RunningHook]) -> None:
    outcome = eventually(start(url=f"http://{dead()}/").outcome)

    assert outcome == HookOutcome(ok=False, reason="got no answer: ConnectError")


def test_a_request_without_an_answer_has_no_outcome_and_can_be_stopped(
    web: WebServer, start: Callable[..., RunningHook]
) -> None:
    web.lets_go.clear()
    running = start(url=f"http://{web.where}/")
    web.wait_for(1)

    assert running.outcome() is None
    running.stop()
    running.stop()


def test_a_command_gets_the_json_on_its_standard_input_and_no_shell(
    tmp_path: Path, start: Callable[..., RunningHook]
) -> None:
    read = "import pathlib, sys; pathlib.Path(sys.argv[1]).write_text(sys.stdin.read() + sys.argv[2])"

    outcome = eventually(start(command=[sys.executable, "-c", read, str(tmp_path / "got"), "$HOME; ls"]).outcome)

    assert outcome == HookOutcome(ok=True, reason="ended with exit code 0")
    assert (tmp_path / "got").read_text() == PAYLOAD + "$HOME; ls"


def test_a_commands_failure_is_its_exit_code_and_its_words_go_to_the_log(
    start: Callable[..., RunningHook], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="backends.hook_runner")

    outcome = eventually(start(command=["sh", "-c", "echo no such table >&2; exit 3"]).outcome)

    assert outcome == HookOutcome(ok=False, reason="ended with exit code 3")
    assert "hook migrate: no such table" in caplog.text


def test_a_command_that_is_not_there_has_failed(start: Callable[..., RunningHook]) -> None:
    outcome = start(command=["no-such-program-here"]).outcome()

    assert outcome == HookOutcome(ok=False, reason="cannot run no-such-program-here: No such file or directory")


def test_stopping_a_command_ends_its_children_too_even_those_that_do_not_listen(
    tmp_path: Path, start: Callable[..., RunningHook]
) -> None:
    stubborn = (
        f"trap '' TERM; sleep 300 & echo $! $$ > {tmp_path}/pids.part; mv {tmp_path}/pids.part {tmp_path}/pids; wait"
    )
    running = start(command=["sh", "-c", stubborn])
    assert eventually((tmp_path / "pids").exists)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]

    running.stop()

    assert eventually(lambda: not any(_runs(pid) for pid in pids))
    assert running.outcome() == HookOutcome(ok=False, reason="ended with signal 9")


def test_a_command_that_writes_much_does_not_stand_still(start: Callable[..., RunningHook]) -> None:
    outcome = eventually(start(command=[sys.executable, "-c", "print('x' * 10_000_000)"]).outcome)

    assert outcome == HookOutcome(ok=True, reason="ended with exit code 0")


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
