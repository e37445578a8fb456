"""Answers with as little in them as a real API server's may have: what is empty is left out, or null."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from enum import StrEnum
from typing import Any

Document = dict[str, Any]


class Lean(StrEnum):
    """What becomes of members that the API need not send."""

    AS_WRITTEN = "as written"
    LEFT_OUT = "left out"
    NULL = "null"


_METADATA = ("annotations", "finalizers", "labels", "managedFields", "ownerReferences")
_CONTAINER = ("args", "command", "env", "envFrom", "ports", "resources", "volumeMounts")
_POD_SPEC = ("affinity", "initContainers", "nodeSelector", "tolerations", "topologySpreadConstraints", "volumes")
_MEMBERS: dict[str, tuple[str, ...]] = {
    "": ("metadata", "spec", "status"),
    "metadata": _METADATA,
    "spec.template.metadata": (*_METADATA, "creationTimestamp"),
    "spec.template.spec": _POD_SPEC,
    "spec.template.spec.containers.*": _CONTAINER,
    "spec.containers.*": _CONTAINER,
    "spec.selector": ("matchLabels", "matchExpressions"),
    "status": ("conditions", "containerStatuses", "initContainerStatuses", "readyReplicas", "hard", "used"),
    "status.containerStatuses.*": ("lastState", "state"),
}
_OF_A_KIND: dict[str, dict[str, tuple[str, ...]]] = {
    "VirtualService": {
        "spec": ("exportTo", "gateways", "hosts", "http", "tcp", "tls"),
        "spec.http.*": ("corsPolicy", "headers", "match", "name", "retries", "route"),
        "spec.http.*.route.*": ("headers", "weight"),
        "spec.http.*.route.*.destination": ("port", "subset"),
    },
    "DestinationRule": {"spec": ("exportTo", "subsets", "trafficPolicy"), "spec.subsets.*": ("labels",)},
    "HTTPRoute": {
        "spec": ("hostnames", "parentRefs", "rules"),
        "spec.rules.*": ("backendRefs", "filters", "matches", "name"),
    },
    "Deployment": {"spec": ("strategy",)},
    "Pod": {"spec": _POD_SPEC},
    "Lease": {"spec": ("acquireTime", "holderIdentity", "leaseTransitions", "renewTime")},
    "ConfigMap": {"": ("binaryData", "data")},
    "Secret": {"": ("data",)},
    "ResourceQuota": {"spec": ("hard", "scopeSelector", "scopes")},
    "HorizontalPodAutoscaler": {"spec": ("behavior", "metrics", "minReplicas")},
    "Service": {"spec": ("selector", "ports")},
}


def lean(answer: Any, how: Lean) -> Any:
    """Return an answer with its empty members left out or null; any page or refusal as it is."""
    if how is Lean.AS_WRITTEN or not isinstance(answer, dict) or answer.get("kind") == "Status":
        return answer
    answer = deepcopy(answer)
    kind = str(answer.get("kind", ""))
    for document in answer.get("items", [answer]):
        _reduce(document, kind.removesuffix("List"), how)
    return answer


def _reduce(document: Document, kind: str, how: Lean) -> None:
    document.get("metadata", {}).pop("managedFields", None)  # as of an object that is older than these books
    if kind == "Pod":
        _forget_start(document)
    of_kind = _OF_A_KIND.get(kind, {})
    for place in {*_MEMBERS, *of_kind}:
        for parent in _at(document, place.split(".") if place else []):
            for member in (*_MEMBERS.get(place, ()), *of_kind.get(place, ())):
                _leave_out(parent, member, how)


def _forget_start(pod: Document) -> None:
    """Let a pod that is not ready yet have no statuses of containers, as before a kubelet has taken it."""
    statuses = pod.get("status", {}).get("containerStatuses") or []
    if any((one.get("state") or {}).get("waiting", {}).get("reason") == "ContainerCreating" for one in statuses):
        pod["status"] = {"phase": "Pending"}


def _leave_out(parent: Document, member: str, how: Lean) -> None:
    if parent.get(member):
        return
    if how is Lean.LEFT_OUT:
        parent.pop(member, None)
    elif member not in ("metadata", "spec"):
        parent[member] = None


def _at(found: Any, place: list[str]) -> Iterator[Document]:
    """Return the mappings that lie at a place of a document; `*` stands for each entry of a list."""
    if not place:
        if isinstance(found, dict):
            yield found
    elif place[0] == "*" and isinstance(found, list):
        for entry in found:
            yield from _at(entry, place[1:])
    elif isinstance(found, dict) and place[0] in found:
        yield from _at(found[place[0]], place[1:])
