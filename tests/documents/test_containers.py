"""The service's own container is known whatever stands beside it, or the release is refused by their names."""

from __future__ import annotations

from typing import Any

import pytest

from backends.cluster.pods.containers import DEFAULT_CONTAINER, Port, service_container, target_ports
from rollout.errors import PlanError

PROXY = {"name": "cloud-sql", "image": "sql-proxy:2", "ports": [{"name": "sql", "containerPort": 3306}]}
APP = {"name": "main", "image": "shop:v1", "ports": [{"name": "http", "containerPort": 8080}]}
MESH = {"name": "istio-proxy", "image": "auto"}
SHIPPER = {"name": "logs", "image": "logs:1", "restartPolicy": "Always"}


def _deployment(*containers: dict[str, Any], default: str = "", native: tuple[dict[str, Any], ...] = ()) -> Any:
    annotations = {DEFAULT_CONTAINER: default} if default else None
    spec = {"containers": list(containers), "initContainers": list(native)}
    template = {"metadata": {"annotations": annotations}, "spec": spec}
    return {"metadata": {"name": "shop-v1", "namespace": "market"}, "spec": {"template": template}}


def _chosen(deployment: Any, *, named: str = "", ports: tuple[Port, ...] = (), service: str = "shop") -> str:
    return str(service_container(deployment, service=service, named=named, ports=lambda: ports)["name"])


def test_the_only_container_beside_the_meshs_proxy_is_the_service() -> None:
    assert _chosen(_deployment(MESH, APP)) == "main"
    assert _chosen(_deployment(APP, native=(SHIPPER, MESH | {"restartPolicy": "Always"}))) == "main"


def test_a_named_container_is_the_service_whatever_else_speaks_for_another() -> None:
    assert _chosen(_deployment(PROXY, APP, default="main"), named="cloud-sql", ports=(8080,)) == "cloud-sql"


def test_a_named_container_that_is_not_there_is_refused() -> None:
    with pytest.raises(PlanError, match=r"market/shop-v1: got 'istio-proxy', allowed: cloud-sql, main"):
        _chosen(_deployment(PROXY, APP, MESH), named="istio-proxy")


def test_the_annotation_that_kubectl_goes_by_names_the_service() -> None:
    assert _chosen(_deployment(PROXY, APP, default="main"), ports=(3306,)) == "main"


@pytest.mark.parametrize("default", ["istio-proxy", "gone"])
def test_an_annotation_that_names_no_container_of_ones_own_decides_nothing(default: str) -> None:
    assert _chosen(_deployment(PROXY, APP, MESH, default=default), ports=(8080,)) == "main"


@pytest.mark.parametrize("port", [8080, "http"])
def test_the_container_with_the_services_port_is_the_service(port: Port) -> None:
    assert _chosen(_deployment(PROXY, APP), ports=(port,)) == "main"


def test_where_no_port_decides_the_container_that_is_called_like_the_service_is_it() -> None:
    shop = {"name": "shop", "image": "shop:v1"}

    assert _chosen(_deployment(PROXY, shop)) == "shop"
    assert _chosen(_deployment(APP, shop | {"ports": APP["ports"]}), ports=("http",)) == "shop"


def test_several_that_could_be_it_are_named_with_what_to_do() -> None:
    expected = r"market/shop-v1: which container is the service, of cloud-sql, main\? Name it by --container"

    with pytest.raises(PlanError, match=expected):
        _chosen(_deployment(PROXY, APP))


def test_pods_of_the_meshs_proxy_alone_have_no_service() -> None:
    with pytest.raises(PlanError, match="a container beside istio-proxy"):
        _chosen(_deployment(MESH))


def test_a_service_sends_to_its_target_port_or_else_to_its_own() -> None:
    ports = [{"port": 80, "targetPort": "http"}, {"port": 9090}, {"port": 81, "targetPort": 8081}]

    assert target_ports({"spec": {"ports": ports}}) == ("http", 9090, 8081)
    assert target_ports({"spec": {"ports": None}}) == ()
