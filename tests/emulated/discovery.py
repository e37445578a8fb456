"""What the server says of itself, so that kubectl finds its way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]
_SHORT = {"autoscaling": "v2"}


def versions(root: str, groups: Iterable[str]) -> dict[str, Any]:
    """Return what stands at `/api` and at `/apis`."""
    if root == "api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(name) for name in groups if name]}


def group(name: str) -> dict[str, Any]:
    """Return what stands at `/apis/<group>`."""
    version = _version(name)
    served = {"groupVersion": f"{name}/{version}", "version": version}
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": [served], "preferredVersion": served}


def resources(name: str, kinds: Mapping[str, str]) -> dict[str, Any]:
    """Return what stands at `/apis/<group>/<version>`."""
    found = [
        {"name": plural, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": _VERBS}
        for plural, kind in kinds.items()
    ]
    if "deployments" in kinds:
        scale = {"group": "autoscaling", "version": "v1", "kind": "Scale", "verbs": ["get", "patch", "update"]}
        found.append({"name": "deployments/scale", "singularName": "", "namespaced": True} | scale)
    where = f"{name}/{_version(name)}" if name else "v1"
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": where, "resources": found}


def _version(group: str) -> str:
    return _SHORT.get(group, "v1")
