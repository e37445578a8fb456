"""A quota counts what the API server lets it count: pods of its scopes, with all that they ask for."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from backends.cluster.preflight.quotas import applies_to, shortages

BURSTABLE = {"containers": [{"name": "app", "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}}]}
BEST_EFFORT: dict[str, Any] = {"containers": [{"name": "app"}]}
CASE = """
kind: ResourceQuota
metadata: {name: critical-only}
spec:
  hard: {pods: "0"}
  scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [system-cluster-critical]}]}
status: {hard: {pods: "0"}, used: {pods: "0"}}
---
kind: ResourceQuota
metadata: {name: best-effort}
spec: {hard: {pods: "1"}, scopes: [BestEffort]}
status: {hard: {pods: "1"}, used: {pods: "1"}}
"""


def _quota(hard: dict[str, Any], used: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "q"}, "spec": spec | {"hard": hard}, "status": {"hard": hard, "used": used}}


def _scoped(*scopes: str) -> dict[str, Any]:
    return _quota({"pods": "0"}, scopes=list(scopes))


def _selecting(operator: str, *values: str) -> dict[str, Any]:
    expression = {"scopeName": "PriorityClass", "operator": operator} | ({"values": list(values)} if values else {})
    return _quota({"pods": "0"}, scopeSelector={"matchExpressions": [expression]})


def test_quotas_of_other_classes_leave_room_for_our_pods() -> None:
    assert shortages(list(yaml.safe_load_all(CASE)), BURSTABLE, 3) == ()


def test_the_same_quotas_leave_none_for_pods_of_their_classes() -> None:
    critical, best_effort = yaml.safe_load_all(CASE)

    assert shortages([critical], BURSTABLE | {"priorityClassName": "system-cluster-critical"}, 3) != ()
    assert shortages([best_effort], BEST_EFFORT, 3) == ("best-effort: pods: 3 more are needed, 0 are left",)


@pytest.mark.parametrize(
    ("quota", "spec", "counted"),
    [
        (_scoped(), BURSTABLE, True),
        (_scoped("NotBestEffort"), BURSTABLE, True),
        (_scoped("NotBestEffort"), BEST_EFFORT, False),
        (_scoped("Terminating"), BURSTABLE, False),
        (_scoped("Terminating"), BURSTABLE | {"activeDeadlineSeconds": 0}, True),
        (_scoped("NotTerminating", "BestEffort"), BURSTABLE, False),
        (_scoped("NotTerminating", "NotBestEffort"), BURSTABLE, True),
        (_scoped("PriorityClass"), BURSTABLE, False),
        (_scoped("PriorityClass"), BURSTABLE | {"priorityClassName": "high"}, True),
        (_scoped("VolumeAttributesClass"), BURSTABLE, False),
        (_scoped("CrossNamespacePodAffinity"), BURSTABLE, False),
        (_selecting("NotIn", "high"), BURSTABLE, True),
        (_selecting("NotIn", "high"), BURSTABLE | {"priorityClassName": "high"}, False),
        (_selecting("In", "high", "low"), BURSTABLE | {"priorityClassName": "low"}, True),
        (_selecting("Exists"), BURSTABLE | {"priorityClassName": "low"}, True),
        (_selecting("DoesNotExist"), BURSTABLE, True),
        (_selecting("DoesNotExist"), BURSTABLE | {"priorityClassName": "low"}, False),
    ],
)
def test_a_pod_is_counted_where_all_scopes_are_its_own(
    quota: dict[str, Any], spec: dict[str, Any], counted: bool
) -> None:
    assert applies_to(quota, spec) is counted


def test_affinity_to_other_namespaces_is_a_scope() -> None:
    term = {"topologyKey": "zone", "namespaceSelector": {}}
    spec = {"affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}}

    assert applies_to(_scoped("CrossNamespacePodAffinity"), BURSTABLE | spec)


@pytest.mark.parametrize("resource", ["cpu", "requests.cpu"])
def test_a_request_is_counted_under_either_of_its_names(resource: str) -> None:
    assert shortages([_quota({resource: "2"}, {resource: "1900m"})], BURSTABLE, 3) == (
        f"q: {resource}: 0.300 more are needed, 0.100 are left",
    )


def test_a_limit_alone_is_a_request_too_and_native_sidecars_run_beside_the_others() -> None:
    """Kubernetes' sum: 1 (sidecar) + 2 (app) = 3 while it runs, 1 + 4 = 5 while `warm` prepares it."""
    spec = {
        "initContainers": [
            {"name": "mesh", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1"}}},
            {"name": "warm", "resources": {"requests": {"cpu": "4"}}},
        ],
        "containers": [{"name": "app", "resources": {"limits": {"cpu": "2"}}}],
    }

    assert shortages([_quota({"requests.cpu": "5", "limits.cpu": "2"})], spec, 1) == ()
    assert shortages([_quota({"requests.cpu": "4", "limits.cpu": "1"})], spec, 1) == (
        "q: requests.cpu: 5 more are needed, 4 are left",
        "q: limits.cpu: 2 more are needed, 1 are left",
    )


def test_counts_of_objects_are_quotas_too() -> None:
    full = _quota(
        {"count/pods": "4", "count/deployments.apps": "2"}, {"count/pods": "3", "count/deployments.apps": "2"}
    )

    assert shortages([full], BURSTABLE, 1) == ()
    assert shortages([full], BURSTABLE, 2, new_deployment=True) == (
        "q: count/pods: 2 more are needed, 1 are left",
        "q: count/deployments.apps: 1 more are needed, 0 are left",
    )
