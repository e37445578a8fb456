"""A dry run tells what would be done, and touches nothing: the embedded backend before and after, byte by byte."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import backends.local.world as local
from flows.canary import canary_rollout
from flows.rehearsal import rehearse
from flows.targets import Target
from rollout.plan import parse_plan

PLAN = parse_plan((Path(__file__).parents[2] / "demo.yaml").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.World]:
    folder = tmp_path_factory.mktemp("state")
    world = local.start(folder, plan=PLAN, scrape=PLAN.scrape, seed=1, owner_pid=os.getpid())
    yield world
    world.stop()


def asked_of(world: local.World) -> dict[str, Any]:
    """Return all that was ever asked of the world, and what is in force."""
    folder = world.folder.path
    return {
        "files": {file.name: file.read_bytes() for file in (folder / "desired.json", *folder.glob("lock.json"))},
        "routes": {str(f): f.read_bytes() for f in sorted((folder / "gateway").rglob("*")) if f.is_file()},
        "weights": world.router.read_weights(),
        "pods": {(pod.name, pod.track) for pod in world.workloads.pods()},
        "rollouts": world.rollouts(),
    }


def test_a_dry_run_tells_each_step_with_its_time_and_changes_nothing(world: local.World) -> None:
    target = Target(state=world.folder.path)
    before = asked_of(world)

    state = canary_rollout.fn(PLAN, target, dry_run=True)
    lines = rehearse(PLAN, target)

    assert asked_of(world) == before
    assert (state.name, state.message) == ("Dry run", "nothing was touched")
    assert "at 0s: v1 alone is watched for 15s" in lines
    assert any(line.startswith("at 15s: introduce: 1 pod of v2, 20 % of the traffic") for line in lines)
    assert any(line.startswith("at 1m25s: promoted at the earliest") for line in lines)


def test_a_dry_run_says_what_would_be_refused(tmp_path: Path) -> None:
    lines = rehearse(PLAN, Target(state=tmp_path))

    assert any("it would be refused now: embedded backend" in line for line in lines)
    assert list(tmp_path.iterdir()) == []
