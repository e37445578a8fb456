"""Pure functions on Deployments and pods: the canary's from the stable one, and what a pod says of itself."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime, timedelta
from typing import Any, Final

from backends.cluster.pods.containers import SIDECAR
from backends.document_fields import MANAGED_BY, Document, entries, mapping
from rollout.model import Pod, Track

APP: Final = "app"
VERSION: Final = "version"
TRACK: Final = "track"
_COPIED_SPEC_FIELDS: Final = ("minReadySeconds", "progressDeadlineSeconds", "revisionHistoryLimit", "strategy")
_GITOPS_ANNOTATIONS: Final = (
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
_MESH_CONTAINERS: Final = (SIDECAR, "istio-init", "istio-validation")
_LONGEST_REASON: Final = 150
TERMINATING: Final = "Terminating"
OOM_KILLED: Final = "OOMKilled"
ENDPOINT_PROPAGATION: Final = timedelta(seconds=2)
"""From a pod's readiness until each gateway surely knows it: a route to pods that it does not know yet is a 503.

Endpoints reach the proxies by way of the endpoints' controller and the mesh's control plane, which gathers changes for
a tenth of a second; a pod says in whole seconds when it became ready.
"""
_PERIOD_SECONDS: Final = 10
_FAILURE_THRESHOLD: Final = 3
"""Kubernetes' defaults of a probe's `periodSeconds` and `failureThreshold`."""
_NO_DEADLINE: Final = 2**31 - 1
"""Kubernetes' value for a Deployment that never gives up."""


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
    for entry in entries(template, "spec", "containers"):
        if entry.get("name") == container:
            entry["image"] = image
    labels = {APP: template["metadata"]["labels"][APP]} if APP in template["metadata"]["labels"] else {}
    spec = {key: deepcopy(value) for key, value in mapping(stable, "spec").items() if key in _COPIED_SPEC_FIELDS}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels | _canary_labels(version) | MANAGED_BY},
        "spec": spec | {"replicas": 0, "selector": _selector(stable, version), "template": template},
    }


def _canary_labels(version: str) -> dict[str, str]:
    return {VERSION: version, TRACK: str(Track.CANARY)}


def _canary_template(template: Document, former: str, version: str) -> Document:
    labels = mapping(template, "metadata", "labels") | _canary_labels(version)
    annotations = mapping(template, "metadata", "annotations")
    copied = {key: value for key, value in annotations.items() if not key.startswith(_GITOPS_ANNOTATIONS)}
    spec = deepcopy(mapping(template, "spec"))
    _select_version(spec, former, version)
    return {"metadata": {"labels": labels} | ({"annotations": copied} if copied else {}), "spec": spec}


def _selector(stable: Document, version: str) -> Document:
    """Return the selector of the canary's pods: the labels that stable's selector names, with the canary's values."""
    canary_labels = _canary_labels(version)
    labels = mapping(stable, "spec", "selector", "matchLabels")
    rules = entries(stable, "spec", "selector", "matchExpressions")
    selected_keys = {VERSION, *labels, *(str(rule.get("key")) for rule in rules)}
    others = [deepcopy(rule) for rule in rules if rule.get("key") not in canary_labels]
    selected = labels | {key: value for key, value in canary_labels.items() if key in selected_keys}
    return {"matchLabels": selected} | ({"matchExpressions": others} if others else {})


def _select_version(node: Any, former: str, version: str) -> None:
    """Let spread and affinity rules, wherever they stand, select the new version's pods."""
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
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
    sidecars = _sidecars(pod)
    image = str(sidecars[0].get("image", "")).rpartition("/")[2] if sidecars else ""
    return str(image.partition("@")[0].partition(":")[2])


def _sidecars(pod: Document) -> list[Document]:
    kinds = ("containers", "initContainers")
    return [container for kind in kinds for container in entries(pod, "spec", kind) if container.get("name") == SIDECAR]


def as_pod(document: Document, track: Track, now: datetime | None = None) -> Pod:
    """Return a pod as the rollout sees it; one that is being deleted is never ready.

    With the time of day, neither is one that gateways may not know yet.
    """
    terminating = bool(document["metadata"].get("deletionTimestamp"))
    status = mapping(document, "status")
    containers = [each for each in entries(status, "containerStatuses") if each.get("name") != SIDECAR]
    init_statuses = entries(status, "initContainerStatuses")
    init_containers = [each for each in init_statuses if each.get("name") not in _MESH_CONTAINERS]
    waiting, cannot_start = (TERMINATING, False) if terminating else _waiting(status, containers, init_containers)
    return Pod(
        out_of_memory=any(map(_was_oom_killed, (*containers, *init_containers))),
        name=document["metadata"]["name"],
        track=track,
        ready=_is_ready(status, now) and not terminating,
        restarts=sum(container.get("restartCount") or 0 for container in (*containers, *init_containers)),
        waiting=waiting,
        cannot_start=cannot_start,
    )


def _was_oom_killed(container: Document) -> bool:
    states = (mapping(container, kind, "terminated") for kind in ("state", "lastState"))
    return any(state.get("reason") == OOM_KILLED for state in states)


def _is_ready(status: Document, now: datetime | None) -> bool:
    ready: Document = next(
        (condition for condition in entries(status, "conditions") if condition.get("type") == "Ready"), {}
    )
    since = ready.get("lastTransitionTime")
    is_propagated = now is None or since is None or now - datetime.fromisoformat(since) >= ENDPOINT_PROPAGATION
    return ready.get("status") == "True" and is_propagated


def _waiting(status: Document, containers: list[Document], init_containers: list[Document]) -> tuple[str, bool]:
    """Return the first reason that there is, of an init container with its name, and whether no time will cure it."""
    for container in containers:
        if reason := _container_waiting(container):
            return reason, _waiting_reason(container) in _CANNOT_START
    for container in init_containers:
        if reason := _container_waiting(container):
            return f"{reason} in init container {container.get('name')}", _waiting_reason(container) in _CANNOT_START
    return _unscheduled(status), False


def _waiting_reason(container: Document) -> str:
    return str(mapping(container, "state", "waiting").get("reason") or "")


def _container_waiting(container: Document) -> str:
    reason = _waiting_reason(container)
    if reason in _STARTING:
        return ""
    ended = mapping(container, "lastState", "terminated").get("reason")
    return f"{reason} ({ended})" if reason and ended == OOM_KILLED else reason


def _unscheduled(status: Document) -> str:
    """Return why no node takes the pod, such as `Unschedulable`."""
    for condition in entries(status, "conditions"):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = " ".join((condition.get("message") or "").split())[:_LONGEST_REASON]
            return (condition.get("reason") or "Unschedulable") + (f": {message}" if message else "")
    return ""


def ready_within(deployment: Document) -> timedelta | None:
    """Return how long a new pod may take to become ready; None where the Deployment does not say.

    That is its `progressDeadlineSeconds`, or what the slowest startup probe allows, whichever is longer: until then
    Kubernetes too counts on the pod.
    """
    spec = pod_spec(deployment)
    containers = [*entries(spec, "initContainers"), *entries(spec, "containers")]
    deadline = mapping(deployment, "spec").get("progressDeadlineSeconds") or 0
    allowed = [_probe_seconds(container["startupProbe"]) for container in containers if container.get("startupProbe")]
    seconds = max([0 if deadline >= _NO_DEADLINE else deadline, *allowed])
    return timedelta(seconds=seconds) if seconds else None


def _probe_seconds(probe: Document) -> int:
    period, failures = (
        probe.get("periodSeconds") or _PERIOD_SECONDS,
        probe.get("failureThreshold") or _FAILURE_THRESHOLD,
    )
    return int((probe.get("initialDelaySeconds") or 0) + period * failures)
