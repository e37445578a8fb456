"""What has to hold before a rollout touches anything: a checklist, with what to do about each miss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from backends.cluster.api.api_errors import MissingError
from backends.cluster.environment import World
from backends.cluster.preflight.access import clock, kinds, kubernetes, no_other_rollout, permissions, quota
from backends.cluster.preflight.autoscaling import capacity
from backends.cluster.preflight.checklist import Check as Check
from backends.cluster.preflight.checklist import Question
from backends.cluster.preflight.own_metrics import own_metrics
from backends.cluster.preflight.service_checks import (
    canary,
    counted_errors,
    gateways,
    mirror,
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
    """Return the whole checklist. Reads only; a question that cannot be answered is a miss, never an exception."""
    reached = tuple(_answered(kubernetes, world, plan))
    if not all(check.ok for check in reached):
        return reached
    return (*reached, *(check for question in _questions(world) for check in _answered(question, world, plan)))


def _questions(world: World) -> tuple[Question, ...]:
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


def _answered(question: Question, world: World, plan: RolloutPlan) -> Iterator[Check]:
    try:
        for check in question(world, plan):
            yield replace(check, fix="") if check.ok else check
    except RolloutError as error:
        yield Check(question.__name__.replace("_", " "), ok=False, found=str(error), fix=_hint(error))


def _hint(error: RolloutError) -> str:
    if isinstance(error, UnavailableError):
        return "see that the server of the kubeconfig's context answers from here, or name another context"
    return "create what is missing, then ask again" if isinstance(error, MissingError) else "see what was found"
