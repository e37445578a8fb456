"""Where a rollout takes place, as flows and the command line name it. Knows no vendor and no scheduler."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field
from pydantic.fields import FieldInfo

from backends.cluster.cluster_target import ClusterField, ClusterTarget, Taker
from rollout.document import as_written
from rollout.errors import PlanError
from wiring.settings import Settings

IN_CLUSTER = "KUBERNETES_SERVICE_HOST"
"""Kubernetes sets it in every pod."""
Backend = Literal["local", "cluster"]


def cluster_field(field: FieldInfo) -> ClusterField | None:
    """Return what marks a field that counts on a cluster alone; None for another field."""
    return next((mark for mark in field.metadata if isinstance(mark, ClusterField)), None)


def _as_form(schema: dict[str, Any], model: type[BaseModel]) -> None:
    """Put defaults as a person writes them, and say which fields count on a cluster alone."""
    as_written(schema, model)
    for name, field in model.model_fields.items():
        if cluster_field(field) and (text := field.description):
            schema["properties"][name]["description"] = f"Cluster: {text[0].lower()}{text[1:]}"


class _Where(BaseModel):
    backend: Backend = Field(
        default="local", description="local: Envoy and processes on this machine; cluster: Kubernetes."
    )
    state: Path = Field(default=Path(".canary/demo"), description="State folder of the embedded backend.")


class Target(ClusterTarget, _Where, hide_input_in_errors=True, json_schema_extra=_as_form):
    """Where a rollout takes place."""

    service: Annotated[str, ClusterField(Taker.SIGNAL)] = Field(
        default="", description="A service with a rollout on record; default: the plan's."
    )
    prometheus_config: Annotated[Path | None, ClusterField(Taker.RELEASE, is_file=True)] = Field(
        default=None, description="How one gets in to Prometheus: a file in the words of its http_config."
    )
    gateway: Annotated[str, ClusterField(Taker(0))] = Field(
        default="", description="Where users send their requests, for load whose plan names no URL."
    )

    def at_service(self, service: str) -> Target:
        """Return the target of commands to a service."""
        return self.model_copy(update={"service": service})


AnyTarget = TypeVar("AnyTarget", bound=Target)


def named_target(
    backend: Backend | None,
    state: Path | None,
    *,
    model: type[AnyTarget] = Target,  # type: ignore[assignment]
    **named: object,
) -> AnyTarget:
    """Return the target that the command line names; what it leaves out comes from `CANARY_...` variables.

    Parameters
    ----------
    backend
        None: the embedded backend where its folder is named, the cluster where one is, the embedded backend else.
    state
        State folder of the embedded backend; None for the settings' own.
    model
        The kind of target.
    named
        Fields of the target that speak of a cluster; empty ones count as left out.

    Raises
    ------
    PlanError
        When a cluster's option is given together with the embedded backend.
    """
    settings = Settings()
    given = {field: value for field, value in named.items() if value}
    chosen = backend or ("local" if state else settings.backend) or _guessed_backend(given)
    place = {"backend": chosen, "state": (state or settings.state / "demo").absolute()}
    target = model.model_validate(place | settings.target_defaults() | given)
    if chosen == "local" and given:
        field = next(iter(given))
        local = "--backend local" if backend else "--state" if state else "CANARY_BACKEND=local"
        raise PlanError(
            f"--{field.replace('_', '-')}: got {str(getattr(target, field))!r} with {local},"
            " allowed: with --backend cluster only"
        )
    return target


def with_resting_routes(target: AnyTarget, plan: Path) -> AnyTarget:
    """Return the target with the folder of resting routes: the one that it names, or `istio` beside the plan's file."""
    if target.backend == "local":
        return target
    if target.files is not None and not target.files.is_dir():
        raise PlanError(f"--files: got {str(target.files)!r}, allowed: a folder")
    default = plan.parent / "istio"
    folder = target.files or (default if default.is_dir() else None)
    return target.model_copy(update={"files": folder.absolute() if folder else None})


def readable(file: Path | None, option: str = "--kubeconfig") -> Path | None:
    """Return a file as any process finds it, or raise PlanError where there is none to be read."""
    if file is not None and not os.access(file, os.R_OK):
        raise PlanError(f"{option}: got {str(file)!r}, allowed: a file that can be read")
    return file.absolute() if file else None


def _guessed_backend(given: dict[str, object]) -> Backend:
    return "cluster" if given or "KUBECONFIG" in os.environ or IN_CLUSTER in os.environ else "local"
