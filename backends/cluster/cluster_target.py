"""Where in a cluster a service runs: the fields that the form, the command line and the cluster's settings share.

A field that is added here appears in all three.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Flag, auto
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from backends.prometheus.address import Address


class Taker(Flag):
    """Commands of the command line that take a field as an option."""

    SIGNAL = auto()
    """To a rollout on record: status, abort, pause, guard and the like."""
    RELEASE = auto()
    """run, preflight, drill."""
    PROMOTE = auto()


EVERY_TAKER: Final = Taker.SIGNAL | Taker.RELEASE | Taker.PROMOTE


@dataclass(frozen=True, slots=True)
class ClusterField:
    """Marks a field that counts on a cluster alone."""

    takers: Taker = EVERY_TAKER
    """Which commands take it as an option."""
    is_file: bool = False
    """Whether it names a file that has to be readable."""


class ClusterTarget(BaseModel):
    """Where in a cluster a service runs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    namespace: Annotated[str, ClusterField()] = Field(default="canary-app", description="Namespace of the service.")
    context: Annotated[str, ClusterField()] = Field(
        default="", description="Context of the kubeconfig; default: the current one."
    )
    kubeconfig: Annotated[Path | None, ClusterField(is_file=True)] = Field(
        default=None, description="The kubeconfig; default: KUBECONFIG, or the pod's own."
    )
    prometheus: Annotated[Address, ClusterField(Taker.RELEASE)] = Field(
        default=Address("http://prometheus.istio-system:9090"), description="Where Prometheus answers."
    )
    image: Annotated[str, ClusterField(Taker.RELEASE)] = Field(
        default="", description="The canary's image; default: its Deployment's own."
    )
    container: Annotated[str, ClusterField(Taker.RELEASE)] = Field(
        default="", description="The container that gets the image, where a pod has several."
    )
    kind: Annotated[Literal["VirtualService", "HTTPRoute"], ClusterField()] = Field(
        default="VirtualService", description="What holds the split."
    )
    document: Annotated[str, ClusterField()] = Field(
        default="", description="Name of what holds the split; default: the service's."
    )
    route: Annotated[str, ClusterField(Taker.SIGNAL | Taker.RELEASE)] = Field(
        default="", description="The routes in it, by names or indices: api,live; default: all that fit."
    )
    files: Annotated[Path | None, ClusterField(Taker.RELEASE | Taker.PROMOTE)] = Field(
        default=None, description="Folder of the resting routes; default: istio beside the plan, where it is."
    )
