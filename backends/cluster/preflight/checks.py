"""What has to hold before a rollout touches anything: a checklist, with what to do about each miss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backends.cluster.api.api_errors import MissingError
from backends.cluster.environment import World
from backends.cluster.preflight import Check as Check
from backends.cluster.preflight import Preflight
from backends.cluster.preflight.access import clock, kinds, kubernetes, no_other_rollout, permissions, quota
from backends.cluster.preflight.autoscaling import capacity
from backends.cluster.preflight.service_checks import (
    canary,
    counted_errors,
    gateways,
    mirror,
    own_metrics,
    resting_files,
    route,
    series,
    sidecars,
    split_at_rest,
    stable_pods,
    subsets,
)
from rollout.errors import RolloutError, UnavailableError
from rollout.plan import RolloutPlan


def checks(world: World, plan: RolloutPlan) -> tuple[Check, ...]:
    """Return the whole checklist. Reads only; a check that cannot be made is a miss, never an exception."""
    reached = tuple(_checks_of(kubernetes, world, plan))
    if not all(check.ok for check in reached):
        return reached
    return (*reached, *(check for preflight in _preflights(world) for check in _checks_of(preflight, world, plan)))


def _preflights(world: World) -> tuple[Preflight, ...]:
    mesh = (gateways,) if world.settings.kind == "VirtualService" else ()
    proxies = (sidecars,) if mesh and world.settings.profile == "istio" else ()
    return (
        clock,
        permissions,
        kinds,
        route,
        mirror,
        *mesh,
        *proxies,
        subsets,
        resting_files,
        stable_pods,
        canary,
        capacity,
        series,
        counted_errors,
        own_metrics,
        split_at_rest,
        no_other_rollout,
        quota,
    )


def _checks_of(preflight: Preflight, world: World, plan: RolloutPlan) -> Iterator[Check]:
    try:
        for check in preflight(world, plan):
            yield replace(check, fix="") if check.ok else check
    except RolloutError as error:
        yield Check(preflight.__name__.replace("_", " "), ok=False, detail=str(error), fix=_hint(error))


def _hint(error: RolloutError) -> str:
    if isinstance(error, UnavailableError):
        return "see that the server of the kubeconfig's context answers from here, or name another context"
    return "create what is missing, then ask again" if isinstance(error, MissingError) else "see what was found"
