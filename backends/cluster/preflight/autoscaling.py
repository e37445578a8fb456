"""Whether the pods that a plan asks for can carry the traffic, where an autoscaler has its say too."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from backends.cluster.api.client import SCALED_OBJECTS
from backends.cluster.environment import World
from backends.cluster.preflight import Check
from backends.document_fields import Document, entries, label, mapping
from rollout.errors import RolloutError
from rollout.model import Track
from rollout.plan import RolloutPlan

_KEDA_LABEL: Final = "scaledobject.keda.sh/name"
"""Label by which KEDA marks the HorizontalPodAutoscalers that it makes."""
_POD_TRIGGERS: Final = ("cpu", "memory")
"""Triggers that keep KEDA from scaling to none: they are measured in pods."""


@dataclass(frozen=True, slots=True)
class Autoscaler:
    """What keeps a Deployment at as many pods as it needs."""

    title: str
    least: int | None
    """Pods that it leaves where there is nothing to do; None where that could not be read."""
    most: int


def capacity(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Whether each step has the pods that such a share takes now, in numbers; that alone refuses no release."""
    stable, canary = (world.workloads.deployment(track) for track in (Track.STABLE, Track.CANARY))
    ready = sum(pod.ready for pod in world.workloads.pods() if pod.track is Track.STABLE)
    scaler, canary_scaler = _autoscaler(world, stable), _autoscaler(world, canary)
    carried = f"{ready} pods of {plan.stable.version} carry the traffic now"
    short = describe_short_steps(plan, ready)
    stays = _describe_scaler(scaler, stable, None if canary_scaler else canary)
    yield Check("capacity", ok=True, detail="; ".join(filter(None, (carried, short, stays))))
    if scaler is not None and scaler.least == 0:
        detail = (
            f"{scaler.title} lets {stable} fall to 0 pods while the canary has the traffic: a rollback would find none"
        )
        yield Check("stable stays warm", ok=False, detail=detail, fix=f"let its minimum be {plan.stable.replicas}")
    wanted = max(step.replicas for step in plan.steps)
    if canary_scaler is not None and canary_scaler.most < wanted:
        detail = f"{canary_scaler.title} allows {canary} {canary_scaler.most} pods, the plan asks for {wanted}"
        yield Check("canary's autoscaler", ok=False, detail=detail, fix="raise its maximum, or plan fewer replicas")


def describe_short_steps(plan: RolloutPlan, ready: int) -> str:
    """Return which steps have fewer canary pods than carry such a share now, in numbers; empty where none has."""
    needs = ((step, math.ceil(ready * step.canary / 100)) for step in plan.steps)
    short = [
        f"{step.name} has {step.replicas} of {need} for {step.canary} %" for step, need in needs if step.replicas < need
    ]
    return f"the plan gives the canary fewer: {', '.join(short)}" if short else ""


def _describe_scaler(scaler: Autoscaler | None, stable: str, without: str | None) -> str:
    if scaler is None:
        return ""
    least = "" if scaler.least is None else f"{scaler.least} to "
    stays = f"{scaler.title} ({least or 'at most '}{scaler.most} pods) stays with {stable} after the promotion"
    return stays + (f", and {without} has none" if without else "")


def _autoscaler(world: World, deployment: str) -> Autoscaler | None:
    autoscaler = world.workloads.autoscaler(deployment)
    if autoscaler is None:
        return None
    spec, name = mapping(autoscaler, "spec"), autoscaler["metadata"]["name"]
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 1)
    if scaled_object := label(autoscaler, _KEDA_LABEL):
        return Autoscaler(f"ScaledObject {scaled_object}", _least_of_keda(world, scaled_object), most)
    return Autoscaler(f"HorizontalPodAutoscaler {name}", least, most)


def _least_of_keda(world: World, name: str) -> int | None:
    """Return the least pods of a ScaledObject; its HorizontalPodAutoscaler never says 0."""
    try:
        spec = mapping(world.api.get(SCALED_OBJECTS, name), "spec")
    except RolloutError:  # the shipped Role does not grant it
        return None
    least = int(spec.get("idleReplicaCount", spec.get("minReplicaCount")) or 0)
    return max(least, 1) if _measures_pods(spec) else least


def _measures_pods(spec: Document) -> bool:
    return all(trigger.get("type") in _POD_TRIGGERS for trigger in entries(spec, "triggers"))
