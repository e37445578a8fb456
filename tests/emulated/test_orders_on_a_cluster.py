"""Orders and the guard through the target of a cluster, on the emulated API server with the shipped Role's rights."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backends.cluster.api.client import DEPLOYMENTS, LEASES, Api, connect
from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.environment import World, attach
from backends.cluster.promotion import make_canary_stable, selected_version
from conductor.commands import commands
from conductor.commands.commands import Begun, Desk
from conductor.commands.guard import Guard
from conductor.commands.send_signal import say
from conductor.commands.status import standing
from rollout.errors import PlanError, RolloutError
from rollout.events import (
    Ended,
    EndState,
    Started,
    TakenOver,
)
from rollout.model import AT_REST, Track, Weights
from rollout.plan import RolloutPlan
from rollout.signals import SignalKind
from tests.emulated.rollouts import PLAN
from tests.emulated.server import ADMIN, EmulatedCluster
from tests.emulated.shipped import NAMESPACE, ROOT, role_rules, service_at_rest, webhook_rules
from wiring.command_contexts import command_context, command_contexts
from wiring.composition import Target, open_command_context
from wiring.guard_watch import Watch, resume_here
from wiring.metrics_endpoint import Ledgers

DEMO = ROOT / "demo.yaml"
NOWHERE = "http://127.0.0.1:9"


def desk_on(cluster: World) -> Desk:
    return open_command_context(target_on(cluster), PLAN)


def resumed(one: Begun) -> str:
    return f"{one.name}: resumed"


def orphan(cluster: World, admin: Api, plan: RolloutPlan = PLAN, rollout: str = "r1") -> None:
    """Leave what an owner leaves that was killed at 20 % a while ago."""
    dead = attach(cluster.settings.for_plan(plan))
    lock = dead.lock(f"{rollout} by ada")
    lock.acquire()
    started = Started(at=datetime.now(UTC), rollout=rollout, plan=plan, who="ada", backend="cluster")
    dead.ledger(rollout).append(started)
    dead.ledger(rollout).save_state('{"asked": 20}')
    dead.workloads.scale(Track.CANARY, 1)
    dead.router.set_weights(Weights.with_canary(20))
    admin.patch(LEASES, f"{plan.service}-rollout", {"spec": {"renewTime": "2026-01-05T09:00:00.000000Z"}})


@pytest.fixture
def shop(server: EmulatedCluster, cluster: World, admin: Api) -> World:
    """A second service of the same namespace, whose rollout was orphaned."""
    server.put(*service_at_rest(name="shop"))
    server.rules = [*server.rules, *role_rules("shop")]
    plan = PLAN.model_copy(update={"service": "shop"})
    orphan(cluster, admin, plan, "shop-1")
    return attach(cluster.settings.for_plan(plan))


def target_on(cluster: World) -> Target:
    return Target(backend="cluster", kubeconfig=cluster.settings.kubeconfig, prometheus=NOWHERE)


def test_the_guard_restores_an_orphan_with_neither_prefect_nor_prometheus(cluster: World, admin: Api) -> None:
    orphan(cluster, admin)
    found = standing(cluster, datetime.now(UTC)).lines()

    said = list(Guard(desk_on(cluster), resumed).look())

    assert found[0] == "traffic   stable 80 %, canary 20 %"
    assert "rollout   r1: orphaned" in found
    assert said[0].startswith("r1: rolled back: its owner was gone (r1 by ada, last heard of at 09:00:00)")
    assert cluster.router.read_weights() == AT_REST
    assert admin.get(DEPLOYMENTS, "canary-app-v2")["spec"]["replicas"] == 0
    events = cluster.ledger("r1").read().events
    assert [type(event) for event in events if isinstance(event, TakenOver | Ended)] == [TakenOver, Ended]
    assert next(iter(commands.abort(desk_on(cluster), "again"))) == "nothing to abort: no rollout is under way"


def test_one_guard_looks_after_every_service_of_the_namespace(cluster: World, shop: World) -> None:
    told = list[str]()

    assert Watch(target_on(cluster), DEMO, resume_here, told.append).look()

    assert [line.partition(":")[0] for line in told] == ["shop-1"]
    assert shop.router.read_weights() == AT_REST
    assert cluster.router.read_weights() == AT_REST


def test_a_guard_of_one_service_leaves_the_others_alone(cluster: World, shop: World) -> None:
    target = target_on(cluster).model_copy(update={"document": "canary-app"})

    assert Watch(target, DEMO, resume_here, print).look()

    assert shop.router.read_weights() == Weights(80, 20)


def test_orders_go_to_a_service_by_its_name_alone(cluster: World, shop: World) -> None:
    target = target_on(cluster).at_service("shop")

    assert "shop-1: told to end on stable" in list(commands.abort(command_context(target, DEMO), "at once"))

    assert shop.router.read_weights() == AT_REST
    with pytest.raises(PlanError, match="service: got 'shoop', allowed: one with a rollout on record: shop"):
        command_context(target.at_service("shoop"), DEMO)


def test_the_metrics_tell_of_every_service(cluster: World, admin: Api, shop: World) -> None:
    orphan(cluster, admin)

    families = list(Ledgers(lambda: command_contexts(target_on(cluster), DEMO)).collect())

    [states] = [family for family in families if family.name == "canary_rollout_state"]
    found = {one.labels["service"] for one in states.samples if one.value == 1 and one.labels["state"] == "orphaned"}
    assert found == {"canary-app", "shop"}
    assert len({family.name for family in families}) == len(families)


def test_a_restore_after_a_promotion_goes_by_what_stable_stands_for(cluster: World) -> None:
    cluster.ledger("r1").append(Started(at=datetime.now(UTC), rollout="r1", plan=PLAN, who="ada", backend="cluster"))
    cluster.router.set_weights(Weights.with_canary(100))
    make_canary_stable(cluster)
    cluster.ledger("r1").append(Ended(at=datetime.now(UTC), state=EndState.PROMOTED, reason="all passed"))
    assert (cluster.serves(Track.STABLE), cluster.serves(Track.CANARY)) == (False, True)

    said = list(commands.restore(desk_on(cluster), "second thoughts"))

    assert said[0] == "all traffic is on stable"
    assert selected_version(cluster, Track.STABLE) == "v1"
    assert (cluster.serves(Track.STABLE), cluster.serves(Track.CANARY)) == (True, False)
    ended = cluster.ledger("r1").read().ended
    assert ended is not None
    assert ended.reason.endswith(": second thoughts, after it had ended as promoted")


def test_who_hears_complaints_and_alerts_needs_no_right_to_the_route(tmp_path: Path) -> None:
    with EmulatedCluster(webhook_rules()) as server:
        server.put(*service_at_rest())
        settings = ClusterSettings(kubeconfig=server.kubeconfig(tmp_path, ADMIN), scrape_seconds=2.0)
        orphan(attach(settings), Api(connect(server.kubeconfig(tmp_path, ADMIN)), NAMESPACE, timedelta(seconds=2)))
        ears = attach(ClusterSettings(kubeconfig=server.kubeconfig(tmp_path), scrape_seconds=2.0))

        said = say(desk_on(ears), SignalKind.ABORT, "alert CheckoutFails")

        assert said.startswith("r1: told abort")
        assert [word.reason for word in attach(settings).signals("r1").read()] == ["alert CheckoutFails"]
        with pytest.raises(RolloutError, match="forbidden"):
            ears.router.set_weights(AT_REST)
