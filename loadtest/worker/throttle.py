"""Backing off when the service is melting, so that the test is not the outage. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

LEAST_SHARE = 1 / 64
LEAST_REQUESTS = 20
"""Answers that a look needs before their errors mean anything."""


@dataclass(slots=True)
class Throttle:
    """The share of the due requests that is really sent: halved at each look that saw too many errors.

    `above` is the error share (0-1) that is too many; 1 or more never backs off.
    """

    above: float
    share: float = 1.0
    requests: int = 0
    failures: int = 0

    def record(self, *, failed: bool) -> None:
        """Count one answer."""
        self.requests += 1
        self.failures += failed

    def adjust(self) -> float | None:
        """Return the error share if it made the throttle close further, else None; the counts start anew.

        After a calm look it opens again, by half of what is sent.
        """
        requests, failures, self.requests, self.failures = self.requests, self.failures, 0, 0
        melting = requests >= LEAST_REQUESTS * self.share and failures > self.above * requests
        self.share = max(self.share / 2, LEAST_SHARE) if melting else min(self.share * 1.5, 1.0)
        return failures / requests if melting else None

    def admits(self, number: int) -> bool:
        """Return whether the due request of this number is sent."""
        return self.share >= 1 or math.floor((number + 1) * self.share) > math.floor(number * self.share)
