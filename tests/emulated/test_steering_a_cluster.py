"""Router, lock and epoch together: nobody's setting is lost, and no late write lands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.cluster.api.client import DEPLOYMENTS, LEASES, VIRTUAL_SERVICES, Api
from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.environment import World, attach
from backends.cluster.preflight.checks import checks
from backends.cluster.preflight.permissions import GATEWAY_API_PERMISSIONS
from backends.cluster.promotion import make_canary_stable, restore_former_stable, selected_version
from backends.route_patches import ABORT, EPOCH, epoch_of
from rollout.errors import ConflictError, LockedError, PlanError, SetupError, UnavailableError
from rollout.model import AT_REST, Track, Weights
from rollout.plan import parse_plan
from rollout.ports import SignalKind
from tests.emulated.faults import Fault
from tests.emulated.patches import APPLY
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import ROOT, documents

TWENTY = Weights.with_canary(20)


def _route(api: Api) -> dict[str, Any]:
    return api.get(VIRTUAL_SERVICES, "canary-app")


def _again(world: World) -> World:
    """Another process at the same service."""
    return attach(world.settings)


def test_a_change_of_weights_is_one_write_of_two_fields(cluster: World, server: EmulatedCluster, admin: Api) -> None:
    before = _route(admin)

    cluster.router.set_weights(TWENTY)

    after = _route(admin)
    assert [method for method, _ in server.requests].count("PATCH") == 1
    for entry in after["spec"]["http"][2]["route"]:
        entry["weight"] = 0 if entry["destination"]["subset"] == "canary" else 100
    assert after["spec"] == before["spec"]


def test_a_change_by_somebody_else_at_the_same_moment_is_kept(
    cluster: World, server: EmulatedCluster, admin: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = cluster.api.get

    def interfered(*args: Any) -> dict[str, Any]:
        document = read(*args)
        monkeypatch.setattr(cluster.api, "get", read)
        admin.patch(VIRTUAL_SERVICES, "canary-app", [{"op": "add", "path": "/spec/http/2/timeout", "value": "3s"}])
        return document

    monkeypatch.setattr(cluster.api, "get", interfered)

    cluster.router.set_weights(TWENTY)

    assert _route(admin)["spec"]["http"][2]["timeout"] == "3s"
    assert cluster.router.read_weights() == TWENTY


def test_a_split_that_gitops_reset_is_drift_with_its_name(cluster: World, server: EmulatedCluster) -> None:
    cluster.router.set_weights(TWENTY)
    ours = cluster.router.last_writer()
    (resting,) = documents("istio/virtual-service.yaml")
    server.store.patch(
        "virtualservices", "canary-app", "canary-app", resting, content=APPLY, manager="argocd", force=True
    )

    drift = cluster.router.drift(TWENTY)

    assert ours is not None
    assert (ours.name, ours.operation) == ("canary-pipeline", "Update")
    assert drift is not None
    assert (drift.weights, drift.is_taken) == (AT_REST, False)
    assert drift.who.startswith("argocd (by server-side apply")
    cluster.router.set_weights(TWENTY)
    assert cluster.router.drift(TWENTY) is None


def test_an_owner_who_lost_the_lock_cannot_write_any_more(cluster: World, admin: Api) -> None:
    cluster.lock("ada").acquire()
    admin.patch(LEASES, "canary-app-rollout", {"spec": {"renewTime": "2026-01-05T09:00:00.000000Z"}})
    other = _again(cluster)
    other.lock("bob").acquire()

    with pytest.raises(LockedError, match=r"epoch moved 1 -> 2, steered by bob"):
        cluster.router.set_weights(TWENTY)

    other.router.set_weights(TWENTY)
    assert cluster.router.read_weights() == TWENTY


def test_an_emergency_rollback_stops_every_later_write_of_the_rollout(cluster: World) -> None:
    cluster.lock("ada").acquire()
    cluster.router.set_weights(TWENTY)

    _again(cluster).router.seize(AT_REST)

    with pytest.raises(ConflictError, match=r"epoch moved 1 -> 2: somebody took the traffic"):
        cluster.router.set_weights(Weights.with_canary(50))
    cluster.router.set_weights(AT_REST)  # its own way back is open: there is nothing left to write
    assert cluster.router.read_weights() == AT_REST


def test_after_an_emergency_rollback_the_next_owner_begins_a_later_epoch(cluster: World) -> None:
    first = cluster.lock("ada")
    first.acquire()
    for _ in range(3):
        _again(cluster).router.seize(AT_REST)
    first.release()

    cluster.lock("bob").acquire()

    cluster.router.set_weights(TWENTY)
    assert epoch_of(cluster.router.read()) == cluster.fence.epoch == 5


def test_an_owner_whose_process_died_between_lease_and_epoch_can_go_on(cluster: World, admin: Api) -> None:
    cluster.lock("ada").acquire()
    annotation = f"/metadata/annotations/{EPOCH.replace('/', '~1')}"
    admin.patch(VIRTUAL_SERVICES, "canary-app", [{"op": "remove", "path": annotation}])
    resumed = _again(cluster)

    resumed.lock("ada").acquire()

    resumed.router.set_weights(TWENTY)
    assert resumed.router.read_weights() == TWENTY


def test_kubectl_alone_can_say_abort_and_the_next_rollout_does_not_hear_it(cluster: World, admin: Api) -> None:
    cluster.lock("ada").acquire()
    admin.patch(VIRTUAL_SERVICES, "canary-app", {"metadata": {"annotations": {ABORT: "checkout is down"}}})

    (heard,) = cluster.signals("r1").read()
    cluster.lock("ada").release()
    cluster.lock("bob").acquire()

    assert (heard.kind, heard.reason, heard.who) == (SignalKind.ABORT, "checkout is down", "kubectl")
    assert cluster.signals("r2").read() == ()


def test_a_canary_without_a_deployment_gets_stables_with_its_own_image(server: EmulatedCluster, cluster: World) -> None:
    world = attach(cluster.settings.model_copy(update={"canary_version": "v9", "image": "shop:v9"}))

    world.workloads.scale(Track.CANARY, 2)

    pods = server.store.list("pods", "canary-app", "version=v9")[0]
    assert [pod["spec"]["containers"][0]["image"] for pod in pods] == ["shop:v9"] * 2
    assert sum(pod.track is Track.CANARY and pod.ready for pod in world.workloads.pods()) == 2


HELPER = {"name": "cloud-sql", "image": "sql-proxy:2"}


@pytest.mark.parametrize("has_deployment", [True, False])
def test_the_services_own_container_gets_the_image_and_its_helper_stays(
    server: EmulatedCluster, cluster: World, admin: Api, has_deployment: bool
) -> None:
    for name in ("canary-app-v1", "canary-app-v2"):
        containers = admin.get(DEPLOYMENTS, name)["spec"]["template"]["spec"]["containers"]
        admin.patch(DEPLOYMENTS, name, {"spec": {"template": {"spec": {"containers": [HELPER, *containers]}}}})
    if not has_deployment:
        admin.delete(DEPLOYMENTS, "canary-app-v2")
    world = attach(cluster.settings.model_copy(update={"image": "shop:v2"}))

    world.workloads.prepare()

    containers = admin.get(DEPLOYMENTS, "canary-app-v2")["spec"]["template"]["spec"]["containers"]
    assert [(one["name"], one["image"]) for one in containers] == [("cloud-sql", "sql-proxy:2"), ("app", "shop:v2")]


def test_an_image_for_one_of_two_containers_that_could_be_it_touches_nothing(
    server: EmulatedCluster, cluster: World, admin: Api
) -> None:
    containers = admin.get(DEPLOYMENTS, "canary-app-v2")["spec"]["template"]["spec"]["containers"]
    both = [HELPER, {key: value for key, value in containers[0].items() if key != "ports"}]
    admin.patch(DEPLOYMENTS, "canary-app-v2", {"spec": {"template": {"spec": {"containers": both}}}})
    before = admin.get(DEPLOYMENTS, "canary-app-v2")
    settings = cluster.settings.model_copy(update={"image": "shop:v2"})

    with pytest.raises(PlanError, match="which container is the service, of cloud-sql, app"):
        attach(settings).workloads.prepare()

    assert admin.get(DEPLOYMENTS, "canary-app-v2") == before
    attach(settings.model_copy(update={"container": "app"})).workloads.prepare()
    assert admin.get(DEPLOYMENTS, "canary-app-v2")["spec"]["template"]["spec"]["containers"][1]["image"] == "shop:v2"


def test_a_canary_without_deployment_and_image_is_refused_with_a_hint(cluster: World) -> None:
    world = attach(cluster.settings.model_copy(update={"canary_version": "v9"}))

    with pytest.raises(PlanError, match=r"canary-app-v9: not found; apply manifests/, or name the canary's image"):
        world.workloads.scale(Track.CANARY, 1)


def test_an_image_that_cannot_be_pulled_shows_at_once(server: EmulatedCluster, cluster: World) -> None:
    world = attach(cluster.settings.model_copy(update={"image": "missing:v2"}))

    world.workloads.scale(Track.CANARY, 1)

    (pod,) = [pod for pod in world.workloads.pods() if pod.track is Track.CANARY]
    assert (pod.ready, pod.waiting) == (False, "ImagePullBackOff")


def test_an_autoscaler_keeps_the_replicas_and_gets_another_minimum(
    server: EmulatedCluster, cluster: World, admin: Api
) -> None:
    target = {"kind": "Deployment", "name": "canary-app-v2"}
    spec = {"scaleTargetRef": target, "minReplicas": 1, "maxReplicas": 5}
    metadata = {"name": "v2", "namespace": "canary-app"}
    server.put({"kind": "HorizontalPodAutoscaler", "metadata": metadata, "spec": spec})
    cluster.workloads.scale(Track.CANARY, 1)
    server.requests.clear()

    cluster.workloads.scale(Track.CANARY, 4)

    assert [path for method, path in server.requests if method == "PATCH" and "scale?" in path] == []
    autoscaler = server.store.get("horizontalpodautoscalers", "canary-app", "v2")
    assert autoscaler["spec"]["minReplicas"] == 4
    with pytest.raises(PlanError, match="v2 allows 5"):
        cluster.workloads.scale(Track.CANARY, 6)


def test_a_promotion_is_adopted_with_all_traffic_on_the_new_version_throughout(cluster: World, admin: Api) -> None:
    cluster.router.set_weights(Weights.with_canary(100))

    for _ in range(2):
        make_canary_stable(cluster)
        assert (selected_version(cluster, Track.STABLE), cluster.router.read_weights()) == ("v2", AT_REST)
    restore_former_stable(cluster)

    assert (selected_version(cluster, Track.STABLE), cluster.router.read_weights()) == ("v1", AT_REST)


def test_a_version_without_all_the_traffic_is_not_adopted_nor_one_without_pods_returned_to(cluster: World) -> None:
    cluster.router.set_weights(TWENTY)

    with pytest.raises(PlanError, match="has 20 % of the traffic"):
        make_canary_stable(cluster)
    cluster.workloads.scale(Track.STABLE, 0)
    with pytest.raises(PlanError, match="none of its pods is ready"):
        restore_former_stable(cluster)

    assert selected_version(cluster, Track.STABLE) == "v1"


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        *(("PATCH", fault) for fault in Fault),
        *(("GET", fault) for fault in Fault if fault not in (Fault.CONFLICT, Fault.INVALID)),
    ],
)
def test_one_fault_of_any_kind_does_not_keep_the_weights_from_being_set(
    cluster: World, server: EmulatedCluster, method: str, fault: Fault
) -> None:
    cluster.lock("ada").acquire()
    server.faults.plan(fault, method, "virtualservices")

    cluster.router.set_weights(TWENTY)

    assert cluster.router.read_weights() == TWENTY


def test_a_server_that_is_down_is_said_so_within_the_deadline(cluster: World, server: EmulatedCluster) -> None:
    server.faults.plan(Fault.ERROR, "GET", times=1000)

    with pytest.raises(
        UnavailableError, match=r"get virtualservices.networking.istio.io canary-app/canary-app: no answer: 500"
    ):
        cluster.router.read_weights()


def test_a_missing_permission_names_verb_resource_and_role(cluster: World, server: EmulatedCluster) -> None:
    server.rules = [rule for rule in server.rules if "virtualservices" not in rule["resources"]]

    with pytest.raises(
        SetupError, match=r"Role in manifests/permissions/role.yaml grants get on virtualservices.networking.istio.io"
    ):
        cluster.router.read_weights()


def test_a_missing_object_names_the_file_that_creates_it(cluster: World, server: EmulatedCluster) -> None:
    server.store.delete("virtualservices", "canary-app", "canary-app")

    with pytest.raises(SetupError, match=r"canary-app/canary-app: not found: .*; istio/ .* creates it"):
        cluster.router.read_weights()


def test_the_loopback_is_reached_whatever_proxy_is_set(cluster: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)

    assert _again(cluster).router.read_weights() == AT_REST


def test_a_plans_facts_are_written_once(cluster: World) -> None:
    plan = parse_plan((ROOT / "rollout.yaml").read_text())

    settings = ClusterSettings(namespace="shop").for_plan(plan)

    assert (settings.service, settings.versions) == ("canary-app", {Track.STABLE: "v1", Track.CANARY: "v2"})
    assert (settings.scrape_seconds, settings.document_name, settings.rule_name) == (5.0, "canary-app", "canary-app")


def test_a_kubeconfig_that_is_not_there_is_an_error_of_setup(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="no usable kubeconfig"):
        attach(ClusterSettings(kubeconfig=tmp_path / "none"))


@pytest.fixture
def gateway_api(server: EmulatedCluster, cluster: World) -> World:
    """The service as the overlay `gateway-api` makes it: an HTTPRoute, and a Service a track."""
    del server.groups["networking.istio.io"]
    folder = "manifests/overlays/gateway-api"
    server.put(*documents(f"{folder}/http-route.yaml", f"{folder}/services.yaml"))
    verbs = [
        {"apiGroups": [one.group], "resources": [one.resource], "verbs": [one.verb]} for one in GATEWAY_API_PERMISSIONS
    ]
    server.rules = [*server.rules, *verbs]
    return attach(cluster.settings.model_copy(update={"kind": "HTTPRoute"}))


def test_an_http_route_is_steered_through_the_same_ports(gateway_api: World) -> None:
    gateway_api.lock("ada").acquire()

    gateway_api.router.set_weights(TWENTY)

    assert gateway_api.router.read_weights() == TWENTY
    assert gateway_api.router.last_writer() is not None
    assert gateway_api.signals("r1").read() == ()


def test_with_an_http_route_a_promotion_moves_stables_service(gateway_api: World) -> None:
    gateway_api.router.set_weights(Weights.with_canary(100))

    make_canary_stable(gateway_api)
    adopted = selected_version(gateway_api, Track.STABLE)
    restore_former_stable(gateway_api)

    assert (adopted, selected_version(gateway_api, Track.STABLE)) == ("v2", "v1")
    assert gateway_api.router.read_weights() == AT_REST


def test_an_http_route_is_not_drilled_and_nothing_is_touched(gateway_api: World, server: EmulatedCluster) -> None:
    before = len(server.store.history)

    with pytest.raises(PlanError, match="HTTPRoute canary-app/canary-app: cannot let marked requests fail"):
        gateway_api.drill_fault("", parse_plan((ROOT / "rollout.yaml").read_text()))

    assert len(server.store.history) == before


def test_preflight_of_an_http_route_asks_for_its_own_kinds_and_services(gateway_api: World) -> None:
    plan = parse_plan((ROOT / "rollout.yaml").read_text())

    found = {check.name: check for check in checks(gateway_api, plan)}

    assert {name for name, check in found.items() if not check.ok} == {"series"}  # no Prometheus stands here
    assert {"kind HTTPRoute", "service canary-app-stable", "permission services"} <= set(found)
