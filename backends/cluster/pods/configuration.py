"""What a Deployment says of its pods' configuration, and of why it cannot make them. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Literal, NamedTuple

from backends.document_fields import Document, entries, mapping

_FAILED_CONDITIONS: Final = {"ReplicaFailure": "True", "Progressing": "False"}
"""Conditions of a Deployment, with the status that means trouble."""


class ConfigReference(NamedTuple):
    """A ConfigMap or a Secret that a pod reads."""

    kind: Literal["ConfigMap", "Secret"]
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def config_references(pod_spec: Document) -> tuple[ConfigReference, ...]:
    """Return what the pods of a template read, each once, in order of kind and name."""
    return tuple(sorted(set(_in_volumes(pod_spec)) | set(_in_containers(pod_spec))))


def _in_volumes(pod_spec: Document) -> Iterator[ConfigReference]:
    for volume in entries(pod_spec, "volumes"):
        yield from _reference(volume.get("configMap"), "ConfigMap", "name")
        yield from _reference(volume.get("secret"), "Secret", "secretName")
        for source in entries(volume, "projected", "sources"):
            yield from _reference(source.get("configMap"), "ConfigMap", "name")
            yield from _reference(source.get("secret"), "Secret", "name")


def _in_containers(pod_spec: Document) -> Iterator[ConfigReference]:
    for container in [*entries(pod_spec, "containers"), *entries(pod_spec, "initContainers")]:
        for source in entries(container, "envFrom"):
            yield from _reference(source.get("configMapRef"), "ConfigMap", "name")
            yield from _reference(source.get("secretRef"), "Secret", "name")
        for variable in entries(container, "env"):
            source = mapping(variable, "valueFrom")
            yield from _reference(source.get("configMapKeyRef"), "ConfigMap", "name")
            yield from _reference(source.get("secretKeyRef"), "Secret", "name")


def _reference(reference: Any, kind: Literal["ConfigMap", "Secret"], key: str) -> Iterator[ConfigReference]:
    if reference and reference.get(key):
        yield ConfigReference(kind, reference[key])


def failed_condition(deployment: Document) -> str:
    """Return why a Deployment cannot make its pods, such as `FailedCreate: exceeded quota`; empty when it can."""
    for condition in entries(deployment, "status", "conditions"):
        kind = condition.get("type", "")
        if kind in _FAILED_CONDITIONS and _FAILED_CONDITIONS[kind] == condition.get("status"):
            message = " ".join((condition.get("message") or "").split())[:200]
            return f"{condition.get('reason') or kind}: {message}"
    return ""
