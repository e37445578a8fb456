"""Pure functions on Deployments and pods: the canary's from the stable one, and what a pod says of itself."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Final

from backends.cluster.containers import SIDECAR
from backends.members import Document, entries, mapping
from rollout.model import Pod, Track

_OWNED_BY_THE_SERVER: Final = ("uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink")
_OWNED_BY_TOOLS: Final = ("kubectl.kubernetes.io/last-applied-configuration", "deployment.kubernetes.io/revision")
_STARTING: Final = ("ContainerCreating", "PodInitializing")
TERMINATING: Final = "Terminating"
OOM_KILLED: Final = "OOMKilled"
HEARD_OF: Final = timedelta(seconds=2)
"""From a pod's readiness until each gateway has surely heard of it: a route to pods that it does not know yet is a 503.

Endpoints reach the proxies by way of the endpoints' controller and the mesh's control plane, which gathers changes for
a tenth of a second; a pod says in whole seconds when it became ready.
"""


def canary_deployment(stable: Document, *, name: str, version: str, container: str, image: str) -> Document:
    """Return the canary's Deployment: the stable one with another name, version and image, and no pods yet."""
    canary: Document = deepcopy(
        {key: stable[key] for key in ("apiVersion", "kind", "metadata", "spec") if key in stable}
    )
    metadata, spec = canary["metadata"], canary["spec"]
    for key in _OWNED_BY_THE_SERVER:
        metadata.pop(key, None)
    for key in _OWNED_BY_TOOLS:
        (metadata.get("annotations") or {}).pop(key, None)
    metadata["name"] = name
    spec["replicas"] = 0
    template = spec["template"]
    former = (template["metadata"].get("labels") or {}).get("version", "")
    for labelled in (metadata, template["metadata"]):
        labelled["labels"] = (labelled.get("labels") or {}) | {"version": version, "track": str(Track.CANARY)}
    spec["selector"]["matchLabels"]["version"] = version
    _select_version(template["spec"], former, version)
    next(one for one in template["spec"]["containers"] if one.get("name") == container)["image"] = image
    return canary


def _select_version(found: Any, former: str, version: str) -> None:
    """Let spread and affinity rules, wherever they stand, select the new version's pods."""
    for inner in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        if isinstance(inner, dict) and inner.get("matchLabels", {}).get("version") == former:
            inner["matchLabels"]["version"] = version
        _select_version(inner, former, version)


def pod_spec(deployment: Document) -> Document:
    """Return what a Deployment's pods are made from."""
    return mapping(deployment, "spec", "template", "spec")


def has_sidecar(pod: Document) -> bool:
    """Return whether the mesh's proxy stands in this pod, as a container or as a native sidecar."""
    return bool(_sidecars(pod))


def sidecar_version(pod: Document) -> str:
    """Return the mesh proxy's version, as its image is tagged; empty where it is not."""
    found = _sidecars(pod)
    image = str(found[0].get("image", "")).rpartition("/")[2] if found else ""
    return str(image.partition("@")[0].partition(":")[2])


def _sidecars(pod: Document) -> list[Document]:
    kinds = ("containers", "initContainers")
    return [one for kind in kinds for one in entries(pod, "spec", kind) if one.get("name") == SIDECAR]


def as_pod(document: Document, track: Track, now: datetime | None = None) -> Pod:
    """Return a pod as the rollout sees it; one that is being deleted is never ready.

    With the time of day, neither is one that gateways may not have heard of.
    """
    leaving = bool(document["metadata"].get("deletionTimestamp"))
    status = mapping(document, "status")
    containers = [one for one in entries(status, "containerStatuses") if one.get("name") != SIDECAR]
    return Pod(
        out_of_memory=any(map(_was_killed, containers)),
        name=document["metadata"]["name"],
        track=track,
        ready=_is_reached(status, now) and not leaving,
        restarts=sum(one.get("restartCount") or 0 for one in containers),
        waiting=TERMINATING if leaving else next(filter(None, map(_waiting, containers)), _unscheduled(status)),
    )


def _was_killed(container: Document) -> bool:
    states = (mapping(container, kind, "terminated") for kind in ("state", "lastState"))
    return any(state.get("reason") == OOM_KILLED for state in states)


def _is_reached(status: Document, now: datetime | None) -> bool:
    ready: Document = next((one for one in entries(status, "conditions") if one.get("type") == "Ready"), {})
    since = ready.get("lastTransitionTime")
    is_heard_of = now is None or since is None or now - datetime.fromisoformat(since) >= HEARD_OF
    return ready.get("status") == "True" and is_heard_of


def _waiting(container: Document) -> str:
    reason = mapping(container, "state", "waiting").get("reason") or ""
    if reason in _STARTING:
        return ""
    ended = mapping(container, "lastState", "terminated").get("reason")
    return f"{reason} ({ended})" if reason and ended == OOM_KILLED else str(reason)


def _unscheduled(status: Document) -> str:
    """Return why no node takes the pod, such as `Unschedulable`."""
    for condition in entries(status, "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return condition.get("reason") or "Unschedulable"
    return ""
