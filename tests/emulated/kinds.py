"""Which kinds the emulated API server has, and what it calls them."""

from __future__ import annotations

KINDS = {
    "networking.istio.io": {
        "virtualservices": "VirtualService",
        "destinationrules": "DestinationRule",
        "gateways": "Gateway",
    },
    "gateway.networking.k8s.io": {"httproutes": "HTTPRoute"},
    "apps": {"deployments": "Deployment"},
    "autoscaling": {"horizontalpodautoscalers": "HorizontalPodAutoscaler"},
    "keda.sh": {"scaledobjects": "ScaledObject"},
    "coordination.k8s.io": {"leases": "Lease"},
    "rbac.authorization.k8s.io": {"roles": "Role", "rolebindings": "RoleBinding"},
    "": {
        "pods": "Pod",
        "configmaps": "ConfigMap",
        "events": "Event",
        "resourcequotas": "ResourceQuota",
        "secrets": "Secret",
        "services": "Service",
        "serviceaccounts": "ServiceAccount",
    },
}
_GROUPS = {plural: group for group, kinds in KINDS.items() for plural in kinds}


def titled(plural: str) -> str:
    """Return a kind as the server's messages name it."""
    group = _GROUPS[plural]
    return f"{plural}.{group}" if group else plural
