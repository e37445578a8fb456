"""The cluster backend on the API server that KUBECONFIG names, with the shipped Role's rights and no others.

    KUBECONFIG=... pytest -m cluster

The contract suite runs there too. Tests that need pods are skipped where no node is there to run them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from backends.cluster.api.client import DEPLOYMENTS, DESTINATION_RULES, VIRTUAL_SERVICES, Api, Resource
from backends.cluster.environment import World, attach
from backends.cluster.preflight.checks import checks
from backends.cluster.promotion import make_canary_stable, selected_version, set_stable_version
from backends.route_patches import abort_of
from rollout.errors import ConflictError, PlanError, SetupError
from rollout.events import EndState, WeightsSet
from rollout.model import AT_REST, Track, Weights
from tests.cluster.played import MISSING_IMAGE
from tests.cluster.real import RealCluster, eventually
from tests.cluster.real import real as real
from tests.emulated.rollouts import PLAN, Rollout
from tests.emulated.shipped import ROOT
from tests.fakes import FakeClock

pytestmark = pytest.mark.cluster
TWENTY = Weights.with_canary(20)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "tests")


def fresh(name: str) -> str:
    """Return a name that no rollout of an earlier test run has."""
    return f"{name}-{uuid.uuid4().hex[:6]}"


class HurriedClock(FakeClock):
    """Ten times as fast as the machine's, so that pods have time to start."""

    def sleep(self, duration: timedelta) -> None:
        time.sleep(duration.total_seconds() / 10)
        super().sleep(duration)


@pytest.fixture
def world(real: RealCluster) -> Iterator[World]:
    detail = attach(real.settings)
    yield detail
    set_stable_version(detail, "v1")
    detail.router.seize(AT_REST)
    detail.workloads.scale(Track.CANARY, 0)


@pytest.fixture
def admin(real: RealCluster) -> Api:
    if real.admin is None:
        pytest.skip("KUBECONFIG names no administrator")
    return real.admin


def test_the_shipped_role_is_enough_for_preflight(world: World) -> None:
    detail = {check.name: check for check in checks(world, PLAN)}

    expected = {"kubernetes", "clock", "kind VirtualService", "route", "subset stable", "split at rest", "quota"}
    permissions = {name for name in detail if name.startswith("permission ")}
    assert [detail[name] for name in expected | permissions if not detail[name].ok] == []


def test_what_the_role_lacks_is_named(world: World, admin: Api) -> None:
    role = admin.get(ROLES, "canary-pipeline")
    fewer = [rule for rule in role["rules"] if rule["resources"] != ["leases"]]
    name, missing = "permission leases.coordination.k8s.io", "may not get, create, patch"

    admin.patch(ROLES, "canary-pipeline", {"rules": fewer})
    try:
        assert eventually(lambda: _found(world)[name] == missing)  # the server notices a Role a little later
    finally:
        admin.patch(ROLES, "canary-pipeline", {"rules": role["rules"]})
        assert eventually(lambda: _found(world)[name] == "may get, create, patch")


def _found(world: World) -> dict[str, str]:
    return {check.name: check.detail for check in checks(world, PLAN)}


def test_a_change_of_weights_keeps_everything_else(world: World, admin: Api) -> None:
    before = admin.get(VIRTUAL_SERVICES, "canary-app")["spec"]

    for percent in (20, 50, 100, 0):
        world.router.set_weights(Weights.with_canary(percent))
        assert world.router.read_weights() == Weights.with_canary(percent)

    assert admin.get(VIRTUAL_SERVICES, "canary-app")["spec"] == before


def test_who_reset_the_routes_is_known(world: World, admin: Api) -> None:
    world.router.set_weights(TWENTY)
    ours = world.router.last_writer()
    http = admin.get(VIRTUAL_SERVICES, "canary-app")["spec"]["http"]
    for entry, weight in zip(http[-1]["route"], (100, 0), strict=True):
        entry["weight"] = weight
    admin.patch(VIRTUAL_SERVICES, "canary-app", {"spec": {"http": http}})

    assert ours is not None
    assert (ours.name, ours.operation) == ("canary-pipeline", "Update")
    assert world.router.read_weights() == AT_REST


def test_an_emergency_rollback_fences_the_rollout_off(world: World) -> None:
    lock = world.lock("ada")
    lock.acquire()
    world.router.set_weights(TWENTY)

    attach(world.settings).router.seize(AT_REST)

    with pytest.raises(ConflictError, match="somebody took the traffic"):
        world.router.set_weights(Weights.with_canary(50))
    world.router.set_weights(AT_REST)
    lock.release()


def test_a_promotion_is_adopted(world: World, admin: Api) -> None:
    world.router.set_weights(Weights.with_canary(100))

    make_canary_stable(world)

    assert (selected_version(world, Track.STABLE), world.router.read_weights()) == ("v2", AT_REST)
    assert admin.get(DESTINATION_RULES, "canary-app")["spec"]["host"] == "canary-app"


def test_what_istio_refuses_is_an_error_of_the_plan(world: World) -> None:
    operations = [{"op": "add", "path": f"/spec/http/2/route/{number}/weight", "value": 0} for number in (0, 1)]
    said = ""

    try:
        world.api.patch(VIRTUAL_SERVICES, "canary-app", operations)
    except PlanError as error:
        said = str(error)

    if not said:
        pytest.skip("no istiod validates here")
    assert "refused with 400: admission webhook" in said


def test_a_request_beyond_the_role_names_it(world: World) -> None:
    with pytest.raises(SetupError, match=r"manifests/permissions/role.yaml grants list on secrets"):
        world.api.list(Resource("", "v1", "secrets", "nobody"))


@pytest.mark.parametrize(("errors", "state"), [(0.0, EndState.PROMOTED), (0.05, EndState.ROLLED_BACK)])
def test_a_whole_rollout(
    real: RealCluster, world: World, monkeypatch: pytest.MonkeyPatch, errors: float, state: EndState
) -> None:
    if not real.runs_pods:
        pytest.skip("no node runs pods here")
    rollout = Rollout(world, monkeypatch, clock=HurriedClock(datetime.now(UTC)))
    rollout.metrics.behaviour[Track.CANARY].errors = errors

    rollout.carry_out(fresh(f"whole-{state.value.replace(' ', '-')}"))

    record = rollout.record
    shares = [event.canary for event in record.of(WeightsSet)]
    assert record.ended.state is state
    assert shares == ([0, 20, 50, 100] if state is EndState.PROMOTED else [0, 20, 0])
    assert world.router.read_weights() == AT_REST
    assert selected_version(world, Track.STABLE) == ("v2" if state is EndState.PROMOTED else "v1")


def test_a_canary_whose_image_is_nowhere_is_rolled_back(real: RealCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    if not real.runs_pods:
        pytest.skip("no node runs pods here")
    settings = real.settings.model_copy(update={"canary_version": "v3", "image": MISSING_IMAGE})
    world = attach(settings)
    rollout = Rollout(world, monkeypatch, clock=HurriedClock(datetime.now(UTC)))

    rollout.carry_out(fresh("nowhere"))

    assert rollout.record.ended.state is EndState.ROLLED_BACK
    assert "cannot start: " in rollout.record.ended.reason or "ImagePull" in rollout.record.ended.reason
    assert world.router.read_weights() == AT_REST
    assert world.api.get(DEPLOYMENTS, "canary-app-v3")["spec"]["replicas"] == 0


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_the_emergency_rollback_needs_no_more_than_the_role(world: World, real: RealCluster) -> None:
    world.router.set_weights(TWENTY)
    script = [str(ROOT / "manifests/break-glass/rollback.sh"), "--drain", "0", "--namespace", real.settings.namespace]
    kubeconfig = {"KUBECONFIG": str(real.settings.kubeconfig)} if real.settings.kubeconfig else {}

    done = subprocess.run(
        ["/bin/sh", *script], env=os.environ | kubeconfig, capture_output=True, text=True, timeout=120
    )

    assert done.returncode == 0, done.stderr
    assert world.router.read_weights() == AT_REST
    assert abort_of(world.router.read())
