"""What the API server refuses, in the rollout's own words: what was tried, what was seen, what to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from kubernetes.client import ApiException
from urllib3.exceptions import (
    HTTPError,
    MaxRetryError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    SSLError,
    TimeoutError,
)

from rollout.errors import ConflictError, PlanError, RolloutError, SetupError, UnavailableError

ROLE_FILE: Final = "manifests/permissions/role.yaml"
NO_ANSWER: Final = 0
_MAY_SUCCEED_LATER: Final = frozenset({NO_ANSWER, 408, 410, 429, *range(500, 600)})
"""410: what the request refers to was compacted away in the meantime."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as an error names it."""

    verb: str
    resource: str
    """Plural with its group, such as `virtualservices.networking.istio.io`."""
    name: str
    """Namespace and name, or the namespace alone."""
    file: str
    """The file that creates the object, or its kind."""

    def __str__(self) -> str:
        return f"{self.verb} {self.resource} {self.name}"


class MissingError(SetupError):
    """The object, or its kind, is not there."""


class ForbiddenError(SetupError):
    """Our account may not do this."""


def is_passing(error: ApiException | HTTPError) -> bool:
    """Return whether the same call may succeed later."""
    return isinstance(error, HTTPError) or error.status in _MAY_SUCCEED_LATER


def asked_to_wait(error: ApiException | HTTPError) -> float:
    """Return the seconds until the next attempt, by the server's `Retry-After`; 0 unless it names some."""
    headers = {} if isinstance(error, HTTPError) else error.headers or {}
    seconds = headers.get("Retry-After") or ""
    return float(seconds) if seconds.isascii() and seconds.isdigit() else 0.0


def translated(error: ApiException | HTTPError, asked: Asked) -> RolloutError:
    """Return the error of ours that says what a vendor's error means for the rollout."""
    if isinstance(error, HTTPError):
        return UnavailableError(f"{asked}: no answer: {describe_loss(error)}")
    said = message_of(error)
    match error.status:
        case 401:
            return SetupError(f"{asked}: not authenticated; renew the kubeconfig's or ServiceAccount's token")
        case 403:
            return ForbiddenError(
                f"{asked}: not allowed; the Role in {ROLE_FILE} grants {asked.verb} on {asked.resource}: {said}"
            )
        case 404:
            return MissingError(f"{asked}: not found: {said}; {asked.file} creates it")
        case 409 | 422:
            return ConflictError(f"{asked}: conflict: {said}")
        case status if status in _MAY_SUCCEED_LATER:
            wait = asked_to_wait(error)
            when = f"; the server asks to wait {wait:g} s" if wait else ""
            return UnavailableError(f"{asked}: no answer: {status} {said}{when}")
        case status:
            return PlanError(f"{asked}: refused with {status}: {said}")


def describe_loss(error: HTTPError) -> str:
    """Return how an answer was lost, in the same words each time: no address of an object, no time limit in it."""
    cause = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    match cause:
        case NameResolutionError():
            return "the server's name is not known"
        case NewConnectionError():
            return f"not connected: {str(cause).rpartition(': ')[2]}"
        case TimeoutError():
            return "not in time"
        case SSLError():
            return f"TLS: {' '.join(str(cause).split())[:200]}"
        case ProtocolError():
            return "the connection was lost"
        case _:
            return type(cause).__name__


def message_of(error: ApiException) -> str:
    """Return what the server said, in one short line, whatever kind of body it sent."""
    try:
        said = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        said = ""  # a proxy's page says nothing that helps
    said = said or error.reason or "no reason given"
    return " ".join(str(said).split())[:300]
