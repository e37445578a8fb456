"""Mirroring: the canary gets copies of live requests, and nobody its answers."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final

from analysis.scrapes.reading import counted_by_pods
from conductor.state.rollout_run import Run
from conductor.watch import watch_until
from rollout.decide import RollBack
from rollout.errors import NoSamplesError, UnavailableError
from rollout.events import TrafficMirrored
from rollout.formatting import format_ratio
from rollout.model import Track
from rollout.plan import Mirror

LEAST_REQUESTS: Final = 200
SIGMAS: Final = 3.29
"""The one look at the copies has a false alarm once in 2,000 rollouts, by the normal approximation."""


def mirror(run: Run, asked: Mirror) -> RollBack | None:
    """Copy live requests to the canary for a while, and return the reason to stop if there is one.

    The canary's pods are watched as ever; of the answers, only what the pods themselves count is known, and it is
    looked at once, at the end: copies are no evidence for a promotion.
    """
    began = run.ports.clock.now()
    run.ports.router.set_mirror(asked.share)
    end = began + asked.bake
    stop = watch_until(run, lambda: run.ports.clock.now() >= end, timeout=2 * asked.bake)
    requests, errors = _counted(run, began)
    run.ports.router.set_mirror(0)
    now = run.ports.clock.now()
    seconds = (now - began).total_seconds()
    run.note(TrafficMirrored(at=now, share=asked.share, seconds=seconds, requests=requests, errors=errors))
    return stop if isinstance(stop, RollBack) else _too_many(run, requests, errors)


def _counted(run: Run, since: datetime) -> tuple[int, int]:
    try:
        return counted_by_pods(run.ports.metrics.read(since), Track.CANARY)
    except (UnavailableError, NoSamplesError):
        return 0, 0


def _too_many(run: Run, requests: int, errors: int) -> RollBack | None:
    limit = run.plan.criteria.errors.rollback_above
    if requests < LEAST_REQUESTS or errors <= requests * limit + SIGMAS * math.sqrt(requests * limit * (1 - limit)):
        return None
    share = format_ratio(errors / requests)
    return RollBack(f"mirror: {share} of {requests:,} copied requests failed, allowed {format_ratio(limit)}")
