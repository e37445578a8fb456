"""Signals to a rollout: entries of its ConfigMap, and an annotation that plain kubectl can put on the route."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from backends.cluster.api.api_errors import MissingError
from backends.cluster.api.client import CONFIG_MAPS, Api
from backends.cluster.api.conflicts import retry_on_conflict
from backends.cluster.router import ClusterRouter
from backends.document_fields import mapping
from backends.route_patches import abort_of
from rollout.ports import Signal, SignalKind

_SIGNAL = TypeAdapter(Signal)


@dataclass(frozen=True, slots=True)
class ClusterSignals:
    """Signals sent to one rollout."""

    api: Api
    name: str
    labels: dict[str, str]
    router: ClusterRouter

    def read(self) -> tuple[Signal, ...]:
        """Return all signals so far, oldest first, and the route's annotation last."""
        try:
            data = mapping(self.api.get(CONFIG_MAPS, self.name), "data")
        except MissingError:
            data = {}
        signals = [signal for _, text in sorted(data.items()) if (signal := _parsed(text))]
        return (*signals, *self._annotated())

    def send(self, signal: Signal) -> None:
        """Send a signal; others may send one at the same moment, each under a key of its own."""
        key = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%f}-{uuid.uuid4().hex[:8]}"
        text = _SIGNAL.dump_json(signal).decode()
        retry_on_conflict(lambda: self._write({key: text}))

    def _write(self, data: dict[str, str]) -> None:
        try:
            self.api.patch(CONFIG_MAPS, self.name, {"data": data})
        except MissingError:
            metadata = {"name": self.name, "labels": self.labels}
            document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
            self.api.create(CONFIG_MAPS, document)

    def _annotated(self) -> tuple[Signal, ...]:
        reason = abort_of(self.router.read())
        return (Signal(SignalKind.ABORT, reason, "kubectl", datetime.now(UTC)),) if reason else ()


def _parsed(text: str) -> Signal | None:
    try:
        return _SIGNAL.validate_json(text)
    except ValidationError:
        return None  # written by hand, and not a signal
