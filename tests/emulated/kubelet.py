"""Pods that come and go with their Deployment, become ready, crash, or cannot pull their image."""

from __future__ import annotations

import time
from collections.abc import Callable
from copy import deepcopy
from itertools import count
from typing import Any

from tests.emulated.store import Document, Key, Store, now

MISSING_IMAGE = "missing"
"""An image of this name cannot be pulled."""
_NUMBERS = count(1)


class Kubelet:
    """Keeps as many pods as every Deployment asks for."""

    def __init__(self, store: Store, *, injects: bool = True) -> None:
        self.ready_after = 0.0
        """Seconds until a new pod is ready."""
        self.stuck: set[str] = set()
        """Versions whose new pods never become ready."""
        self.conditions: dict[str, list[dict[str, str]]] = {}
        """What a Deployment's controller says of it, by its name."""
        self.now: Callable[[], float] = time.monotonic
        """Seconds of the clock that pods start by."""
        self._store = store
        self._injects = injects
        self._ready_at: dict[Key, float] = {}
        store.on_change = self._reconcile

    def stall(self, namespace: str, name: str, container: str, reason: str, *, times: int = 0) -> None:
        """Let a pod never get past an init container, which waits for this reason after so many restarts."""
        key = ("pods", namespace, name)
        with self._store.lock:
            self._ready_at.pop(key, None)
            status = self._store.objects[key]["status"]
            before = next(iter(status.get("initContainerStatuses", ())), {"restartCount": 0})
            init = {"name": container, "restartCount": before["restartCount"] + times}
            status["initContainerStatuses"] = [init | {"state": {"waiting": {"reason": reason}}}]
            status["containerStatuses"][0]["state"] = {"waiting": {"reason": "PodInitializing"}}

    def crash(self, namespace: str, name: str, *, times: int = 1, reason: str = "Error") -> None:
        """Let a pod have died and wait in its back-off."""
        key = ("pods", namespace, name)
        with self._store.lock:
            status = self._store.objects[key]["status"]
            container = status["containerStatuses"][0]
            container["restartCount"] += times
            container["state"] = {"waiting": {"reason": "CrashLoopBackOff"}}
            container["lastState"] = {"terminated": {"reason": reason, "exitCode": 1}}
            _set_ready(status, is_ready=False)

    def tick(self) -> None:
        """Make ready what has waited long enough."""
        with self._store.lock:
            for key in [key for key, at in self._ready_at.items() if at <= self.now()]:
                del self._ready_at[key]
                if pod := self._store.objects.get(key):
                    _set_ready(pod["status"], is_ready=True)
                    pod["status"]["containerStatuses"][0]["state"] = {"running": {"startedAt": now()}}
            for key, deployment in self._store.objects.items():
                if key[0] == "deployments":
                    status = {"readyReplicas": self._ready(key[1], deployment)}
                    deployment["status"] = status | {"conditions": self.conditions.get(key[2], [])}

    def _ready(self, namespace: str, deployment: Document) -> int:
        pods = self._store.list("pods", namespace, _selector(deployment))[0]
        return sum(condition["status"] == "True" for pod in pods for condition in pod["status"]["conditions"])

    def _reconcile(self, key: Key, deployment: Document) -> None:
        if key[0] != "deployments":
            return
        there = sorted(
            self._store.list("pods", key[1], _selector(deployment))[0], key=lambda pod: pod["metadata"]["name"]
        )
        wanted = deployment["spec"].setdefault("replicas", 1)
        for pod in there[wanted:]:  # the newest go first
            self._store.delete("pods", key[1], pod["metadata"]["name"])
        for _ in range(wanted - len(there)):
            self._start(deployment, key[1])

    def _start(self, deployment: Document, namespace: str) -> None:
        template = deepcopy(deployment["spec"]["template"])
        name = f"{deployment['metadata']['name']}-{next(_NUMBERS):05d}"
        spec: dict[str, Any] = template["spec"]
        image = spec["containers"][0]["image"]
        if self._injects:
            spec["containers"].append({"name": "istio-proxy", "image": "docker.io/istio/proxyv2:1.27.0"})
        is_missing = image.startswith(MISSING_IMAGE)
        waiting = {"reason": "ImagePullBackOff" if is_missing else "ContainerCreating"}
        first = {"name": spec["containers"][0]["name"], "restartCount": 0, "state": {"waiting": waiting}}
        status: dict[str, Any] = {"phase": "Running", "containerStatuses": [first | {"ready": False}]}
        metadata = template["metadata"] | {"name": name}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec, "status": status}
        _set_ready(status, is_ready=False)
        self._store.create("pods", namespace, pod, "kubelet")
        if not is_missing and template["metadata"]["labels"].get("version") not in self.stuck:
            self._ready_at["pods", namespace, name] = self.now() + self.ready_after


def _selector(deployment: Document) -> str:
    return ",".join(f"{name}={value}" for name, value in deployment["spec"]["selector"]["matchLabels"].items())


def _set_ready(status: dict[str, Any], *, is_ready: bool) -> None:
    status["conditions"] = [{"type": "Ready", "status": str(is_ready)}]
    status["containerStatuses"][0]["ready"] = is_ready
