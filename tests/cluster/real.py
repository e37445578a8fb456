"""A real cluster, named by KUBECONFIG: a namespace of random name with the service at rest, gone on every way out.

What is shipped is applied as it stands, but for the namespace and the image: CANARY_TEST_IMAGE, or a container that
only waits. The tests see the cluster as a ServiceAccount that has the shipped Role and nothing else. Where KUBECONFIG
itself may make no namespace, it is taken for the pipeline's own: the service has to stand in its context's namespace.
"""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.client import ApiClient
from kubernetes.config import list_kube_config_contexts

from backends.cluster.api.client import (
    DEPLOYMENTS,
    DESTINATION_RULES,
    GATEWAYS,
    PODS,
    VIRTUAL_SERVICES,
    Api,
    Resource,
    connect,
)
from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.environment import attach
from backends.cluster.pods.containers import service_container
from rollout.errors import SetupError
from tests.cluster.played import PlayedKubelet
from tests.emulated.shipped import NAMESPACE, role_rules, service_at_rest

PAUSE = "registry.k8s.io/pause:3.10"
"""An image that only waits, where the nodes have none of this kind already."""
_RESOURCES = {
    "Deployment": DEPLOYMENTS,
    "DestinationRule": DESTINATION_RULES,
    "Gateway": GATEWAYS,
    "VirtualService": VIRTUAL_SERVICES,
    "Service": Resource("", "v1", "services", "tests"),
    "ServiceAccount": Resource("", "v1", "serviceaccounts", "tests"),
    "Role": Resource("rbac.authorization.k8s.io", "v1", "roles", "tests"),
    "RoleBinding": Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "tests"),
}


class Runs(StrEnum):
    """What the pods are here."""

    NODES = "pods run on nodes"
    FOUND = "pods as they are found"
    PLAYED = "pods are made by the controllers, no node runs them, and the tests say that they are ready"
    NOTHING = "no pods: neither nodes nor controllers"


@dataclass(frozen=True)
class RealCluster:
    """The service, and both ways to reach it."""

    settings: ClusterSettings
    """As the pipeline's ServiceAccount, with the shipped Role's rights."""
    admin: Api | None
    """None where KUBECONFIG names no administrator."""
    runs: Runs

    @property
    def runs_pods(self) -> bool:
        """Whether pods come, go and become ready."""
        return self.runs is not Runs.NOTHING


@pytest.fixture(scope="session")
def real(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    """The real cluster. Never by accident: only where `-m cluster` was asked for."""
    if "cluster" not in request.config.option.markexpr.replace("not cluster", ""):
        pytest.skip("on a real cluster only with -m cluster")
    with real_cluster(tmp_path_factory.mktemp("cluster")) as detail:
        _report(request, detail)
        yield detail


def _report(request: pytest.FixtureRequest, detail: RealCluster) -> None:
    who = "a ServiceAccount of the tests" if detail.admin else "KUBECONFIG's own user"
    plugins = request.config.pluginmanager
    with plugins.getplugin("capturemanager").global_and_fixture_disabled():
        text = f"cluster: namespace {detail.settings.namespace} as {who}; {detail.runs}"
        plugins.getplugin("terminalreporter").write_line(f"\n{text}")


@contextmanager
def real_cluster(folder: Path) -> Iterator[RealCluster]:
    """Put the service into a namespace of its own, and take all of it away again."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # or it would leave the namespace behind
    client = connect(None)
    namespace = f"canary-test-{uuid.uuid4().hex[:8]}"
    admin = Api(client, namespace, timedelta(seconds=20))
    try:
        admin.ask("/api/v1/namespaces", body=_namespace(namespace))
    except SetupError:
        yield _as_we_are()
        return
    try:
        nodes = admin.ask("/api/v1/nodes")[0]["items"]
        for document in (*_account(namespace), *_service(namespace, _image(nodes))):
            admin.create(_RESOURCES[document["kind"]], document)
        settings = ClusterSettings(
            kubeconfig=_kubeconfig(folder, client, _token(admin, namespace)), namespace=namespace
        )
        assert eventually(lambda: _reaches(settings)), "the Role is not in force"
        runs = _runs(admin, has_nodes=bool(nodes))
        with PlayedKubelet(admin) if runs is Runs.PLAYED else nullcontext():
            assert runs is Runs.NOTHING or eventually(lambda: _serves(admin)), "CANARY_TEST_IMAGE names no image here"
            yield RealCluster(settings, admin, runs)
    finally:
        client.call_api(
            *client.param_serialize("DELETE", f"/api/v1/namespaces/{namespace}", auth_settings=["BearerToken"])
        )
        client.close()


def _as_we_are() -> RealCluster:
    """Return the service that stands in the context's namespace, with the rights that we have."""
    namespace = list_kube_config_contexts()[1]["context"].get("namespace", NAMESPACE)  # type: ignore[no-untyped-call]
    settings = ClusterSettings(namespace=namespace)
    has_pods = any(pod.ready for pod in attach(settings).workloads.pods())
    return RealCluster(settings, None, Runs.FOUND if has_pods else Runs.NOTHING)


def _runs(admin: Api, *, has_nodes: bool) -> Runs:
    if has_nodes:
        return Runs.NODES
    return Runs.PLAYED if eventually(lambda: bool(admin.list(PODS)), seconds=10) else Runs.NOTHING


def _image(nodes: list[dict[str, Any]]) -> str:
    """Return an image that only waits, of those that the nodes have: nothing has to be fetched then."""
    held = (name for node in nodes for image in node["status"].get("images") or [] for name in image["names"] or [])
    return next((name for name in held if "pause" in name and "@" not in name), PAUSE)


def _namespace(name: str) -> dict[str, Any]:
    # No sidecars: the contract is about the API, and injection would need an image that may not be there.
    labels = {"istio-injection": "disabled"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def _service(namespace: str, pause: str) -> Iterator[dict[str, Any]]:
    for document in service_at_rest(namespace):
        if document["kind"] == "Deployment":
            spec = document["spec"]["template"]["spec"]
            spec.pop("serviceAccountName", None)
            spec["terminationGracePeriodSeconds"] = 2
            spec["containers"] = [_container(spec, pause)]
        yield document


def _container(spec: dict[str, Any], pause: str) -> dict[str, Any]:
    image = os.environ.get("CANARY_TEST_IMAGE", "")
    main = deepcopy(service_container({"spec": {"template": {"spec": spec}}}, service="canary-app"))
    main.pop("lifecycle", None)  # nobody's requests have to be drained
    if image:
        return main | {"image": image}
    return {"name": main["name"], "image": pause, "securityContext": main.get("securityContext", {})}


def _account(namespace: str) -> Iterator[dict[str, Any]]:
    name = {"metadata": {"name": "canary-pipeline"}}
    group = "rbac.authorization.k8s.io"
    yield {"apiVersion": "v1", "kind": "ServiceAccount"} | name
    yield {"apiVersion": f"{group}/v1", "kind": "Role", "rules": role_rules()} | name
    subject = {"kind": "ServiceAccount", "name": "canary-pipeline", "namespace": namespace}
    role = {"apiGroup": group, "kind": "Role", "name": "canary-pipeline"}
    yield {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "roleRef": role, "subjects": [subject]} | name


def _token(admin: Api, namespace: str) -> str:
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/canary-pipeline/token"
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 3600}}
    answer, _ = admin.ask(path, body=request)
    return str(answer["status"]["token"])


def _kubeconfig(folder: Path, client: ApiClient, token: str) -> Path:
    configuration = client.configuration
    server: dict[str, Any] = {"server": configuration.host}
    if configuration.ssl_ca_cert:
        server["certificate-authority"] = configuration.ssl_ca_cert
    if not configuration.verify_ssl:
        server["insecure-skip-tls-verify"] = True
    named = {
        "clusters": [{"name": "real", "cluster": server}],
        "users": [{"name": "pipeline", "user": {"token": token}}],
        "contexts": [{"name": "real", "context": {"cluster": "real", "user": "pipeline"}}],
    }
    file = folder / "pipeline.kubeconfig"
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "current-context": "real"} | named))
    return file


def _serves(admin: Api) -> bool:
    return (admin.get(DEPLOYMENTS, "canary-app-v1").get("status") or {}).get("readyReplicas", 0) >= 3


def _reaches(settings: ClusterSettings) -> bool:
    try:
        attach(settings).router.read()
    except SetupError:
        return False
    return True


def eventually(condition: Callable[[], bool], *, seconds: float = 60) -> bool:
    """Return whether a condition comes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.2)
    return True
