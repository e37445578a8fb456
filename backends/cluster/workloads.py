"""The pods of each track, as a Deployment a version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from backends.cluster.client import AUTOSCALERS, CONFIG_MAPS, DEPLOYMENTS, PODS, SECRETS, Api
from backends.cluster.conflicts import settled
from backends.cluster.deployments import as_pod, canary_deployment, main_container
from backends.cluster.errors import ForbiddenError, MissingError
from backends.cluster.inputs import Input, inputs_of, trouble_of
from backends.documents import Document
from rollout.errors import PlanError
from rollout.model import Pod, Track
from rollout.ports import Footing


@dataclass(frozen=True, slots=True)
class ClusterWorkloads:
    """Pods by their labels `app` and `version`, Deployments named `<service>-<version>`."""

    api: Api
    service: str
    versions: dict[Track, str]
    image: str
    """The canary's image; empty to leave its Deployment's own."""
    _unread: set[str] = field(default_factory=set, repr=False, compare=False)
    """Secrets whose version we may not ask for: they are not asked for again."""

    def pods(self) -> tuple[Pod, ...]:
        """Return all pods of all tracks, as they are now, oldest first."""
        found = sorted(self.api.list(PODS, f"app={self.service}"), key=_age)
        tracks, now = {version: track for track, version in self.versions.items()}, datetime.now(UTC)
        return tuple(as_pod(pod, tracks[version], now) for pod in found if (version := _version(pod)) in tracks)

    def footing(self) -> Footing:
        """Return why the canary's Deployment cannot go on, and which ConfigMaps and Secrets its pods read.

        Of a Secret only the version is asked for, where that is allowed: its contents never leave the server.
        """
        try:
            deployment = self.api.get(DEPLOYMENTS, self.deployment(Track.CANARY))
        except MissingError:
            return Footing()
        named = inputs_of(deployment["spec"]["template"]["spec"])
        read = (one for one in named if str(one) not in self._unread)
        versions = {str(one): self._version_of(one) for one in read}
        return Footing(
            trouble_of(deployment), {name: seen for name, seen in versions.items() if name not in self._unread}
        )

    def _version_of(self, one: Input) -> str:
        try:
            if one.kind == "Secret":
                return self.api.version_of(SECRETS, one.name)
            found = self.api.get(CONFIG_MAPS, one.name)
        except MissingError:
            return "absent"
        except ForbiddenError:
            if one.kind != "Secret":
                raise
            self._unread.add(str(one))
            return ""
        # Not its resourceVersion: a label that somebody's tool adds changes nothing for the pods.
        held = json.dumps([found.get("data"), found.get("binaryData")], sort_keys=True)
        return hashlib.sha256(held.encode()).hexdigest()[:16]

    def scale(self, track: Track, replicas: int) -> None:
        """Ask for this many pods of a track. A canary without a Deployment gets one, made from stable's.

        Where an autoscaler owns the replicas, its minimum is set, and the replicas only from or to none at all.

        Raises
        ------
        PlanError
            When there is no such track here, or the number is negative.
        """
        if track not in self.versions or replicas < 0:
            allowed = ", ".join(self.versions)
            raise PlanError(f"scale {track} to {replicas}: allowed are tracks {allowed} and 0 replicas or more")
        if track is Track.CANARY and replicas:
            settled(self.prepare)
        settled(lambda: self._scale(self.deployment(track), replicas))

    def _scale(self, name: str, replicas: int) -> None:
        autoscaler = self._autoscaler(name)
        if autoscaler is None or replicas == 0 or not self.api.get(DEPLOYMENTS, name)["spec"].get("replicas", 1):
            self.api.patch(DEPLOYMENTS, name, {"spec": {"replicas": replicas}}, subresource="scale")
        if autoscaler is not None and replicas:
            self._set_minimum(autoscaler, replicas)

    def prepare(self) -> None:
        """See to it that the canary's Deployment is there and has the image that is to be released."""
        name = self.deployment(Track.CANARY)
        try:
            found = self.api.get(DEPLOYMENTS, name)
        except MissingError:
            self._create_canary(name)
        else:
            self._set_image(name, found)

    def deployment(self, track: Track) -> str:
        """Return the name of a track's Deployment."""
        return f"{self.service}-{self.versions[track]}"

    def _create_canary(self, name: str) -> None:
        if not self.image:
            raise PlanError(
                f"deployment {self.api.namespace}/{name}: not found; apply manifests/, or name the canary's image"
            )
        stable = self.api.get(DEPLOYMENTS, self.deployment(Track.STABLE))
        version = self.versions[Track.CANARY]
        self.api.create(DEPLOYMENTS, canary_deployment(stable, name=name, version=version, image=self.image))

    def _set_image(self, name: str, found: Document) -> None:
        containers = found["spec"]["template"]["spec"]["containers"]
        main = main_container(found["spec"]["template"]["spec"])
        if self.image and main["image"] != self.image:
            path = f"/spec/template/spec/containers/{containers.index(main)}"
            is_same = {"op": "test", "path": f"{path}/name", "value": main["name"]}
            self.api.patch(DEPLOYMENTS, name, [is_same, {"op": "add", "path": f"{path}/image", "value": self.image}])

    def _autoscaler(self, deployment: str) -> Document | None:
        owns = {"kind": "Deployment", "name": deployment}
        for one in self.api.list(AUTOSCALERS):
            target = one["spec"]["scaleTargetRef"]
            if {key: target.get(key) for key in owns} == owns:
                return one
        return None

    def _set_minimum(self, autoscaler: Document, replicas: int) -> None:
        most = autoscaler["spec"]["maxReplicas"]
        name = autoscaler["metadata"]["name"]
        if replicas > most:
            raise PlanError(f"scale {autoscaler['spec']['scaleTargetRef']['name']} to {replicas}: {name} allows {most}")
        if autoscaler["spec"].get("minReplicas", 1) != replicas:
            self.api.patch(AUTOSCALERS, name, {"spec": {"minReplicas": replicas}})


def _age(pod: Document) -> tuple[Any, str]:
    return pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]


def _version(pod: Document) -> str:
    return str((pod["metadata"].get("labels") or {}).get("version", ""))
