"""What the load's processes are told to do: written by the runner, read inside Locust."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from loadtest.schedule import Legs, steady

ORDER_VARIABLE = "CANARY_LOAD_ORDER"
"""Names the environment variable that holds the order's file."""
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


class LoadOrder(BaseModel):
    """A whole order."""

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
    legs: Legs = steady(1.0)
    arrivals: Literal["even", "poisson"] = "even"
    users: int = 0
    """Above 0 the model is closed: so many users, each waiting for its answer. Else it is open."""
    think_seconds: tuple[float, float] = (0.0, 0.0)
    processes: int = 1
    timeout_seconds: float = 20.0
    grace_seconds: float = 3.0
    """How long requests under way may take to be answered when the load is ended."""
    window_seconds: float = 1.0
    """How finely the run is kept over time; 0 for not at all."""
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
    """Where a user's locustfile runs; None for the order's own requests."""
    seed: int = 1
    parent: int = 0
    """The process whose end ends the load; 0 for none."""
    folder: Path = Path()
    """Where counts are kept."""


def base_folder(folder: Path) -> Path:
    """Where the counts of the base are kept."""
    return folder / "base"


def counts_file(folder: Path, process: int) -> Path:
    """Where one process keeps its counts."""
    return folder / f"counts-{process}.json"


def windows_file(folder: Path, process: int) -> Path:
    """Where one process keeps its counts over time."""
    return folder / f"windows-{process}.jsonl"


def pace_file(folder: Path) -> Path:
    """Where a new pace is left for the processes to take up."""
    return folder / "pace.json"
