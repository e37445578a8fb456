"""Which container of a pod is the service itself: the one that gets the canary's image. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Final

from backends.document_fields import Document, annotation, entries, mapping
from rollout.errors import PlanError

SIDECAR: Final = "istio-proxy"
DEFAULT_CONTAINER: Final = "kubectl.kubernetes.io/default-container"
"""Annotation of a pod by which kubectl, too, knows the container that matters."""

Port = str | int
"""Number or name of a container's port."""


def service_container(
    deployment: Document, *, service: str, named: str = "", ports: Callable[[], Collection[Port]] = tuple
) -> Document:
    """Return the container of a Deployment's pods that is the service itself.

    A sidecar, the mesh's proxy or a native one, is never it. Of several it is, in this
    order: the one that was named; the one that the annotation names; the one that has the Service's port; the one
    that is called like the service.

    Parameters
    ----------
    deployment
        A Deployment.
    service
        The plan's service.
    named
        The name that a person gave; empty for none.
    ports
        Asks where the Service sends requests; called only where nothing else has decided.

    Raises
    ------
    PlanError
        When none or several could be it, naming them.
    """
    template = mapping(deployment, "spec", "template")
    containers = entries(template, "spec", "containers")
    by_name = {container["name"]: container for container in containers if container.get("name") not in (None, SIDECAR)}
    if named:
        if named in by_name:
            return by_name[named]
        raise PlanError(f"container of {_title(deployment)}: got {named!r}, allowed: {_listed(by_name)}")
    if not by_name:
        raise PlanError(f"{_title(deployment)}: no container for the service, allowed: a container beside {SIDECAR}")
    preferred = annotation(template, DEFAULT_CONTAINER) or annotation(deployment, DEFAULT_CONTAINER)
    if preferred in by_name:
        return by_name[preferred]
    if len(by_name) == 1:
        return next(iter(by_name.values()))
    service_ports = ports()
    listening = [name for name, container in by_name.items() if _listens(container, service_ports)]
    chosen = listening[0] if len(listening) == 1 else service
    if chosen in by_name:
        return by_name[chosen]
    raise PlanError(
        f"{_title(deployment)}: which container is the service, of {_listed(by_name)}? "
        f"Name it by --container, or by the annotation {DEFAULT_CONTAINER}"
    )


def target_ports(service: Document) -> tuple[Port, ...]:
    """Return the container ports, by number or by name, that a Service sends requests to."""
    ports = (port.get("targetPort") or port.get("port") for port in entries(service, "spec", "ports"))
    return tuple(port for port in ports if port is not None)


def _listens(container: Document, ports: Collection[Port]) -> bool:
    own = entries(container, "ports")
    return any(port.get("containerPort") in ports or port.get("name") in ports for port in own)


def _listed(containers: Collection[str]) -> str:
    return ", ".join(containers) or "none"


def _title(deployment: Document) -> str:
    metadata = mapping(deployment, "metadata")
    return f"deployment {metadata.get('namespace') or ''}/{metadata.get('name')}"
