"""A drill of the rollback on the emulated API server, with the shipped Role's rights; its routes script the traffic."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backends.cluster.api.client import DEPLOYMENTS, LEASES, VIRTUAL_SERVICES, Api
from backends.cluster.environment import World, attach
from backends.route_patches import DRILL, has_drill
from backends.route_splits import find_split
from conductor.commands import drill
from conductor.commands.guard import Guard
from conductor.state.rollout_run import Ports, Run
from rollout.errors import PlanError
from rollout.events import (
    ClientTrack,
    Ended,
    EndState,
    LoadSummary,
    Started,
)
from rollout.model import AT_REST, Track, Weights
from rollout.ports import DRILL_HEADER
from tests.emulated.rollouts import PLAN
from tests.emulated.server import EmulatedCluster
from tests.emulated.test_orders_on_a_cluster import desk_on, resumed
from tests.fakes import FakeClock, FakeMetrics, FakeNotices

DRILLED = drill.drill_plan(PLAN, timedelta(minutes=2))
KEY = ("virtualservices", "canary-app", "canary-app")


class Traffic:
    """Stable's users, and a load generator half of whose requests have the drill's mark: routed as the server says."""

    def __init__(self, server: EmulatedCluster, world: World) -> None:
        self._server, self._destinations = server, world.settings.destinations

    @property
    def document(self) -> dict[str, Any]:
        found: dict[str, Any] = self._server.store.get(*KEY)
        return found

    @property
    def weights(self) -> Weights:
        return find_split(self.document, self._destinations).weights

    @property
    def drill(self) -> bool:
        return has_drill(self.document)


class Drill:
    """One process that drills."""

    def __init__(self, server: EmulatedCluster, world: World) -> None:
        self.server, self.world = server, world
        self.clock, self.notices = FakeClock(datetime.now(UTC)), FakeNotices()
        self.traffic = Traffic(server, world)
        self.metrics = FakeMetrics(self.clock, self.traffic)  # type: ignore[arg-type]
        self.clock.every(timedelta(milliseconds=500), self._delay)

    def _delay(self) -> None:
        fault = next((rule["fault"] for rule in self.traffic.document["spec"]["http"] if rule.get("name") == DRILL), {})
        seconds = float(fault.get("delay", {}).get("fixedDelay", "0s").removesuffix("s"))
        self.metrics.behaviour[Track.CANARY].latency_ms = 35 + 1000 * seconds

    def run(self) -> Run:
        ports = Ports.of(self.world, "drill-1", owner="drill-1 by ada", notices=self.notices, clock=self.clock)
        return Run.begin(DRILLED, replace(ports, metrics=self.metrics))

    def started(self, fault: str) -> Started:
        return Started(at=self.clock.now(), rollout="drill-1", plan=DRILLED, who="ada", backend="cluster", drill=fault)

    @property
    def splits(self) -> set[tuple[int, int]]:
        """Every split that the server has held."""
        changed = [document for *_, key, document in self.server.store.history if key == KEY]
        return {find_split(document, self.world.settings.destinations).routes[0].weights for document in changed}


@pytest.fixture
def drilling(server: EmulatedCluster, cluster: World) -> Drill:
    return Drill(server, cluster)


def test_the_whole_chain_fires_with_the_shipped_role_alone_and_leaves_the_route_as_it_was(
    drilling: Drill, admin: Api
) -> None:
    before, run = admin.get(VIRTUAL_SERVICES, "canary-app"), drilling.run()
    witness = drill.witnessed(run)

    drill.carry_out(run, drilling.started(drilling.world.drill_fault("", PLAN)), "m1")

    counted = drilling.metrics._counters[Track.CANARY].requests
    tracks = {"canary": ClientTrack(requests=counted, failures=0)}
    load = LoadSummary(at=drilling.clock.now(), requests=counted, failures=0, rate=50, tracks=tracks)
    drilled = drill.conclude(run, load, 0, witness.last)
    assert drilled.stopped == ""
    assert tuple(drilled.seconds) == drill.PARTS
    assert run.drill == "latency=750ms"
    assert admin.get(VIRTUAL_SERVICES, "canary-app")["spec"] == before["spec"]
    assert admin.get(DEPLOYMENTS, "canary-app-v2")["spec"]["replicas"] == 0


def test_live_weights_never_change_and_only_the_mark_is_routed_to_the_canary(drilling: Drill) -> None:
    drill.carry_out(drilling.run(), drilling.started("latency=750ms"), "m1")

    assert drilling.splits == {(100, 0)}
    rules = [
        rule
        for *_, key, document in drilling.server.store.history
        if key == KEY
        for rule in document["spec"]["http"]
        if rule.get("name") == DRILL
    ]
    assert rules
    assert all(match["headers"] == {DRILL_HEADER: {"exact": "m1"}} for rule in rules for match in rule["match"])


def test_the_guard_cleans_up_after_a_drill_that_died(drilling: Drill, admin: Api) -> None:
    cluster, before = drilling.world, admin.get(VIRTUAL_SERVICES, "canary-app")["spec"]
    dead = attach(cluster.settings)
    dead.lock("drill-1 by ada").acquire()
    dead.ledger("drill-1").append(drilling.started("latency=750ms").model_copy(update={"at": datetime.now(UTC)}))
    dead.workloads.scale(Track.CANARY, 1)
    dead.expose("m1", "latency=750ms")
    assert drilling.traffic.drill
    admin.patch(LEASES, "canary-app-rollout", {"spec": {"renewTime": "2026-01-05T09:00:00.000000Z"}})

    said = list(Guard(desk_on(cluster), resumed).look())

    assert said[0].startswith("drill-1: rolled back: its owner was gone")
    assert admin.get(VIRTUAL_SERVICES, "canary-app")["spec"] == before
    assert admin.get(DEPLOYMENTS, "canary-app-v2")["spec"]["replicas"] == 0
    ended = cluster.ledger("drill-1").read().ended
    assert isinstance(ended, Ended)
    assert ended.state is EndState.ROLLED_BACK


def test_a_restore_takes_a_drills_route_away_whoever_steers(drilling: Drill) -> None:
    drilling.world.lock("drill-1 by ada").acquire()
    drilling.world.expose("m1", "latency=1s")

    attach(drilling.world.settings).router.seize(AT_REST)

    assert not drilling.traffic.drill


@pytest.mark.parametrize("fault", ["errors=30%", "latency=+50%", "latency=", "crash-loop"])
def test_a_fault_that_istio_would_count_for_no_version_is_refused(cluster: World, fault: str) -> None:
    with pytest.raises(PlanError, match="allowed in a drill on a cluster: a latency such as latency=800ms"):
        cluster.drill_fault(fault, PLAN)
