"""Faults as a person writes them, `errors=5%`, `404` or `grpc-unavailable=20%`, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from rollout.errors import PlanError
from rollout.quantities import parse_duration, parse_percent

ALLOWED = (
    "errors=5%, latency=+50%, latency=800ms, crash-loop, outage, 404 or 404=50% (any status 400-599), cut-off=10%,"
    " reset=10%, grpc-unavailable=20% (any gRPC status)"
)
OUTAGE_ERRORS = 0.2
GRPC_PATH = "/canary.Sample/Get"
"""The one method of the service over gRPC."""
GRPC_STATUSES = {
    "cancelled": 1,
    "unknown": 2,
    "invalid-argument": 3,
    "deadline-exceeded": 4,
    "not-found": 5,
    "already-exists": 6,
    "permission-denied": 7,
    "resource-exhausted": 8,
    "failed-precondition": 9,
    "aborted": 10,
    "out-of-range": 11,
    "unimplemented": 12,
    "internal": 13,
    "unavailable": 14,
    "data-loss": 15,
    "unauthenticated": 16,
}
"""Number of each status but OK: https://grpc.io/docs/guides/status-codes."""
_STATUS = re.compile(r"[45][0-9][0-9]")


class Protocol(StrEnum):
    """What the service speaks."""

    HTTP = "http"
    GRPC = "grpc"


class Failure(StrEnum):
    """How an answer fails."""

    ERROR = "error"
    """HTTP 500, or gRPC INTERNAL, after the usual time."""
    STATUS = "status"
    """An HTTP status, at once: a lost route or login does no work."""
    CUT_OFF = "cut-off"
    """The connection is closed after half of the body."""
    RESET = "reset"
    """The connection is closed before the answer's first byte."""
    GRPC = "grpc"
    """A gRPC status in the trailers, after the usual time."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with each answer."""

    text: str
    """As it was written; `parse_fault(fault.text) == fault`."""
    share: float = 0.0
    """Share of answers that fail, 0-1."""
    failure: Failure = Failure.ERROR
    """How they fail."""
    code: int = 0
    """The status that a failed answer has: of HTTP for `STATUS`, of gRPC for `GRPC`."""
    slower: float = 0.0
    """Relative addition to the latency: 0.5 is +50 %."""
    latency: timedelta | None = None
    """The latency's new median, whatever it was."""
    crash: bool = False
    """The process ends at once, and again whenever it is started."""
    everywhere: bool = False
    """It is no fault of one version: it hits every track."""

    @property
    def protocol(self) -> Protocol | None:
        """The protocol that it needs; None where any will do."""
        match self.failure:
            case Failure.ERROR:
                return None
            case Failure.GRPC:
                return Protocol.GRPC
            case _:
                return Protocol.HTTP


def parse_fault(text: str) -> Fault:
    """Return the fault that text stands for.

    >>> parse_fault("latency=+50%").slower
    0.5
    >>> parse_fault("grpc-not-found").code
    5

    Raises
    ------
    PlanError
        Naming the value and what is allowed.
    """
    kind, equals, amount = text.strip().partition("=")
    try:
        match kind, bool(equals):
            case "errors", True:
                return Fault(text, share=_share(amount))
            case "latency", True if amount.startswith("+"):
                return Fault(text, slower=parse_percent(amount[1:]))
            case "latency", True:
                return Fault(text, latency=parse_duration(amount))
            case "crash-loop", False:
                return Fault(text, crash=True)
            case "outage", False:
                return Fault(text, share=OUTAGE_ERRORS, everywhere=True)
        if failure := _failure(kind):
            return Fault(text, _share(amount) if equals else 1.0, *failure)
    except ValueError as error:
        raise PlanError(f"fault.{kind}: got {amount!r}, {error}") from error
    raise PlanError(f"fault: got {text!r}, allowed: {ALLOWED}")


def parse_noise(text: str) -> Fault:
    """Return the fault that every version has all the time, such as `404=10%`.

    Raises
    ------
    PlanError
        When it is no fault, or not one that lets the service go on.
    """
    noise = parse_fault(text)
    if noise.crash or noise.everywhere or not noise.share:
        raise PlanError(f"noise: got {text!r}, allowed: a share of failed answers, such as 404=10% or errors=0.1%")
    return noise


def protocol_of(*faults: str, wanted: str = "") -> Protocol:
    """Return the protocol that the service has to speak for these faults: HTTP unless wanted or needed otherwise.

    Raises
    ------
    PlanError
        When they need another than is wanted, or not all the same.
    """
    needs = {text: need for text in faults if (need := parse_fault(text).protocol)}
    protocol = Protocol(wanted) if wanted else next(iter(needs.values()), Protocol.HTTP)
    for text, need in needs.items():
        if need is not protocol:
            raise PlanError(f"fault: got {text!r} for a service that speaks {protocol}, allowed: with protocol {need}")
    return protocol


def _failure(kind: str) -> tuple[Failure, int] | None:
    """Return how answers fail and their status, when this kind of fault is one of failed answers."""
    if kind in ("cut-off", "reset"):
        return Failure(kind), 0
    if _STATUS.fullmatch(kind):
        return Failure.STATUS, int(kind)
    if status := GRPC_STATUSES.get(kind.removeprefix("grpc-")) if kind.startswith("grpc-") else None:
        return Failure.GRPC, status
    return None


def _share(text: str) -> float:
    if not 0 < (ratio := parse_percent(text)) <= 1:
        raise ValueError("allowed: a share above 0%, at most 100%")
    return ratio
