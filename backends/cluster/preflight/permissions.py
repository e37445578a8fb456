"""Every verb that this backend uses: preflight asks for them one by one, and the shipped Role grants just these.

Secrets are none of them: who may read one Secret's version may read it whole. Where a Role grants them nevertheless, a
canary's Secrets are watched for changes.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Permission(NamedTuple):
    """One verb on one resource of the service's namespace."""

    group: str
    """API group; empty for the core one."""
    resource: str
    """Plural, with the subresource after a slash."""
    verb: str


def _each(group: str, resource: str, *verbs: str) -> tuple[Permission, ...]:
    return tuple(Permission(group, resource, verb) for verb in verbs)


PERMISSIONS: Final = (
    *_each("networking.istio.io", "virtualservices", "get", "patch"),
    *_each("networking.istio.io", "destinationrules", "get", "patch"),
    *_each("networking.istio.io", "gateways", "get"),
    *_each("apps", "deployments", "get", "create", "patch"),
    *_each("apps", "deployments/scale", "patch"),
    *_each("", "pods", "list"),
    *_each("autoscaling", "horizontalpodautoscalers", "list", "patch"),
    *_each("", "configmaps", "get", "list", "create", "patch", "delete"),
    *_each("coordination.k8s.io", "leases", "get", "create", "patch"),
    *_each("", "events", "create"),
    *_each("", "resourcequotas", "list"),
    *_each("", "services", "get"),
)
"""What a rollout through an Istio VirtualService needs."""

GATEWAY_API_PERMISSIONS: Final = (
    *_each("gateway.networking.k8s.io", "httproutes", "get", "patch"),
    *_each("", "services", "get", "patch"),
)
"""What a rollout through an HTTPRoute needs instead of the three Istio resources."""

RESOURCE_NAME_VERBS: Final = frozenset({"get", "patch", "delete"})
"""Those that a Role can grant on objects by their names; the others come before there is a name, or are for all."""
