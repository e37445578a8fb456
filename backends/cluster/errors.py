"""What the API server refuses, in the rollout's own words: what was tried, what was seen, what to do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from kubernetes.client import ApiException
from urllib3.exceptions import HTTPError

from rollout.errors import ConflictError, PlanError, RolloutError, SetupError, UnavailableError

ROLE_FILE: Final = "manifests/permissions/role.yaml"
NO_ANSWER: Final = 0
_MAY_SUCCEED_LATER: Final = frozenset({NO_ANSWER, 408, 429, *range(500, 600)})


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


def translated(error: ApiException | HTTPError, asked: Asked) -> RolloutError:
    """Return the error of ours that says what a vendor's error means for the rollout."""
    if isinstance(error, HTTPError):
        return UnavailableError(f"{asked}: no answer: {type(error).__name__}: {str(error)[:200]}")
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
            return UnavailableError(f"{asked}: no answer: {status} {said}")
        case status:
            return PlanError(f"{asked}: refused with {status}: {said}")


def message_of(error: ApiException) -> str:
    """Return what the server said, in one short line, whatever kind of body it sent."""
    try:
        said = json.loads(error.body or "")["message"]
    except (ValueError, KeyError, TypeError):
        said = error.reason or "no reason given"  # a proxy's page says nothing that helps
    return " ".join(str(said).split())[:300]
