"""The specification of a load: written by the runner, read inside Locust's processes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from loadtest.schedule import Stages, steady

SPEC_VARIABLE = "CANARY_LOAD_ORDER"
"""The environment variable that names the specification's file."""
TRACK_HEADER = "x-canary-track"
SYNTHETIC_HEADER = "x-canary-load"
"""Marks every request of ours, so that logs and services can tell it from a customer's."""


class Request(BaseModel):
    """One kind of request."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    method: str = "GET"
    path: str = "/"
    weight: float = 1.0
    headers: dict[str, str] = {}
    body: str | None = None


class LoadSpec(BaseModel):
    """All that Locust's processes have to know."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")

    host: str = ""
    """Scheme, host and port."""
    protocol: Literal["http", "grpc"] = "http"
    """Over gRPC a request's path is the method of a unary call, and its body the message."""
    requests: tuple[Request, ...] = (Request(name="/"),)
    base_host: str = ""
    """Where the base answers that is loaded in turns with the host; empty for none."""
    base_requests: tuple[Request, ...] = ()
    """The same requests, as the base is asked them."""
    stages: Stages = Field(
        default=steady(1.0), validation_alias=AliasChoices("stages", "legs"), serialization_alias="legs"
    )
    """The rate over time; `legs` in files of older versions, and in the digests by which accepted runs are found."""
    arrivals: Literal["even", "poisson"] = "even"
    users: int = 0
    """Above 0 the model is closed: so many users, each waiting for its answer. Else it is open."""
    think_seconds: tuple[float, float] = (0.0, 0.0)
    processes: int = 1
    timeout_seconds: float = 20.0
    grace_seconds: float = 3.0
    """How long requests under way may take to be answered when the load is ended."""
    window_seconds: float = 1.0
    """Length of the stretches that the run is recorded in; 0 for none."""
    back_off_above: float = 1.0
    """Error share (0-1) at which the load is halved."""
    back_off_seconds: float = 5.0
    """Over how long it is looked at."""
    track_header: str = TRACK_HEADER
    allow: tuple[str, ...] = ()
    """Hosts beyond loopback that a user's locustfile may load."""
    expected: tuple[int, ...] = ()
    """Statuses of 400 to 499 that are no failures."""
    workdir: Path | None = None
    """Where a user's locustfile runs; None for the requests above."""
    seed: int = 1
    parent: int = 0
    """The process whose end ends the load; 0 for none."""
    folder: Path = Path()
    """Where counts are written."""


def base_folder(folder: Path) -> Path:
    """Where the counts of the base are written."""
    return folder / "base"


def counts_file(folder: Path, process: int) -> Path:
    """Where one process writes its counts."""
    return folder / f"counts-{process}.json"


def windows_file(folder: Path, process: int) -> Path:
    """Where one process writes its counts over time."""
    return folder / f"windows-{process}.jsonl"


def pace_file(folder: Path) -> Path:
    """Where the processes find a new pace."""
    return folder / "pace.json"
