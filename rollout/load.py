"""Synthetic load during a rollout: what a plan may ask for, and what its clients counted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, model_validator

from rollout.criteria import Part

_HEALTH_CHECK = re.compile(r"^/(-/)?(health|healthy|healthz|live|livez|ready|readyz|ping|status|up)/?$")
_OF_TRACK = ": "
NOBODY = "none"
"""The track of a request that no copy of the service answered."""
LoadRate = Annotated[float, Field(gt=0, le=5000)]
UrlPath = Annotated[str, Field(pattern=r"^/[\x21-\x7e]*$", max_length=4000)]


def failure_key(track: str, kind: str) -> str:
    """Return the name under which failed requests are counted, by who answered and what went wrong.

    >>> failure_key("none", "status 503")
    'none: status 503'
    """
    return f"{track}{_OF_TRACK}{kind}"


def parse_failure_key(key: str) -> tuple[str, str]:
    """Return track and kind of a `failure_key`; the track is empty where many kinds were counted as one.

    >>> parse_failure_key("canary: status 500"), parse_failure_key("other")
    (('canary', 'status 500'), ('', 'other'))
    """
    track, separator, kind = key.partition(_OF_TRACK)
    return (track, kind) if separator else ("", key)


def unanswered_kinds(failures: Mapping[str, int]) -> dict[str, int]:
    """Return by kind the failures that no copy of the service answered, given all by `failure_key`."""
    parsed = ((*parse_failure_key(key), number) for key, number in failures.items())
    return {kind: number for track, kind, number in parsed if track == NOBODY and number}


def is_health_check(path: str) -> bool:
    """Return whether a path only asks if the service is there: no evidence on the service itself.

    >>> is_health_check("/healthz?verbose=1"), is_health_check("/cart")
    (True, False)
    """
    return bool(_HEALTH_CHECK.match(path.split("?")[0]))


class LoadMode(StrEnum):
    """When synthetic requests are sent."""

    OFF = "off"
    TOP_UP = "top-up"
    """As many as the decision still needs, beside the real traffic."""
    CONSTANT = "constant"


def _mode(value: object) -> object:
    return "off" if value is False else value  # YAML reads a bare `off` as false


class LoadPlan(Part):
    """Synthetic load beside the real traffic; its share in the evidence is told."""

    mode: Annotated[LoadMode, BeforeValidator(_mode)] = Field(
        default=LoadMode.OFF, description="When synthetic requests are sent; top-up: as many as are still missing."
    )
    rate: LoadRate = Field(default=50.0, description="Requests a second of the mode constant.")
    ceiling: LoadRate = Field(default=200.0, description="Requests a second that the mode top-up never passes.")
    paths: tuple[UrlPath, ...] = Field(default=("/",), description="What is asked for, in equal shares.")
    headers: dict[str, str] = Field(default={}, description="Sent with every request.")
    url: str = Field(default="", description="The gateway; unless said, the embedded backend's own.")
    allow: tuple[str, ...] = Field(default=(), description="Hosts beyond loopback that may be loaded: shop.test:8080.")

    @model_validator(mode="after")
    def _is_evidence(self) -> Self:
        if not self.paths or all(is_health_check(path) for path in self.paths):
            raise ValueError(
                f"paths is {list(self.paths)}, allowed: paths that do the service's work; "
                "a health check is no evidence on it"
            )
        return self


@dataclass(frozen=True, slots=True)
class ClientCounts:
    """What synthetic clients have counted since the load began, by the track that answered."""

    requests: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    """Answers with a status of 500 or more, and requests that were not answered."""
    sums_ms: Mapping[str, float] = field(default_factory=dict)
    latencies_ms: Mapping[str, Mapping[float, int]] = field(default_factory=dict)
    """How many requests took about so many milliseconds, right within 1 %."""
    kinds: Mapping[str, int] = field(default_factory=dict)
    """Failures by `failure_key`."""
