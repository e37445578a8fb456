"""A kubelet that only says so: the pods of one namespace become ready, and no process runs.

For an API server whose controllers make pods where no node is there to run them.
"""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from backends.cluster.api.client import PODS, Api
from rollout.errors import RolloutError

MISSING_IMAGE = "missing.invalid/nothing:1"
"""An image that no registry has: its pods wait for it for ever."""
_EVERY_SECONDS = 0.1


class PlayedKubelet:
    """Writes the status that a kubelet would; a context manager."""

    def __init__(self, admin: Api) -> None:
        self._admin = admin
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._play, daemon=True)

    def __enter__(self) -> PlayedKubelet:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _play(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            try:
                for pod in self._admin.list(PODS):
                    if not (pod.get("status") or {}).get("containerStatuses"):
                        self._admin.patch(PODS, pod["metadata"]["name"], {"status": _status(pod)}, subresource="status")
            except RolloutError:
                continue  # gone in between, or the server is: the next look will tell


def _status(pod: dict[str, Any]) -> dict[str, Any]:
    spec, now = pod["spec"], f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
    is_ready = all(one["image"] != MISSING_IMAGE for one in spec["containers"])
    return {
        "phase": "Running" if is_ready else "Pending",
        "conditions": [{"type": "Ready", "status": str(is_ready), "lastTransitionTime": now}],
        "initContainerStatuses": [_container(one, now) for one in spec.get("initContainers") or []],
        "containerStatuses": [_container(one, now) for one in spec["containers"]],
    }


def _container(container: dict[str, Any], now: str) -> dict[str, Any]:
    is_missing = container["image"] == MISSING_IMAGE
    state = {"waiting": {"reason": "ImagePullBackOff"}} if is_missing else {"running": {"startedAt": now}}
    said = {"name": container["name"], "image": container["image"], "imageID": "", "restartCount": 0}
    return said | {"ready": not is_missing, "started": not is_missing, "state": state}
