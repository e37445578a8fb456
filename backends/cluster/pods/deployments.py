"""Pure functions on Deployments and pods: the canary's from the stable one, and what a pod says of itself."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Final

from backends.cluster.pods.containers import SIDECAR
from backends.document_members import Document, entries, mapping
from rollout.model import Pod, Track

APP: Final = "app"
VERSION: Final = "version"
TRACK: Final = "track"
MADE_BY_US: Final = {"app.kubernetes.io/managed-by": "canary-pipeline"}
_KEPT_OF_SPEC: Final = ("minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit", "strategy")
_TRACKING: Final = (
    "argocd.argoproj.io/",
    "helm.toolkit.fluxcd.io/",
    "kustomize.toolkit.fluxcd.io/",
    "meta.helm.sh/",
    "objectset.rio.cattle.io/",
)
"""By which annotations GitOps tools know what is theirs; on pods they are seldom, and never wanted."""
_STARTING: Final = ("ContainerCreating", "PodInitializing")
_CANNOT_START: Final = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError")
"""Why a container waits that no time will cure: Kubernetes itself gives up after 600 s."""
_OF_THE_MESH: Final = (SIDECAR, "istio-init", "istio-validation")
_LONGEST_WHY: Final = 150
TERMINATING: Final = "Terminating"
OOM_KILLED: Final = "OOMKilled"
HEARD_OF: Final = timedelta(seconds=2)
"""From a pod's readiness until each gateway has surely heard of it: a route to pods that it does not know yet is a 503.

Endpoints reach the proxies by way of the endpoints' controller and the mesh's control plane, which gathers changes for
a tenth of a second; a pod says in whole seconds when it became ready.
"""


def canary_deployment(stable: Document, *, name: str, version: str, container: str, image: str) -> Document:
    """Return the canary's Deployment: pods like stable's with another version and image, and none of them yet.

    Only what is known to belong to a Deployment's pods is taken over. Whatever else stands on stable's (owners,
    finalizers, a GitOps tool's tracking, Helm's release, what kubectl applied last) says whose *that* object is: on a
    copy it would have the tool prune it, sooner or later. So is a `paused`, which would make no pods.

    Parameters
    ----------
    stable
        The Deployment of the version that serves now.
    name, version
        The canary's.
    container, image
        Which of the pods' containers gets which image.
    """
    former = mapping(stable, "spec", "template", "metadata", "labels").get(VERSION, "")
    template = _canary_template(mapping(stable, "spec", "template"), former, version)
    for one in entries(template, "spec", "containers"):
        if one.get("name") == container:
            one["image"] = image
    labels = {APP: template["metadata"]["labels"][APP]} if APP in template["metadata"]["labels"] else {}
    spec = {key: deepcopy(value) for key, value in mapping(stable, "spec").items() if key in _KEPT_OF_SPEC}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels | _of_canary(version) | MADE_BY_US},
        "spec": spec | {"replicas": 0, "selector": _selector(stable, version), "template": template},
    }


def _of_canary(version: str) -> dict[str, str]:
    return {VERSION: version, TRACK: str(Track.CANARY)}


def _canary_template(template: Document, former: str, version: str) -> Document:
    labels = mapping(template, "metadata", "labels") | _of_canary(version)
    annotations = mapping(template, "metadata", "annotations")
    kept = {key: value for key, value in annotations.items() if not key.startswith(_TRACKING)}
    spec = deepcopy(mapping(template, "spec"))
    _select_version(spec, former, version)
    return {"metadata": {"labels": labels} | ({"annotations": kept} if kept else {}), "spec": spec}


def _selector(stable: Document, version: str) -> Document:
    """Return which pods are the canary's: by the labels that stable's are told by, and by the canary's own version."""
    own = _of_canary(version)
    labels = mapping(stable, "spec", "selector", "matchLabels")
    rules = entries(stable, "spec", "selector", "matchExpressions")
    told_by = {VERSION, *labels, *(str(rule.get("key")) for rule in rules)}
    others = [deepcopy(rule) for rule in rules if rule.get("key") not in own]
    selected = labels | {key: value for key, value in own.items() if key in told_by}
    return {"matchLabels": selected} | ({"matchExpressions": others} if others else {})


def _select_version(found: Any, former: str, version: str) -> None:
    """Let spread and affinity rules, wherever they stand, select the new version's pods."""
    for inner in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        if isinstance(inner, dict):
            if mapping(inner, "matchLabels").get(VERSION) == former:
                inner["matchLabels"][VERSION] = version
            if inner.get("key") == VERSION and isinstance(values := inner.get("values"), list):
                inner["values"] = [version if value == former else value for value in values]
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
    first = [one for one in entries(status, "initContainerStatuses") if one.get("name") not in _OF_THE_MESH]
    waiting, cannot_start = (TERMINATING, False) if leaving else _wait(status, containers, first)
    return Pod(
        out_of_memory=any(map(_was_killed, (*containers, *first))),
        name=document["metadata"]["name"],
        track=track,
        ready=_is_reached(status, now) and not leaving,
        restarts=sum(one.get("restartCount") or 0 for one in (*containers, *first)),
        waiting=waiting,
        cannot_start=cannot_start,
    )


def _was_killed(container: Document) -> bool:
    states = (mapping(container, kind, "terminated") for kind in ("state", "lastState"))
    return any(state.get("reason") == OOM_KILLED for state in states)


def _is_reached(status: Document, now: datetime | None) -> bool:
    ready: Document = next((one for one in entries(status, "conditions") if one.get("type") == "Ready"), {})
    since = ready.get("lastTransitionTime")
    is_heard_of = now is None or since is None or now - datetime.fromisoformat(since) >= HEARD_OF
    return ready.get("status") == "True" and is_heard_of


def _wait(status: Document, containers: list[Document], first: list[Document]) -> tuple[str, bool]:
    """Return the first reason that there is, of an init container with its name, and whether no time will cure it."""
    for one in containers:
        if why := _waiting(one):
            return why, _waiting_reason(one) in _CANNOT_START
    for one in first:
        if why := _waiting(one):
            return f"{why} in init container {one.get('name')}", _waiting_reason(one) in _CANNOT_START
    return _unscheduled(status), False


def _waiting_reason(container: Document) -> str:
    return str(mapping(container, "state", "waiting").get("reason") or "")


def _waiting(container: Document) -> str:
    reason = _waiting_reason(container)
    if reason in _STARTING:
        return ""
    ended = mapping(container, "lastState", "terminated").get("reason")
    return f"{reason} ({ended})" if reason and ended == OOM_KILLED else reason


def _unscheduled(status: Document) -> str:
    """Return why no node takes the pod, such as `Unschedulable`."""
    for condition in entries(status, "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            why = " ".join((condition.get("message") or "").split())[:_LONGEST_WHY]
            return (condition.get("reason") or "Unschedulable") + (f": {why}" if why else "")
    return ""
