"""What a load test found: the validation report's only input, as JSON."""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from rollout.errors import PlanError
from rollout.model import Outcome
from rollout.verdict_entries import FindingEntry


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")


class Latencies(_Entry):
    """Latencies in milliseconds, from the moment a request was due; right within 1 %."""

    mean: float
    p50: float
    p90: float
    p95: float
    p99: float
    p999: float


class EndpointCounts(_Entry):
    """What was counted of an endpoint, a track, or all together."""

    endpoint: str
    track: str
    requests: int
    failures: int
    """Errors and client errors together."""
    client_errors: int = 0
    """4xx answers that were not expected; see `rollout.answers`."""
    latency: Latencies | None = None


class TimelinePoint(_Entry):
    """A stretch of the run: rates in requests a second, latencies in milliseconds of what was answered in it."""

    seconds: float
    """Its middle, since the first request was due."""
    asked: float
    sent: float
    answered: float
    failures: int
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


class Bar(_Entry):
    """A column of the histogram of latencies."""

    up_to_ms: float
    requests: int


class Comparison(_Entry):
    """The run beside the last accepted one, or beside the base that was loaded in turns with it."""

    with_run: str
    """When the accepted one was; empty for a base in the same run."""
    other_machine: str = ""
    """Where the accepted one was made, if not where this one was."""
    against: str = ""
    """Where the base answers; empty for an accepted run."""
    base: EndpointCounts | None = None
    """What was counted of the base."""
    outcome: Outcome
    findings: tuple[FindingEntry, ...]


class CapacityStep(_Entry):
    """One rate of a search for the capacity."""

    rate: float
    reached: float
    outcome: Outcome
    reason: str


class Capacity(_Entry):
    """The highest rate that met the criteria, in requests a second; None when none did."""

    rate: float | None
    bounded_by: str
    """Why it was not searched further up."""
    stairs: tuple[CapacityStep, ...]


class ValidationResult(_Entry):
    """One load test, judged."""

    schema_version: Literal[1] = 1
    name: str
    url: str
    began: AwareDatetime
    ended: AwareDatetime
    description: str
    """The load in words: model, arrivals, shape, processes."""
    machine: str = ""
    """Where the load came from."""
    settings: str
    """What has to be the same for two runs to be compared: a digest of url, requests, shape and rate."""
    outcome: Outcome
    reason: str
    findings: tuple[FindingEntry, ...]
    """The failed ones first."""
    asked: float | None
    """Requests a second."""
    reached: float
    """Successful answers a second: all but errors, see `rollout.answers`."""
    seconds: float
    sent: int
    total: EndpointCounts
    abandoned: int
    """Requests without an answer when the run ended; they count as errors."""
    held_back: int
    """Requests that were due and not sent, because the service was melting."""
    lateness_p99_ms: float | None
    counted: tuple[EndpointCounts, ...]
    """By endpoint and track."""
    errors: dict[str, int]
    """Failures by track and kind."""
    raised: dict[str, int] = {}
    """What tasks of a user's locustfile raised, by kind and place."""
    refused: dict[str, int] = {}
    """Requests of a user's locustfile that were not sent, by host."""
    course: tuple[TimelinePoint, ...]
    histogram: tuple[Bar, ...]
    batches: tuple[tuple[int, int, float], ...]
    """Requests, failures and summed latency in seconds of each stretch: what a later run is compared with."""
    notes: tuple[str, ...]
    """What was out of the ordinary."""
    comparison: Comparison | None = None
    capacity: Capacity | None = None


def dump_result(result: ValidationResult) -> str:
    """Return the result as JSON."""
    return result.model_dump_json(indent=1)


def parse_result(text: str, *, source: str = "validation") -> ValidationResult:
    """Return the result that JSON text holds, or raise PlanError naming the first field that does not fit."""
    try:
        return ValidationResult.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise PlanError(f"{source}: not a load-test result: {field}: {first['msg']}") from error
