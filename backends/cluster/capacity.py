"""Whether the canary's pods fit into a namespace's quotas. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from kubernetes.utils import quantity

from backends.members import Document, entries, mapping


def shortages(quotas: Sequence[Document], pod_spec: Document, pods: int) -> tuple[str, ...]:
    """Return what the quotas do not leave room for, in words.

    Parameters
    ----------
    quotas
        ResourceQuotas of the namespace.
    pod_spec
        What one pod asks for.
    pods
        How many more of them there shall be.
    """
    wanted = _wanted(pod_spec, pods)
    return tuple(line for quota in quotas for line in _short(quota, wanted))


def _short(quota: Document, wanted: dict[str, Decimal]) -> Iterator[str]:
    used = mapping(quota, "status", "used")
    for resource, hard in mapping(quota, "status", "hard").items():
        name = resource if resource in wanted else f"requests.{resource}"
        need = wanted.get(name)
        left = _amount(hard) - _amount(used.get(resource, 0))
        if need is not None and need > left:
            yield f"{quota['metadata']['name']}: {resource}: {need:f} more are needed, {left:f} are left"


def _wanted(pod_spec: Document, pods: int) -> dict[str, Decimal]:
    wanted = {"pods": Decimal(pods)}
    for container in entries(pod_spec, "containers"):
        for kind in ("requests", "limits"):
            for resource, amount in mapping(container, "resources", kind).items():
                key = f"{kind}.{resource}"
                wanted[key] = wanted.get(key, Decimal(0)) + pods * _amount(amount)
    return wanted


def _amount(text: str | int) -> Decimal:
    return Decimal(quantity.parse_quantity(text))  # type: ignore[no-untyped-call]
