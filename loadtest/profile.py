"""The profile of a load test: what a person writes in `loadtest.yaml`, validated."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, ValidationInfo, model_validator

from loadtest.allowed_targets import HIGHEST_RATE, checked_target
from loadtest.load_spec import TRACK_HEADER
from loadtest.locust_options import LocustOptions
from loadtest.schedule import Stages, peak
from loadtest.shapes import Constant, ProfileSection, Rate, Shape, Time
from rollout.criteria import Latency
from rollout.document import mistakes, read_mapping, shown
from rollout.errors import PlanError
from rollout.load import is_health_check
from rollout.quantities import Duration, Effect, Ratio, format_duration

SCHEMA = "docs/loadtest.schema.json"
MOST_USERS, MOST_PROCESSES, MOST_BODY_BYTES = 10_000, 16, 1_000_000
_FEWEST_WINDOWS, _MOST_WINDOWS = 20, 600
"""Stretches of time that a run is recorded in: enough for intervals, and for a page-wide chart."""

DisplayName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
HeaderValue = Annotated[str, Field(pattern=r"^[\x20-\x7e]{0,4000}$")]
Headers = dict[HeaderName, HeaderValue]


class Model(StrEnum):
    """Whether arrivals depend on the answers."""

    OPEN = "open"
    """Requests arrive at their rate, however slow the service is."""
    CLOSED = "closed"
    """So many users, each waiting for its answer: a slow service is asked less."""


class Arrivals(StrEnum):
    """How requests of the open model are spaced."""

    EVEN = "even"
    POISSON = "poisson"


class Method(StrEnum):
    """What may be sent."""

    GET = "GET"
    HEAD = "HEAD"
    OPTIONS = "OPTIONS"
    POST = "POST"
    PUT = "PUT"
    PATCH = "PATCH"
    DELETE = "DELETE"


class Endpoint(ProfileSection):
    """One kind of request."""

    name: DisplayName | None = Field(default=None, description="What reports call it; method and path unless said.")
    method: Method = Method.GET
    path: Annotated[str, Field(pattern=r"^/[\x21-\x7e]*$", max_length=4000)] = Field(
        description="Path and query, percent-encoded, after the URL's own."
    )
    weight: float = Field(default=1.0, gt=0, le=1e6, strict=True, description="Its share against the other endpoints'.")
    headers: Headers = Field(default={})
    body: str | None = Field(default=None, max_length=MOST_BODY_BYTES)
    body_file: str | None = Field(default=None, description="File with the body, beside the profile.")

    @model_validator(mode="after")
    def _body_is_there(self, info: ValidationInfo) -> Self:
        if self.body is not None and self.body_file is not None:
            raise ValueError("body_file: got it together with body, allowed: one of the two")
        self.content((info.context or {}).get("folder", Path()))
        return self

    def content(self, folder: Path) -> str | None:
        """Return the body, read from its file where it has one."""
        if self.body_file is None:
            return self.body
        try:
            text = (folder / self.body_file).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "no text"
            raise ValueError(
                f"body_file: got {self.body_file!r} ({reason}), allowed: a text file that exists"
            ) from None
        if len(text) > MOST_BODY_BYTES:
            raise ValueError(f"body_file: got {len(text):,} characters, allowed: at most {MOST_BODY_BYTES:,}")
        return text

    @property
    def title(self) -> str:
        """What reports call it."""
        return self.name or (self.path if self.method is Method.GET else f"{self.method} {self.path}")

    @property
    def is_health_check(self) -> bool:
        """Whether it only asks if the service is there."""
        return self.method in (Method.GET, Method.HEAD) and is_health_check(self.path)


class Think(ProfileSection):
    """How long a user of the closed model waits between an answer and the next request."""

    least: Duration = timedelta(0)
    most: Duration

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most < self.least:
            raise ValueError(f"most is {format_duration(self.most)}, allowed: {format_duration(self.least)} or more")
        return self


class BackOff(ProfileSection):
    """When the load is halved, so that the test is not the outage."""

    above: Ratio = Field(default=0.5, description="Share of failed requests that is a service melting.")
    over: Time = Field(default=timedelta(seconds=5), description="Over how long it is looked at.")


class LoadCriteria(ProfileSection):
    """What has to hold for the test to pass. Percentiles without a limit are reported, not judged."""

    success_above: Ratio = Field(default=0.995, description="Share of requests that are no errors.")
    errors_below: Ratio = Field(
        default=0.001, description="Share of errors: a status of 500 or more, or no whole answer."
    )
    client_errors_below: Ratio | None = Field(
        default=None, description="Share of 4xx answers that are not expected; default: 1 - success_above."
    )
    mean_below: Latency | None = timedelta(milliseconds=200)
    p95_below: Latency | None = None
    p99_below: Latency | None = None
    throughput_above: Ratio | None = Field(
        default=0.99, description="Successful answers as a share of the requests asked for."
    )
    headroom_above: Effect | None = Field(
        default=None, description="By how much the capacity found has to exceed the rate; with --find-capacity."
    )
    slower_below: Effect = Field(
        default=0.1, description="A smaller difference from the last accepted run is let pass."
    )


class LoadProfile(ProfileSection):
    """A whole load test."""

    name: DisplayName | None = Field(default=None, description="What reports call the test.")
    url: str | None = Field(default=None, description="Where to send requests; a loopback address or an allowed host.")
    allow: tuple[DisplayName, ...] = Field(
        default=(), description="Hosts beyond loopback that may be loaded: shop.test:8080."
    )
    model: Model = Model.OPEN
    arrivals: Arrivals = Arrivals.EVEN
    rate: Rate | None = Field(
        default=None, description="Requests a second; of the closed model, what is to be reached."
    )
    duration: Time = timedelta(seconds=30)
    shape: Shape = Constant()
    ceiling: Rate = Field(default=float(HIGHEST_RATE), description="Requests a second that no shape or search passes.")
    users: int | None = Field(default=None, ge=1, le=MOST_USERS, strict=True, description="Of the closed model.")
    think: Think | None = None
    processes: int = Field(
        default=1, ge=1, le=MOST_PROCESSES, strict=True, description="Above 1: a master and workers."
    )
    timeout: Latency = Field(default=timedelta(seconds=15), description="When a request without answer has failed.")
    headers: Headers = Field(default={}, description="Sent with every request, such as the testers' x-canary: always.")
    track_header: HeaderName = Field(default=TRACK_HEADER, description="The answer's header that names its track.")
    endpoints: tuple[Endpoint, ...] = Field(default=(), max_length=100)
    locustfile: str | None = Field(default=None, description="A locustfile of your own, in place of endpoints.")
    locust: LocustOptions = Field(default=LocustOptions(), description="How that locustfile is run.")
    expected_statuses: tuple[Annotated[int, Field(ge=400, le=499, strict=True)], ...] = Field(
        default=(), description="Statuses of 400 to 499 that the test provokes: they are no client errors."
    )
    back_off: BackOff = BackOff()
    criteria: LoadCriteria = LoadCriteria()
    seed: int = Field(default=1, ge=0, strict=True)

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        if self.url is not None:
            self._check_url(self.url)
        folder = (info.context or {}).get("folder", Path())
        if self.locustfile is not None:
            self._check_locustfile(self.locustfile, folder)
        elif self.locust != LocustOptions():
            raise ValueError("locust: got it without locustfile, allowed: together with one")
        if self.model is Model.CLOSED and self.users is None:
            raise ValueError("users: missing, it has to be given when model is closed or a locustfile is named")
        if self.model is Model.OPEN and (self.users is not None or self.think is not None):
            raise ValueError(
                f"{'users' if self.users else 'think'}: got it with model open, allowed: with model closed"
            )
        if self.model is Model.CLOSED and not isinstance(self.shape, Constant):
            raise ValueError(f"shape: got {self.shape.kind!r} with model closed, allowed: with model open")
        names = [endpoint.title for endpoint in self.endpoints]
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"endpoints: two are called {twice[0]!r}, allowed: names of their own")
        if self.rate is not None:
            self._check_peak(self.rate)
        return self

    def _check_url(self, url: str) -> None:
        try:
            checked_target(url, self.allow)
        except PlanError as error:
            raise ValueError(f"url: {error}") from None

    def _check_locustfile(self, locustfile: str, folder: Path) -> None:
        if self.endpoints:
            raise ValueError("locustfile: got it together with endpoints, allowed: one of the two")
        if self.model is not Model.CLOSED:
            raise ValueError("locustfile: got it with model open, allowed: with model closed, and its users")
        if "\0" in locustfile or not locustfile.endswith(".py") or not (folder / locustfile).is_file():
            raise ValueError(f"locustfile: got {shown(locustfile)}, allowed: a file that exists, with a name in .py")
        if "," in str((folder / locustfile).absolute()):
            raise ValueError(
                f"locustfile: got {shown(locustfile)}, allowed: a path without a comma, which Locust would split at"
            )
        workdir = self.locust.workdir
        if workdir is not None and ("\0" in workdir or not (folder / workdir).is_dir()):
            raise ValueError(f"locust.workdir: got {shown(workdir)}, allowed: a folder that exists")

    def _check_peak(self, rate: float) -> None:
        highest = peak(self.stages(rate))
        if highest > self.ceiling:
            raise ValueError(f"ceiling is {self.ceiling:g}, allowed: the highest rate asked for ({highest:g}) or more")

    def stages(self, rate: float) -> Stages:
        """Return the rate over time."""
        return self.shape.stages(rate, self.duration.total_seconds())

    @property
    def client_errors_below(self) -> float:
        """The share of 4xx answers that is let pass."""
        limit = self.criteria.client_errors_below
        return 1 - self.criteria.success_above if limit is None else limit

    @property
    def is_only_a_health_check(self) -> bool:
        """Whether it asks nothing that could be evidence on the service."""
        return bool(self.endpoints) and all(endpoint.is_health_check for endpoint in self.endpoints)

    @property
    def window_seconds(self) -> float:
        """Length of the stretches that the run is recorded in."""
        seconds = self.duration.total_seconds()
        return max(seconds / _MOST_WINDOWS, min(1.0, seconds / _FEWEST_WINDOWS))


def parse_profile(text: str, *, source: str = "profile", folder: Path = Path(), **instead: Any) -> LoadProfile:
    """Return the profile that YAML text holds.

    Parameters
    ----------
    text
        The content of a `loadtest.yaml`.
    source
        What to call the text in an error, usually the file's name.
    folder
        Where its files are looked for.
    instead
        Values that replace the text's own.

    Raises
    ------
    PlanError
        One line a mistake: field, value, what is allowed.
    """
    data = read_mapping(text, source=source, keys="rate, duration, endpoints")
    return validate_profile(data | instead, source=source, folder=folder)


def validate_profile(data: dict[str, Any], *, source: str = "profile", folder: Path = Path()) -> LoadProfile:
    """Return the profile that plain data holds; see `parse_profile`."""
    try:
        return LoadProfile.model_validate(data, context={"folder": folder})
    except ValidationError as error:
        raise PlanError(mistakes(error, source=source, schema=SCHEMA, whole=LoadProfile)) from error


def profile_schema() -> dict[str, Any]:
    """Return the JSON schema of `loadtest.yaml`."""
    return LoadProfile.model_json_schema()
