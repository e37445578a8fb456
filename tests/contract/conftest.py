"""The worlds that the contract is held against.

The fakes; the embedded backend with all its real parts; the cluster backend on an emulated API server, and, marked
`cluster`, on the real one that KUBECONFIG names.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

import backends.cluster.environment as cluster
from backends.cluster.cluster_settings import ClusterSettings
from backends.local.environment import World, start
from rollout.model import AT_REST, Track
from rollout.plan import parse_plan
from rollout.ports import Clock
from tests.cluster.real import RealCluster
from tests.cluster.real import real as real
from tests.contract.contracted import Contracted
from tests.contract.steady_load import SteadyLoad
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import role_rules, service_at_rest
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


@pytest.fixture
def emulated_settings(tmp_path: Path) -> Iterator[ClusterSettings]:
    with EmulatedCluster(role_rules()) as server:
        server.put(*service_at_rest())
        yield ClusterSettings(kubeconfig=server.kubeconfig(tmp_path))


WORLDS = ["fake", "local", "emulated", pytest.param("real", marks=pytest.mark.cluster)]


@pytest.fixture(params=WORLDS)
def world(request: pytest.FixtureRequest) -> Iterator[Contracted]:
    """A world at rest: everything on stable's three pods, no canary."""
    if request.param == "fake":
        yield _contracted("fake", FakeWorld(scrape=timedelta(milliseconds=500)))
        return
    if request.param == "emulated":
        yield _contracted("emulated", cluster.attach(request.getfixturevalue("emulated_settings")), RealClock())
        return
    steered: World | cluster.World
    if request.param == "real":
        real: RealCluster = request.getfixturevalue("real")
        steered, has_pods = cluster.attach(real.settings), real.runs_pods
    else:
        steered, has_pods = request.getfixturevalue("busy_world"), True
    contracted = _contracted(request.param, steered, RealClock(), has_pods=has_pods)
    yield contracted
    steered.router.set_weights(AT_REST)
    if isinstance(steered, World):
        steered.inject(None, None)
    steered.workloads.scale(Track.CANARY, 0)
    steered.workloads.scale(Track.STABLE, PLAN.stable.replicas)
    if has_pods:
        assert contracted.wait_for(Track.CANARY, 0, seconds=60)
        assert contracted.wait_for(Track.STABLE, PLAN.stable.replicas, seconds=60)


def _contracted(
    name: str, world: FakeWorld | World | cluster.World, clock: Clock | None = None, *, has_pods: bool = True
) -> Contracted:
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
        has_pods=has_pods,
    )
