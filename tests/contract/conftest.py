"""The worlds that the contract is held against: the fakes, and the embedded backend with all its real parts."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from backends.local.world import World, start
from rollout.model import AT_REST, Track
from rollout.plan import parse_plan
from rollout.ports import Clock
from tests.contract.contracted import Contracted
from tests.contract.steady_load import SteadyLoad
from tests.fakes import FakeWorld

PLAN = parse_plan((Path(__file__).parents[2] / "demo.yaml").read_text())
_NUMBERS = count(1)


class RealClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, duration: timedelta) -> None:
        time.sleep(duration.total_seconds())


@pytest.fixture(scope="module")
def local_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = start(
        tmp_path_factory.mktemp("world"),
        plan=PLAN,
        scrape=timedelta(milliseconds=500),
        seed=1,
        owner_pid=os.getpid(),
    )
    yield world
    world.stop()


@pytest.fixture(scope="module")
def busy_world(local_world: World) -> Iterator[World]:
    """The local world under a light load that outlasts every test, so that its series are there."""
    with SteadyLoad(local_world.gateway_url, rps=60, connections=12):
        yield local_world


@pytest.fixture(params=["fake", "local"])
def world(request: pytest.FixtureRequest) -> Iterator[Contracted]:
    """A world at rest: everything on stable's three pods, no canary."""
    if request.param == "fake":
        yield _contracted("fake", FakeWorld(scrape=timedelta(milliseconds=500)))
        return
    local: World = request.getfixturevalue("busy_world")
    contracted = _contracted("local", local, RealClock())
    yield contracted
    local.router.set_weights(AT_REST)
    local.inject(None, None)
    local.workloads.scale(Track.CANARY, 0)
    local.workloads.scale(Track.STABLE, PLAN.stable.replicas)
    assert contracted.wait_for(Track.CANARY, 0)
    assert contracted.wait_for(Track.STABLE, PLAN.stable.replicas)


def _contracted(name: str, world: FakeWorld | World, clock: Clock | None = None) -> Contracted:
    return Contracted(
        name=name,
        router=world.router,
        workloads=world.workloads,
        metrics=world.metrics,
        clock=clock or world.clock,  # type: ignore[union-attr]
        ledger=world.ledger,
        lock=world.lock,
        signals=world.signals,
        fresh_name=f"rollout-{next(_NUMBERS)}",
    )
