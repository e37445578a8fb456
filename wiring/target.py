"""Where a rollout takes place, as flows and the command line name it. Knows no vendor and no scheduler."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from backends.prometheus.address import Address
from rollout.document import as_written
from rollout.errors import PlanError
from wiring.settings import Settings

IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
"""Kubernetes sets it in every pod."""


class Target(BaseModel):
    """Where a rollout takes place."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, json_schema_extra=as_written)

    backend: Literal["local", "cluster"] = Field(
        default="local", description="local: Envoy and processes on this machine; cluster: Kubernetes."
    )
    state: Path = Field(default=Path(".canary/demo"), description="State folder of the embedded backend.")
    namespace: str = Field(default="canary-app", description="Cluster: where the service lives.")
    service: str = Field(
        default="", description="For orders: a service with a rollout on record; the plan's unless given."
    )
    context: str = Field(default="", description="Cluster: context of the kubeconfig; the current one unless given.")
    kubeconfig: Path | None = Field(default=None, description="Cluster: KUBECONFIG or the pod's own unless given.")
    prometheus: Address = Field(
        default=Address("http://prometheus.istio-system:9090"), description="Cluster: where its Prometheus answers."
    )
    prometheus_config: Path | None = Field(
        default=None, description="Cluster: how one gets in to it, as a file says where the flow runs."
    )
    gateway: str = Field(
        default="", description="Cluster: where users send their requests, for load whose plan names no URL."
    )
    image: str = Field(default="", description="Cluster: the canary's image; its Deployment's own unless given.")
    container: str = Field(
        default="", description="Cluster: the container that gets the image, where a pod has several."
    )
    kind: Literal["VirtualService", "HTTPRoute"] = Field(
        default="VirtualService", description="Cluster: what holds the split."
    )
    document: str = Field(default="", description="Cluster: name of that object; the service's unless given.")
    route: str = Field(
        default="",
        description="Cluster: names or indices of the routes in it, separated by commas; all that fit unless given.",
    )
    files: Path | None = Field(default=None, description="Cluster: folder of the resting routes, to be compared.")

    def at_service(self, service: str) -> Target:
        """Return the target of orders to a service."""
        return self.model_copy(update={"service": service})


class Backend(StrEnum):
    """What a rollout can take place on."""

    LOCAL = "local"
    CLUSTER = "cluster"


class RouteKind(StrEnum):
    """What can hold the split in a cluster."""

    VIRTUAL_SERVICE = "VirtualService"
    HTTP_ROUTE = "HTTPRoute"


def named_target(backend: Backend | None, state: Path | None, **named: str | Path | None) -> Target:
    """Return the target that the command line names; what it leaves out comes from `CANARY_...` variables.

    Parameters
    ----------
    backend
        None: the embedded backend where its folder is named, the cluster where one is, the embedded backend else.
    state
        State folder of the embedded backend; None for the settings' own.
    named
        Fields of `Target` that speak of a cluster; empty ones count as left out.

    Raises
    ------
    PlanError
        When a cluster's option is given together with the embedded backend.
    """
    settings = Settings()
    given: dict[str, object] = {field: value for field, value in named.items() if value}
    if "prometheus" in given:
        given["prometheus"] = Address(str(given["prometheus"]))
    chosen = backend or (Backend.LOCAL if state else None) or Backend(settings.backend or _guessed(given))
    if chosen is Backend.LOCAL and given:
        field, value = next(iter(given.items()))
        local = "--backend local" if backend else "--state" if state else "CANARY_BACKEND=local"
        raise PlanError(
            f"--{field.replace('_', '-')}: got {str(value)!r} with {local}, allowed: with --backend cluster only"
        )
    found = {field: getattr(settings, field) for field in ("namespace", "prometheus", "gateway", "kind")}
    facts = {field: value for field, value in found.items() if value} | given
    return Target.model_validate(
        {"backend": chosen.value, "state": (state or settings.state / "demo").absolute()} | facts
    )


def cluster_target(
    backend: Backend | None, state: Path | None, plan: Path, files: Path | None, **named: str | Path | None
) -> Target:
    """Return the target that the command line names, with the folder of resting routes that goes with a plan.

    Parameters
    ----------
    backend, state, named
        As `named_target` takes them.
    plan
        The plan's file.
    files
        The folder; None for `istio` beside the plan, where there is one.
    """
    target = named_target(backend, state, **named)
    if target.backend == "local":
        return target
    if files is not None and not files.is_dir():
        raise PlanError(f"--files: got {str(files)!r}, allowed: a folder")
    beside = plan.parent / "istio"
    found = files or (beside if beside.is_dir() else None)
    return target.model_copy(update={"files": found.absolute() if found else None})


def readable(file: Path | None, option: str = "--kubeconfig") -> Path | None:
    """Return a file as any process finds it, or raise PlanError where there is none to be read."""
    if file is not None and not os.access(file, os.R_OK):
        raise PlanError(f"{option}: got {str(file)!r}, allowed: a file that can be read")
    return file.absolute() if file else None


def _guessed(given: dict[str, object]) -> Backend:
    return Backend.CLUSTER if given or "KUBECONFIG" in os.environ or IN_CLUSTER in os.environ else Backend.LOCAL
