"""Brakes that depend on nothing, with real processes: whatever became of the files, the traffic comes home."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

import backends.local.environment as local
from backends.local.environment import World
from rollout.errors import RolloutError
from rollout.model import AT_REST, Weights

pytestmark = pytest.mark.e2e

CANARY = Path(sys.executable).parent / "canary"
DEMO = Path(__file__).parents[2] / "demo.yaml"
_NUMBERS = count(1)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a `canary up`, under a light load."""
    folder = tmp_path_factory.mktemp("up") / "s"
    words = [CANARY, "up", "--plan", DEMO, "--state", folder, "--rate", "100"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as up:
        assert up.stdout is not None
        assert any("another terminal" in line for line in up.stdout)
        yield folder
        up.send_signal(signal.SIGTERM)
        up.stdout.read()


OWNER = """
import os, signal, sys, time
from datetime import UTC, datetime
from pathlib import Path
import backends.local.environment as local
from conductor.state.position import Position
from rollout.model import Track, Weights
from rollout.plan import parse_plan
from rollout.events import Started, WeightsSet

state, name, plan = Path(sys.argv[1]), sys.argv[2], parse_plan(Path(sys.argv[3]).read_text())
world = local.attach(state)
world.lock(name).acquire()
ledger, now = world.ledger(name), datetime.now(UTC)
ledger.append(Started(at=now, rollout=name, plan=plan, who="ada", backend="local"))
world.workloads.scale(Track.CANARY, 1)
while not any(pod.ready for pod in world.workloads.pods() if pod.track is Track.CANARY):
    time.sleep(0.05)
ledger.save_state(Position(step_index=0, asked=20, seen_at=now).model_dump_json())
world.router.set_weights(Weights(80, 20))
for _ in range(3):
    ledger.append(WeightsSet(at=datetime.now(UTC), stable=80, canary=20, reason="step introduce", milliseconds=1.0))
os.kill(os.getpid(), signal.SIGKILL)
"""
"""A rollout's process up to the moment at which it is killed, without the judge, which takes a minute to be content."""


@pytest.fixture
def orphan(state: Path) -> Iterator[tuple[World, Path]]:
    """A rollout whose process was killed while the canary had traffic, and its folder."""
    name = f"r{next(_NUMBERS)}"
    subprocess.run([sys.executable, "-c", OWNER, state, name, DEMO], check=False)
    world = local.attach(state)
    assert split(world) == Weights(80, 20)
    yield world, state / "rollouts" / name
    world.restore_stable()
    ordered(state, "guard", "--once")


def wait(condition: Callable[[], bool], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def split(world: World) -> Weights | None:
    try:
        return world.router.read_weights()
    except RolloutError:
        return None


def ordered(state: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([CANARY, *words, "--state", state], capture_output=True, text=True, check=False)


def a_line(folder: Path) -> None:
    file = folder / "events.jsonl"
    lines = file.read_bytes().split(b"\n")
    lines[2] = lines[2][:20]
    file.write_bytes(b"\n".join(lines))


def all_of_it(folder: Path) -> None:
    for file in folder.iterdir():
        file.write_bytes(b"\xff\x00" * 1000)


def its_lock_too(folder: Path) -> None:
    all_of_it(folder)
    (folder.parents[1] / "lock.json").write_bytes(b"{torn")


@pytest.mark.parametrize("words", [("guard", "--once"), ("abort",), ("restore",)])
@pytest.mark.parametrize("damage", [a_line, all_of_it, its_lock_too])
def test_an_orphan_with_a_damaged_record_is_brought_home(
    orphan: tuple[World, Path], words: tuple[str, ...], damage: Callable[[Path], None]
) -> None:
    world, folder = orphan
    damage(folder)

    done = ordered(folder.parents[1], *words)

    assert "Traceback" not in done.stdout + done.stderr
    assert f"{folder.name}: left alone" in done.stdout
    assert (done.returncode, split(world)) == (0, AT_REST)


def test_a_guard_that_is_told_to_end_in_the_middle_of_a_takeover_leaves_the_traffic_on_stable(
    orphan: tuple[World, Path],
) -> None:
    world, folder = orphan
    guard = subprocess.Popen([CANARY, "guard", "--every", "1s", "--state", folder.parents[1]], stdout=subprocess.PIPE)
    assert wait(lambda: split(world) == AT_REST, seconds=60)

    guard.send_signal(signal.SIGTERM)
    guard.communicate()

    assert guard.returncode == 0
    assert split(world) == AT_REST


def test_status_of_a_damaged_orphan_names_the_damage_and_what_to_do(orphan: tuple[World, Path]) -> None:
    _, folder = orphan
    all_of_it(folder)

    told = json.loads(ordered(folder.parents[1], "status", "--json").stdout)
    lines = ordered(folder.parents[1], "status").stdout

    assert any(folder.name in line for line in told["damage"])
    assert "no record explains this split" in lines
