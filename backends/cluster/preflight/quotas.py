"""Whether the canary's pods fit into a namespace's quotas. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Final

from kubernetes.utils import quantity

from backends.document_fields import Document, entries, mapping

Amounts = dict[str, Decimal]

_COMPUTE: Final = ("cpu", "memory")
_UNPREFIXED: Final = ("cpu", "memory", "ephemeral-storage")
"""What a quota may name without saying that it means the requests."""


def shortages(
    quotas: Sequence[Document], pod_spec: Document, pods: int, *, new_deployment: bool = False
) -> tuple[str, ...]:
    """Return one sentence a resource that the quotas leave no room for.

    Parameters
    ----------
    quotas
        ResourceQuotas of the namespace; one whose scopes are not such pods' does not count them.
    pod_spec
        What one pod asks for.
    pods
        How many more of them there shall be.
    new_deployment
        Whether a Deployment has to be made for them.
    """
    objects = {"pods": Decimal(pods), "count/pods": Decimal(pods)}
    if new_deployment:
        objects |= {"count/deployments.apps": Decimal(1), "count/replicasets.apps": Decimal(1)}
    wanted = objects | {resource: pods * amount for resource, amount in _requested_by(pod_spec).items()}
    return tuple(line for quota in quotas if applies_to(quota, pod_spec) for line in _short(quota, wanted))


def applies_to(quota: Document, pod_spec: Document) -> bool:
    """Return whether a pod is among those that a quota counts: all of its scopes have to be the pod's."""
    scopes = [{"scopeName": scope, "operator": "Exists"} for scope in mapping(quota, "spec").get("scopes") or []]
    return all(
        _is_in(scope, pod_spec) for scope in [*scopes, *entries(quota, "spec", "scopeSelector", "matchExpressions")]
    )


def _is_in(scope: Document, pod_spec: Document) -> bool:
    match scope.get("scopeName"):
        case "Terminating":
            return pod_spec.get("activeDeadlineSeconds") is not None
        case "NotTerminating":
            return pod_spec.get("activeDeadlineSeconds") is None
        case "BestEffort":
            return _is_best_effort(pod_spec)
        case "NotBestEffort":
            return not _is_best_effort(pod_spec)
        case "PriorityClass":
            return _is_of_class(scope, pod_spec.get("priorityClassName") or "")
        case "CrossNamespacePodAffinity":
            return _reaches_other_namespaces(mapping(pod_spec, "affinity"))
        case _:  # a scope of other objects, such as VolumeAttributesClass
            return False


def _is_of_class(scope: Document, priority_class: str) -> bool:
    named = scope.get("values") or []
    match scope.get("operator"):
        case "In":
            return priority_class in named
        case "NotIn":
            return priority_class not in named
        case "DoesNotExist":
            return not priority_class
        case _:
            return bool(priority_class)


def _is_best_effort(pod_spec: Document) -> bool:
    containers = [*entries(pod_spec, "containers"), *entries(pod_spec, "initContainers"), pod_spec]
    amounts = (mapping(container, "resources", kind) for container in containers for kind in ("requests", "limits"))
    return not any(_amount(amount.get(resource, 0)) for amount in amounts for resource in _COMPUTE)


def _reaches_other_namespaces(affinity: Document) -> bool:
    for kind in ("podAffinity", "podAntiAffinity"):
        rules = mapping(affinity, kind)
        weighted = entries(rules, "preferredDuringSchedulingIgnoredDuringExecution")
        required = entries(rules, "requiredDuringSchedulingIgnoredDuringExecution")
        for term in (*required, *(mapping(term, "podAffinityTerm") for term in weighted)):
            if term.get("namespaces") or term.get("namespaceSelector") is not None:
                return True
    return False


def _short(quota: Document, wanted: Mapping[str, Decimal]) -> Iterator[str]:
    used = mapping(quota, "status", "used")
    for resource, hard in mapping(quota, "status", "hard").items():
        need = wanted.get(f"requests.{resource}" if resource in _UNPREFIXED else resource)
        left = _amount(hard) - _amount(used.get(resource, 0))
        if need and need > left:
            room = f"{need:f} more are needed, {max(left, Decimal(0)):f} are left"
            yield f"{quota['metadata']['name']}: {resource}: {room}"


def _requested_by(pod_spec: Document) -> Amounts:
    """Return what one pod counts for, such as `requests.cpu`: its containers together, or its largest start."""
    amounts: Amounts = {}
    for kind in ("requests", "limits"):
        total = _total(pod_spec, kind)
        amounts |= {f"{kind}.{resource}": amount for resource, amount in total.items()}
    return amounts


def _total(pod_spec: Document, kind: str) -> Amounts:
    running, starting = Amounts(), Amounts()
    for container in entries(pod_spec, "initContainers"):
        requested = _amounts(container, kind)
        if container.get("restartPolicy") == "Always":  # a native sidecar goes on beside the others
            running = _sum(running, requested)
            starting = _most(starting, running)
        else:
            starting = _most(starting, _sum(running, requested))
    for container in entries(pod_spec, "containers"):
        running = _sum(running, _amounts(container, kind))
    pod_level = {resource: _amount(amount) for resource, amount in mapping(pod_spec, "resources", kind).items()}
    overhead = {resource: _amount(amount) for resource, amount in mapping(pod_spec, "overhead").items()}
    return _sum(_most(running, starting) | pod_level, overhead)


def _amounts(container: Document, kind: str) -> Amounts:
    amounts = mapping(container, "resources", kind)
    if kind == "requests":  # a limit alone is a request too
        amounts = mapping(container, "resources", "limits") | amounts
    return {resource: _amount(amount) for resource, amount in amounts.items()}


def _sum(amounts: Amounts, others: Amounts) -> Amounts:
    keys = amounts.keys() | others.keys()
    return {key: amounts.get(key, Decimal(0)) + others.get(key, Decimal(0)) for key in keys}


def _most(amounts: Amounts, others: Amounts) -> Amounts:
    keys = amounts.keys() | others.keys()
    return {key: max(amounts.get(key, Decimal(0)), others.get(key, Decimal(0))) for key in keys}


def _amount(text: str | int) -> Decimal:
    return Decimal(quantity.parse_quantity(text))  # type: ignore[no-untyped-call]
