"""Kubernetes Events on the canary's Deployment, so that `kubectl describe` shows what the pipeline did."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from backends.cluster.api.client import EVENTS, MANAGER, Api
from backends.route_patches import Document
from rollout.errors import RolloutError
from rollout.events import (
    DecisionMade,
    Ended,
    EndState,
    WeightsSet,
)
from rollout.record import Event

_LONGEST: Final = 1000
"""Characters; the server takes 1024."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventRecorder:
    """Events on one Deployment. They are for people: one that cannot be written is logged and left out."""

    api: Api
    deployment: str

    def record(self, event: Event) -> None:
        """Write a decision, a change of weights or the end; anything else has no Kubernetes Event."""
        if (kubernetes := kubernetes_event(event)) is None:
            return
        try:
            self.api.create(EVENTS, self._document(*kubernetes))
        except RolloutError as error:
            log.warning("event on %s not written: %s", self.deployment, error)

    def _document(self, reason: str, message: str, kind: str) -> Document:
        now, namespace = datetime.now(UTC), self.api.namespace
        about = {"apiVersion": "apps/v1", "kind": "Deployment", "name": self.deployment, "namespace": namespace}
        return {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{self.deployment}.{now:%Y%m%d%H%M%S%f}", "namespace": namespace},
            "involvedObject": about,
            "reason": reason,
            "message": message[:_LONGEST],
            "type": kind,
            "source": {"component": MANAGER},
            "firstTimestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "lastTimestamp": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "count": 1,
        }


def kubernetes_event(event: Event) -> tuple[str, str, str] | None:
    """Return reason, message and type of the Kubernetes Event for an event of the record, where it has one."""
    match event:
        case DecisionMade() if event.decision != "hold":
            kind = "Warning" if event.decision == "roll back" else "Normal"
            return "Decision", f"{event.step}: {event.decision}: {event.reason}", kind
        case WeightsSet():
            return "Weights", f"stable {event.stable} %, canary {event.canary} %: {event.reason}", "Normal"
        case Ended():
            kind = "Normal" if event.state is EndState.PROMOTED else "Warning"
            return "Ended", f"{event.state}: {event.reason}", kind
        case _:
            return None
