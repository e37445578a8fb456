"""Orders and the guard through the target of a cluster, on the emulated API server with the shipped Role's rights."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backends.cluster.client import DEPLOYMENTS, LEASES, Api, connect
from backends.cluster.promotion import adopt_canary, selected_version
from backends.cluster.settings import ClusterSettings
from backends.cluster.world import World, attach
from conductor import orders
from conductor.guard import Guard
from conductor.orders import Begun, Desk
from conductor.saying import say
from conductor.standing import standing
from flows.wiring import Target, open_desk
from rollout.errors import RolloutError
from rollout.model import AT_REST, Track, Weights
from rollout.record import Ended, EndState, Started, TakenOver
from rollout.words import SignalKind
from tests.emulated.rollouts import PLAN
from tests.emulated.server import ADMIN, EmulatedCluster
from tests.emulated.shipped import NAMESPACE, service_at_rest, webhook_rules

NOWHERE = "http://127.0.0.1:9"


def desk_on(cluster: World) -> Desk:
    target = Target(backend="cluster", kubeconfig=cluster.settings.kubeconfig, prometheus=NOWHERE)
    return open_desk(target, PLAN)


def resumed(one: Begun) -> str:
    return f"{one.name}: resumed"


def orphan(cluster: World, admin: Api) -> None:
    """Leave what an owner leaves that was killed at 20 % a while ago."""
    dead = attach(cluster.settings)
    lock = dead.lock("r1 by ada")
    lock.acquire()
    dead.ledger("r1").append(Started(at=datetime.now(UTC), rollout="r1", plan=PLAN, who="ada", backend="cluster"))
    dead.ledger("r1").save_state('{"asked": 20}')
    dead.workloads.scale(Track.CANARY, 1)
    dead.router.set_weights(Weights.with_canary(20))
    admin.patch(LEASES, "canary-app-rollout", {"spec": {"renewTime": "2026-01-05T09:00:00.000000Z"}})


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
    assert next(iter(orders.abort(desk_on(cluster), "again"))) == "nothing to abort: no rollout is under way"


def test_a_restore_after_a_promotion_goes_by_what_stable_stands_for(cluster: World) -> None:
    cluster.ledger("r1").append(Started(at=datetime.now(UTC), rollout="r1", plan=PLAN, who="ada", backend="cluster"))
    cluster.router.set_weights(Weights.with_canary(100))
    adopt_canary(cluster)
    cluster.ledger("r1").append(Ended(at=datetime.now(UTC), state=EndState.PROMOTED, reason="all passed"))
    assert (cluster.serves(Track.STABLE), cluster.serves(Track.CANARY)) == (False, True)

    said = list(orders.restore(desk_on(cluster), "second thoughts"))

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
