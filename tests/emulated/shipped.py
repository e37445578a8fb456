"""A service at rest, made of the very files that are shipped: Deployments, routes, and the pipeline's Role."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
NAMESPACE = "canary-app"
_SERVICE = (
    "manifests/app/service.yaml",
    "manifests/app/canary-app-v1.yaml",
    "manifests/app/canary-app-v2.yaml",
    "istio/destination-rule.yaml",
    "istio/gateway.yaml",
    "istio/virtual-service.yaml",
)


def documents(*files: str) -> Iterator[dict[str, Any]]:
    """Return the documents of some shipped files."""
    for file in files:
        yield from (document for document in yaml.safe_load_all((ROOT / file).read_text()) if document)


def role_rules(name: str = "canary-app") -> list[dict[str, Any]]:
    """Return what the shipped Role grants, with the objects of a service of this name."""
    rules: list[dict[str, Any]] = yaml.safe_load(
        yaml.safe_dump(_rules("manifests/permissions/role.yaml")).replace("canary-app", name)
    )
    return rules


def webhook_rules() -> list[dict[str, Any]]:
    """Return what the Role of the one that hears complaints and alerts grants."""
    return _rules("manifests/pipeline/webhook.yaml")


def _rules(file: str) -> list[dict[str, Any]]:
    (role,) = (document for document in documents(file) if document["kind"] == "Role")
    return list(role["rules"])


def service_at_rest(namespace: str = NAMESPACE, *, name: str = "canary-app") -> list[dict[str, Any]]:
    """Return the service's objects: three pods of v1, v2 prepared with none, all traffic on stable."""
    found = [yaml.safe_load(yaml.safe_dump(one).replace("canary-app", name)) for one in documents(*_SERVICE)]
    for document in found:
        document["metadata"]["namespace"] = namespace
        if document["metadata"]["name"].endswith("-v2"):
            document["spec"]["replicas"] = 0
    return found
