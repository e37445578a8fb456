"""The pods of each track, as a Deployment a version."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from backends.cluster.api.api_errors import ForbiddenError, MissingError
from backends.cluster.api.client import AUTOSCALERS, CONFIG_MAPS, DEPLOYMENTS, PODS, SECRETS, SERVICES, Api
from backends.cluster.api.conflicts import retry_on_conflict
from backends.cluster.pods.configuration import ConfigReference, config_references, failed_condition
from backends.cluster.pods.containers import Port, service_container, target_ports
from backends.cluster.pods.deployments import as_pod, canary_deployment, pod_spec, ready_within
from backends.document_fields import Document, entries, label, mapping
from rollout.errors import PlanError, SetupError
from rollout.model import Pod, Track
from rollout.ports import PodInputs


@dataclass(frozen=True, slots=True)
class ClusterWorkloads:
    """Pods by their labels `app` and `version`, Deployments named `<service>-<version>`."""

    api: Api
    service: str
    versions: dict[Track, str]
    image: str
    """The canary's image; empty to leave its Deployment's own."""
    host: str = ""
    """The Service that requests are sent to; unless given, called as `service`."""
    container: str = ""
    """The service's own container, where a person has named it."""
    _forbidden_secrets: set[str] = field(default_factory=set, repr=False, compare=False)
    """Secrets whose version we may not read: they are not requested again."""

    def pods(self) -> tuple[Pod, ...]:
        """Return all pods of all tracks, as they are now, oldest first."""
        pods = sorted(self.api.list(PODS, f"app={self.service}"), key=_creation)
        tracks, now = {version: track for track, version in self.versions.items()}, datetime.now(UTC)
        return tuple(as_pod(pod, tracks[version], now) for pod in pods if (version := _version(pod)) in tracks)

    def pod_inputs(self) -> PodInputs:
        """Return why the canary's Deployment cannot go on, and which ConfigMaps and Secrets its pods read.

        Of a Secret only the version is read, where that is allowed: its contents never leave the server.
        """
        try:
            deployment = self.api.get(DEPLOYMENTS, self.deployment(Track.CANARY))
        except MissingError:
            return PodInputs()
        references = config_references(pod_spec(deployment))
        readable = (reference for reference in references if str(reference) not in self._forbidden_secrets)
        versions = {str(reference): self._version_of(reference) for reference in readable}
        return PodInputs(
            failed_condition(deployment),
            {name: version for name, version in versions.items() if name not in self._forbidden_secrets},
        )

    def ready_within(self, track: Track) -> timedelta | None:
        """Return how long a track's pods may take to become ready, by its Deployment's own say, where it has one."""
        try:
            return ready_within(self.api.get(DEPLOYMENTS, self.deployment(track)))
        except MissingError:
            return None

    def _version_of(self, reference: ConfigReference) -> str:
        try:
            if reference.kind == "Secret":
                return self.api.version_of(SECRETS, reference.name)
            config_map = self.api.get(CONFIG_MAPS, reference.name)
        except MissingError:
            return "absent"
        except ForbiddenError:
            if reference.kind != "Secret":
                raise
            self._forbidden_secrets.add(str(reference))
            return ""
        # Not its resourceVersion: a label that somebody's tool adds changes nothing for the pods.
        content = json.dumps([config_map.get("data"), config_map.get("binaryData")], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

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
            retry_on_conflict(self.prepare)
        retry_on_conflict(lambda: self._scale(self.deployment(track), replicas))

    def _scale(self, name: str, replicas: int) -> None:
        autoscaler = self.autoscaler(name)
        if (
            autoscaler is None
            or replicas == 0
            or not mapping(self.api.get(DEPLOYMENTS, name), "spec").get("replicas", 1)
        ):
            self.api.patch(DEPLOYMENTS, name, {"spec": {"replicas": replicas}}, subresource="scale")
        if autoscaler is not None and replicas:
            self._set_minimum(autoscaler, replicas)

    def prepare(self) -> None:
        """See to it that the canary's Deployment is there and has the image that is to be released."""
        name = self.deployment(Track.CANARY)
        try:
            deployment = self.api.get(DEPLOYMENTS, name)
        except MissingError:
            self._create_canary(name)
        else:
            self._set_image(name, deployment)

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
        container = self.main_container(stable)["name"]
        canary = canary_deployment(stable, name=name, version=version, container=container, image=self.image)
        self.api.create(DEPLOYMENTS, canary)

    def main_container(self, deployment: Document) -> Document:
        """Return the container of a Deployment's pods that is the service itself.

        Raises
        ------
        PlanError
            When none or several could be it, naming them.
        """
        return service_container(deployment, service=self.service, named=self.container, ports=self._target_ports)

    def _target_ports(self) -> tuple[Port, ...]:
        with suppress(SetupError):  # where there is none, or it may not be read, the names have to decide
            return target_ports(self.api.get(SERVICES, self.host or self.service))
        return ()

    def _set_image(self, name: str, deployment: Document) -> None:
        if not self.image:
            return
        containers, main = entries(pod_spec(deployment), "containers"), self.main_container(deployment)
        if main.get("image") != self.image:
            path = f"/spec/template/spec/containers/{containers.index(main)}"
            is_same = {"op": "test", "path": f"{path}/name", "value": main["name"]}
            self.api.patch(DEPLOYMENTS, name, [is_same, {"op": "add", "path": f"{path}/image", "value": self.image}])

    def autoscaler(self, deployment: str) -> Document | None:
        """Return the HorizontalPodAutoscaler that owns a Deployment's replicas, where there is one."""
        target = {"kind": "Deployment", "name": deployment}
        for autoscaler in self.api.list(AUTOSCALERS):
            if target.items() <= mapping(autoscaler, "spec", "scaleTargetRef").items():
                return autoscaler
        return None

    def _set_minimum(self, autoscaler: Document, replicas: int) -> None:
        spec, name = mapping(autoscaler, "spec"), autoscaler["metadata"]["name"]
        most = spec.get("maxReplicas", replicas)
        if replicas > most:
            raise PlanError(f"scale {spec['scaleTargetRef']['name']} to {replicas}: {name} allows {most}")
        if spec.get("minReplicas", 1) != replicas:
            self.api.patch(AUTOSCALERS, name, {"spec": {"minReplicas": replicas}})


def _creation(pod: Document) -> tuple[Any, str]:
    return pod["metadata"].get("creationTimestamp", ""), pod["metadata"]["name"]


def _version(pod: Document) -> str:
    return label(pod, "version")
