"""How the service answers the next request, whatever the protocol: how long it takes, and how it fails."""

from __future__ import annotations

import asyncio
import math
import os
import random
import time
from dataclasses import dataclass

from sample.faults import Failure, Fault, parse_fault, parse_noise

FASTEST, MEDIAN, SLOWEST, SIGMA = 0.020, 0.034, 0.060, 0.25
"""Latency in seconds: lognormal with this median and spread, kept between the two ends."""
NONE = Fault("")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who answers."""

    service: str
    track: str
    version: str
    pod: str

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The answer's headers that name track, version and pod."""
        return [(f"x-canary-{name}", getattr(self, name)) for name in ("track", "version", "pod")]


class Switch:
    """The fault that is on, and until when (seconds since the epoch)."""

    def __init__(self) -> None:
        self._fault, self._until = NONE, math.inf

    def turn(self, text: str, until: float | None) -> None:
        """Put a fault on, or with empty text off. A crash happens here and now."""
        self._fault = parse_fault(text) if text else NONE
        self._until = math.inf if until is None else until
        if self.fault.crash:
            os._exit(1)

    @property
    def fault(self) -> Fault:
        """The fault that is on now."""
        return self._fault if time.time() < self._until else NONE


class Behaviour:
    """The latency and the failures of one pod's answers, drawn from a seed.

    Parameters
    ----------
    identity
        The pod.
    seed
        What it draws from, together with the pod's name.
    noise
        A fault that is always on, such as `404=10%`; empty for none.
    """

    def __init__(self, identity: Identity, *, seed: str = "0", noise: str = "") -> None:
        self.identity = identity
        self.switch = Switch()
        self._noise = parse_noise(noise) if noise else NONE
        self._draw = random.Random(f"{seed}/{identity.pod}")

    async def wait(self) -> Fault | None:
        """Return what this answer fails by, once as much time has passed as the answer takes."""
        fault = self.switch.fault
        seconds = self._latency(fault)
        failed = self._failed(self._noise, fault)
        if failed is None or failed.failure is not Failure.STATUS:
            await asyncio.sleep(seconds)
        return failed

    def _failed(self, *faults: Fault) -> Fault | None:
        return next((fault for fault in faults if self._draw.random() < fault.share), None)

    def _latency(self, fault: Fault) -> float:
        seconds = min(max(self._draw.lognormvariate(math.log(MEDIAN), SIGMA), FASTEST), SLOWEST)
        if fault.latency is not None:
            return seconds * fault.latency.total_seconds() / MEDIAN
        return seconds * (1 + fault.slower)
