"""How long pods are given to become ready."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from rollout.errors import UnavailableError
from rollout.model import Track
from rollout.plan import RolloutPlan
from rollout.ports import Workloads

READY_WITHIN: Final = timedelta(minutes=2)
"""Where neither the plan nor the platform says: a pod that takes longer is one that cannot start."""


def ready_within(plan: RolloutPlan, workloads: Workloads, track: Track) -> timedelta:
    """Return how long a track's pods may take: as the plan says, or the platform, or two minutes.

    Pods that take long are no fault: they load a model, they warm a cache. Those that cannot start say why, and are
    not waited for.
    """
    if plan.ready_within is not None:
        return plan.ready_within
    try:
        return workloads.ready_within(track) or READY_WITHIN
    except UnavailableError:
        return READY_WITHIN
