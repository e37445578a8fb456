"""How long a Deployment's pods may take to become ready, by the Deployment's own say. Pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from backends.cluster.pods.deployments import pod_spec
from backends.document_members import Document, entries, mapping

_PERIOD_SECONDS: Final = 10
_FAILURES: Final = 3
"""Kubernetes' defaults of a probe's `periodSeconds` and `failureThreshold`."""
_NO_DEADLINE: Final = 2**31 - 1
"""Kubernetes' word for a Deployment that never gives up."""


def ready_within(deployment: Document) -> timedelta | None:
    """Return how long a new pod may take to become ready; None where the Deployment does not say.

    That is its `progressDeadlineSeconds`, or what the slowest startup probe allows, whichever is longer: until then
    Kubernetes too counts on the pod.
    """
    spec = pod_spec(deployment)
    containers = [*entries(spec, "initContainers"), *entries(spec, "containers")]
    deadline = mapping(deployment, "spec").get("progressDeadlineSeconds") or 0
    allowed = [_allowed(one["startupProbe"]) for one in containers if one.get("startupProbe")]
    seconds = max([0 if deadline >= _NO_DEADLINE else deadline, *allowed])
    return timedelta(seconds=seconds) if seconds else None


def _allowed(probe: Document) -> int:
    period, failures = probe.get("periodSeconds") or _PERIOD_SECONDS, probe.get("failureThreshold") or _FAILURES
    return int((probe.get("initialDelaySeconds") or 0) + period * failures)
