"""The embedded world goes on when its supervisor is killed, its files are damaged, or its folder is deleted."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

import backends.local.environment as local
from backends.local.lease import Fence
from backends.local.supervisor_restart import MOST_RESTARTS, SupervisorRestarter
from rollout.errors import ConflictError, LockedError, RolloutError, SetupError
from rollout.model import AT_REST, Track, Weights
from tests.contract.conftest import PLAN

pytestmark = pytest.mark.e2e


@pytest.fixture
def world(tmp_path: Path) -> Iterator[local.World]:
    """A world whose canary has a fifth of the traffic, which this process steers."""
    world = local.start(tmp_path / "s", plan=PLAN, scrape=timedelta(seconds=1), seed=1, owner_pid=os.getpid())
    try:
        world.workloads.scale(Track.CANARY, 1)
        assert wait(lambda: ready(world, Track.CANARY) == 1)
        world.lock("ada").acquire()
        world.router.set_weights(Weights(80, 20))
        yield world
    finally:
        world.stop()


def wait(condition: Callable[[], bool], *, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def ready(world: local.World, track: Track) -> int:
    try:
        return sum(pod.ready for pod in world.workloads.pods() if pod.track is track)
    except RolloutError:
        return 0


def split(world: local.World) -> Weights | None:
    try:
        return world.router.read_weights()
    except RolloutError:
        return None


def serves(world: local.World) -> bool:
    try:
        return httpx.get(world.gateway_url).is_success
    except httpx.HTTPError:
        return False


def tended(keeper: SupervisorRestarter) -> str:
    """Return what the keeper says once it has had something to do."""
    for _ in range(600):
        if line := keeper.restart_if_ended():
            return line
        time.sleep(0.05)
    raise AssertionError("the keeper had nothing to do")


def kill_supervisor(world: local.World) -> None:
    pid = world.folder.processes().supervisor.pid
    os.kill(pid, signal.SIGKILL)


def test_a_supervisor_that_was_killed_is_started_again_with_ports_split_and_pods_as_they_were(
    world: local.World,
) -> None:
    keeper = SupervisorRestarter(world)
    assert keeper.restart_if_ended() == ""
    kill_supervisor(world)
    assert wait(lambda: not serves(world))

    assert "exit code -9" in tended(keeper)
    assert serves(world)
    assert split(world) == Weights(80, 20)
    assert wait(lambda: (ready(world, Track.STABLE), ready(world, Track.CANARY)) == (PLAN.stable.replicas, 1))
    assert httpx.get(f"{world.prometheus_url}/-/ready").is_success
    world.router.set_weights(AT_REST)
    assert split(local.attach(world.folder.path)) == AT_REST
    keeper.stop()


def test_a_supervisor_that_ends_again_and_again_is_an_error(
    world: local.World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = SupervisorRestarter(world)
    kill_supervisor(world)
    assert world.process is not None
    world.process.wait()
    monkeypatch.setattr(SupervisorRestarter, "_restart", lambda _: None)

    for _ in range(MOST_RESTARTS):
        assert keeper.restart_if_ended()
    with pytest.raises(SetupError, match="nothing serves now"):
        keeper.restart_if_ended()


def in_its_place(file: Path) -> None:
    """Put a folder where a file was; the supervisor may be quicker, and write the file again."""
    folder = file.with_suffix(".folder")
    (folder / "below").mkdir(parents=True)
    while folder.exists():
        file.unlink(missing_ok=True)
        with suppress(NotADirectoryError, FileExistsError):
            folder.rename(file)


@pytest.mark.parametrize("name", ["settings.json", "desired.json", "observed.json", "processes.json"])
@pytest.mark.parametrize("damage", ["bytes", "directory", "deleted"])
def test_a_damaged_document_keeps_nobody_from_attaching_and_is_put_in_place_again(
    world: local.World, name: str, damage: str
) -> None:
    file = world.folder.path / name
    file.unlink()
    if damage == "bytes":
        file.write_bytes(b"\xff{torn")
    elif damage == "directory":
        in_its_place(file)

    attached = local.attach(world.folder.path)
    attached.restore_stable()

    assert split(world) == AT_REST
    assert wait(lambda: file.is_file() and b"torn" not in file.read_bytes())
    assert attached.settings == world.settings
    world.workloads.scale(Track.CANARY, 2)
    assert wait(lambda: ready(world, Track.CANARY) == 2)


def test_where_the_state_folder_is_deleted_all_traffic_goes_to_stable_and_the_owner_may_write_no_more(
    world: local.World,
) -> None:
    shutil.rmtree(world.folder.path, ignore_errors=True)  # the supervisor writes to it meanwhile

    assert wait(lambda: split(world) == AT_REST and serves(world))

    with pytest.raises(ConflictError, match="took the traffic out of our hands"):
        world.router.set_weights(Weights(80, 20))
    with pytest.raises(ConflictError, match="the lock is gone"):
        world.lock("ada").renew()
    assert wait(lambda: ready(world, Track.STABLE) == PLAN.stable.replicas)
    other = local.attach(world.folder.path)
    other.lock("bob").acquire()
    other.router.set_weights(Weights(90, 10))
    assert split(world) == Weights(90, 10)


@pytest.mark.parametrize("damage", [b"{torn", b"", None])
def test_a_lock_that_is_lost_makes_no_second_owner(world: local.World, damage: bytes | None) -> None:
    lock = world.folder.path / "lock.json"
    lock.unlink()
    if damage is not None:
        lock.write_bytes(damage)
    other = local.attach(world.folder.path)
    other.fence.epoch = None

    with pytest.raises(LockedError, match="which set the split"):
        other.lock("bob").acquire()
    world.router.set_weights(Weights(50, 50))
    world.lock("ada").renew()

    assert split(world) == Weights(50, 50)
    with pytest.raises(LockedError, match="steered by ada"):
        other.lock("bob").acquire()
    assert isinstance(other.fence, Fence)


def test_damaged_routes_are_set_aside_and_the_split_can_be_written(world: local.World) -> None:
    file = world.folder.gateway / "routes" / "weights.json"
    file.write_bytes(b"\xff{torn")

    world.router.seize(AT_REST)

    assert split(world) == AT_REST
    assert [aside.read_bytes() for aside in file.parent.glob("weights.json.damaged-*")] == [b"\xff{torn"]
