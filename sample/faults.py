"""Faults as a person writes them, `errors=5%` or `latency=800ms`, as values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from rollout.errors import PlanError
from rollout.quantities import parse_duration, parse_percent

ALLOWED = "errors=5%, latency=+50%, latency=800ms, crash-loop, outage"
OUTAGE_ERRORS = 0.2


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong with each answer."""

    text: str
    """As it was written; `parse_fault(fault.text) == fault`."""
    errors: float = 0.0
    """Share of answers that are HTTP 500, 0-1."""
    slower: float = 0.0
    """Relative addition to the latency: 0.5 is +50 %."""
    latency: timedelta | None = None
    """The latency's new median, whatever it was."""
    crash: bool = False
    """The process ends at once, and again whenever it is started."""
    everywhere: bool = False
    """It is no fault of one version: it hits every track."""


def parse_fault(text: str) -> Fault:
    """Return the fault that text stands for.

    >>> parse_fault("latency=+50%").slower
    0.5

    Raises
    ------
    PlanError
        Naming the value and what is allowed.
    """
    kind, equals, amount = text.strip().partition("=")
    try:
        match kind, bool(equals):
            case "errors", True:
                return Fault(text, errors=_share(amount))
            case "latency", True if amount.startswith("+"):
                return Fault(text, slower=parse_percent(amount[1:]))
            case "latency", True:
                return Fault(text, latency=parse_duration(amount))
            case "crash-loop", False:
                return Fault(text, crash=True)
            case "outage", False:
                return Fault(text, errors=OUTAGE_ERRORS, everywhere=True)
    except ValueError as error:
        raise PlanError(f"fault.{kind}: got {amount!r}, {error}") from error
    raise PlanError(f"fault: got {text!r}, allowed: {ALLOWED}")


def _share(text: str) -> float:
    if not 0 < (ratio := parse_percent(text)) <= 1:
        raise ValueError("allowed: a share above 0%, at most 100%")
    return ratio
