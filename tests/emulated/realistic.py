"""A service as it stands on a real cluster, with all the members that servers and tools add, and paths to each."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from copy import deepcopy
from typing import Any

from tests.emulated.kubelet import Kubelet
from tests.emulated.shipped import NAMESPACE, service_at_rest
from tests.emulated.store import Store

Document = dict[str, Any]
_AT = "2026-01-05T09:00:00Z"
_KEPT = ("apiVersion", "kind", "metadata", "metadata.name", "metadata.namespace", "metadata.resourceVersion")
"""What every server sends of every object."""


def realistic_objects() -> list[Document]:
    """Return the service's objects at rest, and those that others keep beside it."""
    objects = service_at_rest()
    for document in objects:
        if document["kind"] == "Deployment":
            _enrich(document)
    return [*objects, _autoscaler(), _quota(), _lease(), _signals(), _inputs("ConfigMap"), _inputs("Secret")]


def with_all_on_canary(objects: list[Document]) -> list[Document]:
    """Return the same objects with all traffic on the canary, as at the end of a promotion."""
    changed = deepcopy(objects)
    for document in changed:
        if document["kind"] == "VirtualService":
            for entry in document["spec"]["http"][2]["route"]:
                entry["weight"] = 100 if entry["destination"]["subset"] == "canary" else 0
    return changed


def _enrich(deployment: Document) -> None:
    metadata, spec = deployment["metadata"], deployment["spec"]
    metadata["annotations"] = {"deployment.kubernetes.io/revision": "3", "example.com/team": "shop"}
    metadata["ownerReferences"] = [{"apiVersion": "example.com/v1", "kind": "App", "name": "shop", "controller": True}]
    spec["selector"]["matchExpressions"] = [{"key": "app", "operator": "In", "values": ["canary-app"]}]
    spec["strategy"] = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    spec["progressDeadlineSeconds"] = 600
    pods = spec["template"]["spec"]
    pods["initContainers"] = [{"name": "warm", "image": "warm:1", "env": [{"name": "A", "value": "b"}]}]
    pods["volumes"] = [
        {"name": "c", "configMap": {"name": "shop-config"}},
        {"name": "p", "projected": {"sources": [{"secret": {"name": "shop-secret"}}]}},
    ]
    pods["topologySpreadConstraints"] = [
        {"maxSkew": 1, "topologyKey": "zone", "labelSelector": {"matchLabels": dict(spec["selector"]["matchLabels"])}}
    ]
    main = pods["containers"][0]
    main["startupProbe"] = {"httpGet": {"path": "/ready", "port": 8080}, "periodSeconds": 5, "failureThreshold": 30}
    main["envFrom"] = [{"configMapRef": {"name": "shop-config"}}]
    main["env"] = [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "shop-secret", "key": "token"}}}]


def _autoscaler() -> Document:
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "canary-app-v1"}
    spec = {"scaleTargetRef": target, "minReplicas": 3, "maxReplicas": 20, "metrics": [{"type": "Resource"}]}
    status = {"currentReplicas": 3, "desiredReplicas": 3, "conditions": [{"type": "AbleToScale", "status": "True"}]}
    return _object("HorizontalPodAutoscaler", "canary-app-v1", spec=spec, status=status)


def _quota() -> Document:
    hard = {"pods": "50", "requests.cpu": "20"}
    expression = {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]}
    spec = {"hard": hard, "scopes": ["NotTerminating"], "scopeSelector": {"matchExpressions": [expression]}}
    return _object("ResourceQuota", "team", spec=spec, status={"hard": hard, "used": {"pods": "3"}})


def _lease() -> Document:
    spec = {"holderIdentity": "bob", "acquireTime": _AT, "renewTime": _AT, "leaseDurationSeconds": 30}
    return _object("Lease", "canary-app-rollout", spec=spec | {"leaseTransitions": 4})


def _signals() -> Document:
    return _object("ConfigMap", "signals-r1", data={"20260105-1": "not a signal"})


def _inputs(kind: str) -> Document:
    return _object(kind, f"shop-{'config' if kind == 'ConfigMap' else 'secret'}", data={"token": "eA=="})


def _object(kind: str, name: str, **members: Any) -> Document:
    labels = {"app.kubernetes.io/managed-by": "canary-pipeline", "canary-pipeline/service": "canary-app"}
    return {"kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, **members}


def pods_of(*objects: Document) -> list[Document]:
    """Return the pods that come of some Deployments, with all that a kubelet writes."""
    store = Store()
    kubelet = Kubelet(store)
    for document in objects:
        if document["kind"] == "Deployment":
            store.create("deployments", NAMESPACE, deepcopy(document), "kubectl")
    kubelet.tick()
    return store.list("pods", NAMESPACE)[0]


def paths_of(document: Any, path: str = "") -> Iterator[str]:
    """Return the place of every member of a document that may be left out; `*` for each entry of a list."""
    if isinstance(document, dict):
        for key, value in document.items():
            inner = f"{path}\n{key}" if path else key
            if inner.replace("\n", ".") not in _KEPT:
                yield inner
            yield from paths_of(value, inner)
    elif isinstance(document, list):
        for entry in document:
            yield from paths_of(entry, f"{path}\n*")


def left_without(document: Document, absent: Collection[str], *, is_null: bool) -> Document:
    """Return an answer without the members at these places, or with null there."""
    answer = deepcopy(document)
    objects = (answer.get("items") or []) if "items" in answer else [answer]
    for path in absent:
        for one in objects:
            _drop(one, path.split("\n"), is_null=is_null)
    return answer


def _drop(found: Any, path: list[str], *, is_null: bool) -> None:
    key, *rest = path
    if key == "*":
        for entry in found if isinstance(found, list) else ():
            _drop(entry, rest, is_null=is_null)
    elif isinstance(found, dict) and key in found:
        if rest:
            _drop(found[key], rest, is_null=is_null)
        elif is_null:
            found[key] = None
        else:
            del found[key]
