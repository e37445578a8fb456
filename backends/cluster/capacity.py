"""Whether the canary's pods fit into a namespace's quotas. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from kubernetes.utils import quantity

from backends.documents import Document


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
    status: dict[str, Any] = quota.get("status") or {}
    for resource, hard in (status.get("hard") or {}).items():
        name = resource if resource in wanted else f"requests.{resource}"
        need = wanted.get(name)
        left = _amount(hard) - _amount((status.get("used") or {}).get(resource, 0))
        if need is not None and need > left:
            yield f"{quota['metadata']['name']}: {resource}: {need:f} more are needed, {left:f} are left"


def _wanted(pod_spec: Document, pods: int) -> dict[str, Decimal]:
    wanted = {"pods": Decimal(pods)}
    for container in pod_spec["containers"]:
        for kind, amounts in (container.get("resources") or {}).items():
            for resource, amount in (amounts or {}).items():
                key = f"{kind}.{resource}"
                wanted[key] = wanted.get(key, Decimal(0)) + pods * _amount(amount)
    return wanted


def _amount(text: str | int) -> Decimal:
    return Decimal(quantity.parse_quantity(text))  # type: ignore[no-untyped-call]
