"""The API server's errors as the rollout's own: what was tried, what was seen, what to do."""

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
_TRANSIENT: Final = frozenset({NO_ANSWER, 408, 410, 429, *range(500, 600)})
"""410: what the request refers to was compacted away in the meantime."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
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


def is_transient(error: ApiException | HTTPError) -> bool:
    """Return whether the same call may succeed later."""
    return isinstance(error, HTTPError) or error.status in _TRANSIENT


def retry_after_seconds(error: ApiException | HTTPError) -> float:
    """Return the seconds until the next attempt, by the server's `Retry-After`; 0 unless it names some."""
    headers = {} if isinstance(error, HTTPError) else error.headers or {}
    seconds = headers.get("Retry-After") or ""
    return float(seconds) if seconds.isascii() and seconds.isdigit() else 0.0


def translate_error(error: ApiException | HTTPError, request: ApiRequest) -> RolloutError:
    """Return the error of ours that says what a vendor's error means for the rollout."""
    if isinstance(error, HTTPError):
        return UnavailableError(f"{request}: no answer: {describe_connection_error(error)}")
    reason = message_of(error)
    match error.status:
        case 401:
            return SetupError(f"{request}: not authenticated; renew the kubeconfig's or ServiceAccount's token")
        case 403:
            return ForbiddenError(
                f"{request}: not allowed; the Role in {ROLE_FILE} grants {request.verb} on {request.resource}: {reason}"
            )
        case 404:
            return MissingError(f"{request}: not found: {reason}; {request.file} creates it")
        case 409 | 422:
            return ConflictError(f"{request}: conflict: {reason}")
        case status if status in _TRANSIENT:
            wait = retry_after_seconds(error)
            when = f"; the server asks to wait {wait:g} s" if wait else ""
            return UnavailableError(f"{request}: no answer: {status} {reason}{when}")
        case status:
            return PlanError(f"{request}: refused with {status}: {reason}")


def describe_connection_error(error: HTTPError) -> str:
    """Return how an answer was lost, the same text each time: no address of an object, no time limit in it."""
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
        message = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        message = ""  # a proxy's page says nothing that helps
    message = message or error.reason or "no reason given"
    return " ".join(str(message).split())[:300]
