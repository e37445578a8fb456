"""The profile of a source: what a person writes in `backends/profiles/*.yaml`, or in a file beside the plan."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, Self

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, StringConstraints, model_validator

from backends.profiles.template import check_template
from rollout.criteria import Part
from rollout.document import shown

VIEWERS: Final = ("job", "replica", "prometheus", "prometheus_replica", "__replica__", "receive_replica")
"""Labels of who scraped, as Prometheus, its operator, Thanos and Mimir set them."""
_UNITS: Final = {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1000.0}


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _template(text: str) -> str:
    check_template(text)
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A metric or a label; Prometheus 3 takes any UTF-8 text."""
Value = Annotated[str, StringConstraints(max_length=500, pattern=r"^[^\x00-\x1f\x7f]*$")]
Names = Annotated[tuple[Name, ...], BeforeValidator(_listed)]
"""Labels; of several the first that a series has counts."""
Values = Annotated[tuple[Value, ...], BeforeValidator(_listed)]
Templates = Annotated[tuple[Annotated[Value, AfterValidator(_template)], ...], BeforeValidator(_listed)]
"""Values in which `{service}`, `{namespace}`, `{version}`, `{track}`, `{destination}` (the track's own Service) and
`{subset}` are filled in; `{port}` is a number, or a name without dashes, and `*` is anything."""
Matchers = dict[Name, Values]


class Status(Part):
    """Where it stands how requests were answered."""

    label: Names = Field(description="Label of the HTTP status, or of its class: 2, 2xx.")
    missing: Value = Field(default="", description="The status where the label is missing: 0 where no answer came.")
    flags: Names = Field(default=(), description="Label of the proxy's flags, such as Envoy's.")
    grpc: Names = Field(default=(), description="Label of the gRPC status, by number or name.")


class Identity(Part):
    """A label that a service's series have."""

    label: Names = Field(description="The label; of several the first that a series has.")
    value: Templates = Field(min_length=1, description="What it says.")


class TrackLabel(Part):
    """The label that tells the tracks apart."""

    label: Names = Field(description="The label; of several the first that a series has.")
    value: Templates = Field(default=(), description="What it says of a track.")
    stable: Templates = Field(default=(), description="What it says of stable, where that is of another form.")
    canary: Templates = Field(default=(), description="What it says of the canary, where that is of another form.")
    unknown: Values = Field(default=(), description="What it says of requests that found no pod.")

    @property
    def templates(self) -> tuple[str, ...]:
        """What it says of any track."""
        return (*self.value, *self.stable, *self.canary)

    @model_validator(mode="after")
    def _says_all(self) -> Self:
        if not self.value and not (self.stable and self.canary):
            raise ValueError("value: missing, allowed: value, or stable and canary")
        return self


class PodView(Part):
    """What the pods themselves counted: the same requests once more."""

    where: Matchers = Field(min_length=1, description="Labels of such a series, and their values.")
    label: Names = Field(description="Label of the pod's name.")


class Profile(Part):
    """Where a source has requests, statuses, durations and the track."""

    model_config = ConfigDict(title="A source's profile")

    description: str = Field(description="What counts.")
    requests: Name | None = Field(
        default=None, description="The counter of requests; the count of `durations` unless said."
    )
    durations: Name = Field(description="The histogram of durations, without _bucket.")
    unit: Literal["ns", "us", "ms", "s"] = Field(description="The unit of durations.")
    status: Status = Field(description="Where it stands how requests were answered.")
    service: Identity | None = Field(default=None, description="Where it stands whose requests they were.")
    namespace: Names = Field(default=(), description="Label of the service's namespace.")
    track: TrackLabel = Field(description="Where it stands which version answered.")
    where: Matchers = Field(default={}, description="Labels that every series must have, and their values.")
    without: Matchers = Field(default={}, description="Labels of series to leave out, and their values.")
    verdict: Matchers = Field(default={}, description="Labels of the series that are judged; all others unless said.")
    pods: PodView | None = Field(default=None, description="What the pods themselves counted, where that is exported.")
    own: tuple[Name, ...] = Field(
        default=(),
        description="Further labels of the series themselves, `*` for any end; all others name what was scraped.",
    )
    viewers: tuple[Name, ...] = Field(
        default=VIEWERS, description="Labels of who scraped: two that differ in these alone read the same proxy."
    )
    edges: tuple[Annotated[float, Field(gt=0)], ...] = Field(
        default=(),
        description="Edges that a native histogram is read at, in `unit`; powers of two unless said.",
    )
    fallback: str = Field(default="", description="The profile to read where a server has no series of this one.")

    @property
    def to_ms(self) -> float:
        """What a duration is multiplied by to be in ms."""
        return _UNITS[self.unit]

    @property
    def counter(self) -> str:
        """The name of what counts requests."""
        return self.requests or f"{self.durations}_count"

    @property
    def buckets(self) -> str:
        """The name of the classic histogram's buckets."""
        return f"{self.durations}_bucket"

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"edges is {shown(list(self.edges))}, allowed: numbers that grow")
        return self
