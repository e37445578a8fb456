"""What the shipped documents promise each other, the plan and the code."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from backends.cluster.preflight.permissions import GATEWAY_API_PERMISSIONS, PERMISSIONS
from backends.route_patches import Destinations, subset_labels
from backends.route_splits import find_split
from flows.server import operations_worker
from flows.server.prefect_services import DEPLOYMENTS, POOLS
from rollout.model import AT_REST
from rollout.plan import parse_plan
from rollout.quantities import parse_duration
from tests.unit.manifests.kustomized import (
    BUILDS,
    ISTIO,
    MANIFESTS,
    OVERLAYS,
    ROOT,
    Document,
    built,
    containers,
    named,
    pod_labels,
    values_of,
    variables,
    workloads,
)

PLAN = parse_plan((ROOT / "rollout.yaml").read_text())
ALL = [*built(MANIFESTS), *built(ISTIO)]
GATEWAY_API = built(OVERLAYS / "gateway-api")
VIRTUAL_SERVICE = named(ALL, "VirtualService", "canary-app")
HTTP_ROUTE = named(GATEWAY_API, "HTTPRoute", "canary-app")
SUBSETS = subset_labels(named(ALL, "DestinationRule", "canary-app"))
STABLE = named(ALL, "Deployment", f"{PLAN.service}-{PLAN.stable.version}")
CANARY = named(ALL, "Deployment", f"{PLAN.service}-{PLAN.canary.version}")
WORKLOADS = workloads(ALL)
SCRAPING = MANIFESTS / "prometheus" / "scrape-config.yaml"
ids = {"ids": lambda document: document["metadata"]["name"] if isinstance(document, dict) else str(document)}


def test_every_yaml_file_belongs_to_something_that_is_applied() -> None:
    reached = {file for folder in BUILDS for file in _reached(folder)}
    apart = set((MANIFESTS / "monitoring").glob("*.yaml"))
    alternatives = {*apart, *ISTIO.glob("virtual-service-*.yaml"), OVERLAYS / "k3s" / "config.yaml", SCRAPING}

    assert {*MANIFESTS.rglob("*.yaml"), *ISTIO.glob("*.yaml")} - reached - alternatives == set()


def test_the_versions_and_replicas_are_the_plans() -> None:
    assert STABLE["spec"]["replicas"] == PLAN.stable.replicas
    assert CANARY["spec"].get("replicas", 1) == PLAN.steps[0].replicas
    assert {"stable": {"version": PLAN.stable.version}, "canary": {"version": PLAN.canary.version}} == SUBSETS


def test_applying_the_canary_again_leaves_a_rollouts_scale_alone() -> None:
    assert "replicas" not in CANARY["spec"]


def test_the_canary_differs_from_stable_in_version_and_track_alone() -> None:
    renamed = yaml.safe_dump(STABLE).replace(PLAN.stable.version, PLAN.canary.version).replace("stable", "canary")
    wanted = yaml.safe_load(renamed)
    del wanted["spec"]["replicas"]

    # The API group's own version is no version of the service.
    assert wanted | {"apiVersion": "apps/v1"} == CANARY


@pytest.mark.parametrize(
    ("route", "wanted"),
    [
        (VIRTUAL_SERVICE, Destinations("stable", "canary", PLAN.service)),
        (HTTP_ROUTE, Destinations(f"{PLAN.service}-stable", f"{PLAN.service}-canary")),
    ],
    **ids,
)
def test_the_routes_are_at_rest_and_time_out_with_the_plan(route: Document, wanted: Destinations) -> None:
    assert find_split(route, wanted).matches(AT_REST)
    timeouts = [found for key in ("timeout", "request") for found in values_of(route["spec"], key)]
    assert [parse_duration(found) for found in timeouts] == [PLAN.timeout] * 2


def test_testers_see_the_canary_whatever_the_weights_are() -> None:
    http = VIRTUAL_SERVICE["spec"]["http"]
    testers, live = (next(one for one in http if one["name"] == name) for name in ("testers", "live"))

    assert testers["match"] == [{"headers": {"x-canary": {"exact": "always"}}}]
    assert [to["destination"]["subset"] for to in testers["route"]] == ["canary"]
    assert http.index(testers) < http.index(live)
    assert "match" not in live


def test_the_response_header_names_the_track_that_the_route_chose() -> None:
    for route in values_of(VIRTUAL_SERVICE, "route"):
        for to in route:
            assert to["headers"] == {"response": {"set": {"x-canary-track": to["destination"]["subset"]}}}


def test_every_destination_of_a_route_is_a_service_that_is_shipped() -> None:
    services = {one["metadata"]["name"] for one in ALL if one["kind"] == "Service"}
    services_of_gateway_api = {one["metadata"]["name"] for one in GATEWAY_API if one["kind"] == "Service"}

    assert {found["host"] for found in values_of(VIRTUAL_SERVICE, "destination")} <= services
    assert {one["name"] for refs in values_of(HTTP_ROUTE, "backendRefs") for one in refs} <= services_of_gateway_api


@pytest.mark.parametrize("document", [one for one in ALL + GATEWAY_API if one["kind"] == "Service"], **ids)
def test_a_service_selects_pods_that_have_the_ports_it_names(document: Document) -> None:
    pods = _selected(document["spec"]["selector"], document)

    assert pods
    for workload, port in product(pods, document["spec"]["ports"]):
        assert port["targetPort"] in _ports(workload)


@pytest.mark.parametrize("document", [one for one in WORKLOADS if one["kind"] != "Job"], **ids)
def test_a_workload_selects_its_own_pods_and_no_others(document: Document) -> None:
    assert _selected(document["spec"]["selector"]["matchLabels"], document) == [document]


@pytest.mark.parametrize("document", WORKLOADS, **ids)
def test_every_probe_names_a_port_of_its_container(document: Document) -> None:
    for container in containers(document):
        ports = {port["name"] for port in container.get("ports", [])}
        probes = [container[kind] for kind in ("startupProbe", "readinessProbe", "livenessProbe") if kind in container]
        actions = [action for probe in probes for kind, action in probe.items() if kind in ("httpGet", "tcpSocket")]
        assert {action["port"] for action in actions} <= ports


def test_the_worker_for_orders_lives_while_it_touches_the_file_that_its_probe_looks_at(tmp_path: Path) -> None:
    orders = next(box for box in containers(named(ALL, "Deployment", "prefect-worker")) if box["name"] == "orders")
    [shell, flag, script] = orders["livenessProbe"]["exec"]["command"]
    alive = _option(orders, "--alive")
    assert alive in script
    touched = tmp_path / "orders"

    def lives() -> bool:
        return not subprocess.run([shell, flag, script.replace(alive, str(touched))], check=False).returncode

    assert not lives()
    touched.touch()
    assert lives()
    os.utime(touched, (0, 0))
    assert not lives()


@pytest.mark.parametrize("kind", ["PodDisruptionBudget", "NetworkPolicy"])
def test_every_selector_of_a_policy_matches_pods(kind: str) -> None:
    for document in (one for one in ALL if one["kind"] == kind):
        key = "selector" if kind == "PodDisruptionBudget" else "podSelector"
        assert _selected(document["spec"][key].get("matchLabels", {}), document), document["metadata"]["name"]


def test_every_pod_that_a_policy_lets_in_or_reaches_is_shipped() -> None:
    policies = [one for one in ALL if one["kind"] == "NetworkPolicy"]
    peers = [(policy, labels) for policy in policies for labels in _peers(policy)]

    assert peers
    assert all(_selected(labels, policy) for policy, labels in peers)


@pytest.mark.parametrize("namespace", ["canary-app", "canary-pipeline"])
def test_what_no_policy_allows_is_denied(namespace: str) -> None:
    [policy] = [one for one in ALL if one["kind"] == "NetworkPolicy" and _of(one) == (namespace, "deny-all")]

    assert policy["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


@pytest.mark.parametrize("document", [one for folder in BUILDS for one in workloads(built(folder))], **ids)
def test_no_container_has_a_privilege_or_a_writable_root(document: Document) -> None:
    pod = document["spec"]["template"]["spec"]

    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] >= 10000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    for container in containers(document):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_only_those_that_work_on_the_cluster_hold_a_token() -> None:
    holders = [one["metadata"]["name"] for one in WORKLOADS if _pod(one)["automountServiceAccountToken"]]

    assert sorted(holders) == ["canary-guard", "canary-webhook", "prefect-worker"]


def test_every_service_account_that_is_named_is_shipped() -> None:
    shipped = {_of(one) for one in ALL if one["kind"] == "ServiceAccount"}
    used = {(_of(one)[0], _pod(one)["serviceAccountName"]) for one in WORKLOADS if "serviceAccountName" in _pod(one)}
    bound = {(one["namespace"], one["name"]) for found in values_of(ALL, "subjects") for one in found}

    assert used | bound <= shipped


@pytest.mark.parametrize("document", [STABLE, CANARY], **ids)
def test_a_pod_that_goes_serves_until_nobody_sends_to_it(document: Document) -> None:
    pod, [app] = _pod(document), containers(document)
    config = yaml.safe_load(document["spec"]["template"]["metadata"]["annotations"]["proxy.istio.io/config"])
    pause = int(app["lifecycle"]["preStop"]["exec"]["command"][1])
    [grace] = re.findall(r"timeout_graceful_shutdown=(\d+)", (ROOT / "sample" / "__main__.py").read_text())
    sidecar = parse_duration(config["terminationDrainDuration"]).total_seconds()

    assert PLAN.timeout.total_seconds() < int(grace)
    assert pause + int(grace) < sidecar < pod["terminationGracePeriodSeconds"]


def test_the_role_grants_exactly_the_verbs_that_the_code_uses() -> None:
    assert _granted(ALL) == set(PERMISSIONS)
    istio = {one for one in PERMISSIONS if one.group == "networking.istio.io"}
    assert _granted(GATEWAY_API) == set(PERMISSIONS) - istio | set(GATEWAY_API_PERMISSIONS)


def test_no_role_lets_anybody_read_secrets() -> None:
    resources = {resource for one in (*ALL, *GATEWAY_API) for resource in _rules(one, "resources")}

    assert resources.isdisjoint({"secrets", "*"})
    assert {verb for one in (*ALL, *GATEWAY_API) for verb in _rules(one, "verbs")}.isdisjoint({"*", "escalate", "bind"})


def test_what_has_a_name_beforehand_is_granted_by_name() -> None:
    always_the_same = {"virtualservices", "destinationrules", "gateways", "httproutes", "services", "leases"}
    shipped = {one["metadata"]["name"] for one in (*ALL, *GATEWAY_API)} | {f"{PLAN.service}-rollout"}
    rules = [rule for one in (*ALL, *GATEWAY_API) if one["kind"] == "Role" for rule in one["rules"]]

    for rule in (rule for rule in rules if always_the_same & set(rule["resources"])):
        by_name = {"get", "patch", "delete"} & set(rule["verbs"])
        assert bool(rule.get("resourceNames")) is bool(by_name), rule
        assert set(rule.get("resourceNames", ())) <= shipped, rule
        assert not by_name or by_name == set(rule["verbs"]), rule  # a name grants neither list nor create


def _rules(document: Document, part: str) -> set[str]:
    return {value for rule in document.get("rules", []) if document["kind"] == "Role" for value in rule[part]}


def test_each_role_is_bound_to_its_own_account_alone() -> None:
    bindings = [one for one in ALL if one["kind"] == "RoleBinding"]

    assert [one["roleRef"]["name"] for one in bindings] == ["canary-pipeline", "canary-webhook"]
    for binding in bindings:
        assert [one["name"] for one in binding["subjects"]] == [binding["roleRef"]["name"]]
        assert _of(binding)[0] == "canary-app"
    assert not [one for one in ALL if one["kind"].startswith("ClusterRole")]


@pytest.mark.parametrize("folder", BUILDS, ids=lambda folder: folder.name)
def test_images_are_plain_names_with_a_version(folder: Path) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    own = {f"{PLAN.service}:{one.version}" for one in (PLAN.stable, PLAN.canary)} | {f"canary-pipeline:{version}"}

    assert set(values_of(built(folder), "image")) <= own | {"postgres:17"}


def test_prometheus_scrapes_what_the_judge_reads_as_often_as_the_plan_says() -> None:
    [job] = yaml.safe_load(SCRAPING.read_text())["scrape_configs"]
    [kept] = job["metric_relabel_configs"]

    assert parse_duration(job["scrape_interval"]) == PLAN.scrape
    for suffix in ("requests_total", *(f"request_duration_milliseconds_{part}" for part in ("bucket", "sum", "count"))):
        assert re.fullmatch(kept["regex"], f"istio_{suffix}")
    assert {rule["target_label"] for rule in job["relabel_configs"] if "target_label" in rule} == {"namespace", "pod"}


def test_every_namespace_is_shipped_before_what_stands_in_it() -> None:
    for folder in BUILDS:
        seen = {"canary-app"} if folder == ISTIO else set()
        for document in built(folder):
            if document["kind"] == "Namespace":
                seen.add(document["metadata"]["name"])
            else:
                assert document["metadata"]["namespace"] in seen, document["metadata"]["name"]


def test_the_service_is_in_the_mesh_and_the_pipeline_is_not() -> None:
    injected = {one["metadata"]["name"]: one["metadata"]["labels"]["istio-injection"] for one in _namespaces()}

    assert injected == {"canary-app": "enabled", "canary-pipeline": "disabled"}


@pytest.mark.parametrize("workload", WORKLOADS, **ids)
def test_every_pod_has_the_labels_that_kiali_draws_by(workload: Document) -> None:
    [*_, own] = containers(workload)
    built_here = own["image"].startswith("canary-")

    assert {"app", "version"} <= set(pod_labels(workload))
    assert not built_here or "track" in pod_labels(workload) or own["image"].endswith(pod_labels(workload)["version"])


def test_on_k3s_no_image_is_fetched() -> None:
    assert set(values_of(built(OVERLAYS / "k3s"), "imagePullPolicy")) == {"Never"}


@pytest.mark.parametrize("found", [ALL, GATEWAY_API], ids=["istio", "gateway-api"])
def test_whoever_sends_load_reaches_the_gateway_that_the_forms_name(found: list[Document]) -> None:
    [deploy], [master] = (
        containers(named(found, kind, name))
        for kind, name in (("Job", "prefect-deploy"), ("Deployment", "locust-master"))
    )
    gateway = str(variables(deploy)["CANARY_GATEWAY"])
    namespace = (urlsplit(gateway).hostname or "").split(".")[1]

    assert _option(master, "--host") == gateway
    for sender in ("prefect-worker", "locust-worker"):
        assert {80, 8080} <= _ports_reached(named(found, "NetworkPolicy", sender), namespace), sender


def _ports_reached(policy: Document, namespace: str) -> set[int]:
    rules = [
        rule for rule in policy["spec"]["egress"] if any(namespace in names for names in values_of(rule, "values"))
    ]
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_what_a_policy_lets_a_pod_say_to_another_is_heard() -> None:
    policies = [one for one in ALL if one["kind"] == "NetworkPolicy"]
    said, heard = (
        {(labels, port) for one in policies for labels, port in _talks(one, way)} for way in ("egress", "ingress")
    )

    assert said == heard


def _talks(policy: Document, way: str) -> Iterator[tuple[tuple[str, str], int]]:
    """Yield who talks to whom by which port, where both are pods of the pipeline."""
    own = policy["spec"]["podSelector"].get("matchLabels", {}).get("app", "")
    for rule in policy["spec"].get(way, []):
        for peer in rule.get("to" if way == "egress" else "from", []):
            if "podSelector" in peer and "namespaceSelector" not in peer:
                other = peer["podSelector"]["matchLabels"]["app"]
                for port in rule["ports"]:
                    yield (own, other) if way == "egress" else (other, own), port["port"]


def test_whatever_a_flow_writes_has_a_folder_that_can_be_written() -> None:
    for box in containers(named(ALL, "Deployment", "prefect-worker")):
        folders = [mount["mountPath"] for mount in box["volumeMounts"] if not mount.get("readOnly")]
        state = Path(str(variables(box)["CANARY_STATE"]))
        assert any(state.is_relative_to(folder) for folder in folders), box["name"]


def test_whoever_looks_for_the_split_of_the_gateway_api_looks_for_an_http_route() -> None:
    programs = [box for one in workloads(GATEWAY_API) for box in containers(one) if _is_ours(box)]
    lookers = [box for box in programs if box["name"] != "server"]

    assert [box["name"] for box in lookers] == ["rollouts", "orders", "others", "deploy", "guard", "webhook"]
    assert {variables(box).get("CANARY_KIND") for box in lookers} == {HTTP_ROUTE["kind"]}


def _is_ours(container: dict[str, Any]) -> bool:
    program, *arguments = container.get("command", [""])
    return program in ("canary", "prefect") or any(word.startswith("flows.") for word in arguments)


def test_the_minimal_overlay_runs_nothing_but_the_service() -> None:
    assert {one["metadata"]["name"] for one in workloads(built(OVERLAYS / "minimal"))} == {
        STABLE["metadata"]["name"],
        CANARY["metadata"]["name"],
    }


def test_the_job_applies_every_deployment_that_the_workers_pools_carry_out() -> None:
    shipped = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    [job] = containers(named(ALL, "Job", "prefect-deploy"))

    wanted = [one["name"] for one in shipped if one["work_pool"]["name"] in POOLS]
    assert [name for flag, name in pairwise(job["command"]) if flag == "-n"] == wanted == list(DEPLOYMENTS)


def test_every_queue_has_a_worker_of_its_own_whose_runs_fit_its_memory() -> None:
    shipped = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    rollouts, orders, others = containers(named(ALL, "Deployment", "prefect-worker"))

    where = {
        (one["work_pool"]["name"], one["work_pool"].get("work_queue_name", "default"))
        for one in shipped
        if one["name"] in DEPLOYMENTS
    }
    assert where == {("canary", "rollouts"), ("canary-orders", "default"), ("canary", "default")}
    assert orders["command"][:3] == ["python", "-m", operations_worker.__name__]
    assert operations_worker.POOL == "canary-orders"
    for worker, queue in ((rollouts, "rollouts"), (others, "default")):
        assert (_option(worker, "--pool"), _option(worker, "--work-queue")) == ("canary", queue)
        amount = worker["resources"]["limits"]["memory"].replace("Gi", "*1024").split("*")
        assert 300 + 150 * int(_option(worker, "--limit")) <= int(amount[0]) * int(amount[1])


def _option(container: dict[str, Any], name: str) -> str:
    return str(container["command"][container["command"].index(name) + 1])


def test_notices_may_leave_by_every_way_that_the_docs_name() -> None:
    needed = {443, 465, 587}  # HTTPS; mail in TLS from its start, and after STARTTLS

    for name in ("prefect-worker", "canary-guard"):
        rules = named(ALL, "NetworkPolicy", name)["spec"]["egress"]
        assert needed <= {port["port"] for rule in rules if "to" not in rule for port in rule["ports"]}


def _reached(folder: Path) -> list[Path]:
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    found = [folder / "kustomization.yaml"]
    for path in ((folder / name).resolve() for name in names):
        found += _reached(path) if path.is_dir() else [path]
    return found


def _of(document: Document) -> tuple[str, str]:
    return document["metadata"]["namespace"], document["metadata"]["name"]


def _pod(workload: Document) -> dict[str, Any]:
    spec: dict[str, Any] = workload["spec"]["template"]["spec"]
    return spec


def _namespaces() -> list[Document]:
    return [one for one in ALL if one["kind"] == "Namespace"]


def _ports(workload: Document) -> set[str]:
    return {port["name"] for container in containers(workload) for port in container.get("ports", [])}


def _selected(labels: dict[str, str], beside: Document) -> list[Document]:
    """Return the workloads in a document's namespace whose pods have these labels."""
    neighbours = [one for one in WORKLOADS if _of(one)[0] == _of(beside)[0]]
    return [one for one in neighbours if labels.items() <= pod_labels(one).items()]


def _peers(policy: Document) -> list[dict[str, str]]:
    rules = policy["spec"].get("ingress", []) + policy["spec"].get("egress", [])
    peers = [peer for rule in rules for peer in rule.get("from", []) + rule.get("to", [])]
    return [peer["podSelector"]["matchLabels"] for peer in peers if "podSelector" in peer]


def _granted(found: list[Document]) -> set[tuple[str, str, str]]:
    rules = named(found, "Role", "canary-pipeline")["rules"]
    return {each for rule in rules for each in product(rule["apiGroups"], rule["resources"], rule["verbs"])}
