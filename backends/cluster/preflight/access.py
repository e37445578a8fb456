"""Preflight of the API server: its version, our permissions, its quotas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import Final

from backends.cluster.api.api_errors import ROLE_FILE, MissingError
from backends.cluster.api.client import DEPLOYMENTS, PODS, QUOTAS
from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.environment import World
from backends.cluster.lock import read_holder
from backends.cluster.pods.deployments import pod_spec
from backends.cluster.preflight import Check
from backends.cluster.preflight.permissions import GATEWAY_API_PERMISSIONS, PERMISSIONS, RESOURCE_NAME_VERBS, Permission
from backends.cluster.preflight.quotas import shortages
from backends.document_fields import Document, entries, label, mapping
from rollout.errors import RolloutError
from rollout.model import Track
from rollout.plan import RolloutPlan

OLDEST_KUBERNETES: Final = (1, 29)
MOST_SKEW: Final = timedelta(seconds=5)
"""A Lease lapses after 30 s by somebody else's clock, and samples are asked for by ours."""


def kubernetes(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001 - one signature for all
    """Whether the API server answers, and is new enough."""
    version, _ = world.api.call_raw("/version")
    numbers = tuple(int(re.sub(r"[^0-9]", "", version.get(part, "")) or 0) for part in ("major", "minor"))
    least = ".".join(map(str, OLDEST_KUBERNETES))
    yield Check(
        "kubernetes",
        numbers >= OLDEST_KUBERNETES,
        version.get("gitVersion", "of no name"),
        f"upgrade to Kubernetes {least} or later",
    )


def clock(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether the server's clock and ours agree."""
    before = datetime.now(UTC)
    _, headers = world.api.call_raw("/version")
    if (date := _parsed_date(headers.get("Date"))) is None:
        return
    # The header has whole seconds, so the half second is what it says on the average.
    skew = date + timedelta(seconds=0.5) - before
    detail = f"the server's clock is {abs(skew.total_seconds()):.1f} s {'ahead' if skew > timedelta(0) else 'behind'}"
    yield Check("clock", abs(skew) <= MOST_SKEW, detail, "let both machines set their clocks by NTP")


def _parsed_date(header: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(header or "")
    except ValueError:
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def permissions(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether each verb that a rollout uses is granted."""
    wanted = PERMISSIONS
    if world.settings.kind == "HTTPRoute":
        common = (permission for permission in PERMISSIONS if permission.group != "networking.istio.io")
        wanted = (
            *(permission for permission in common if permission not in GATEWAY_API_PERMISSIONS),
            *GATEWAY_API_PERMISSIONS,
        )
    names = _names(world)
    for (group, resource), granted in groupby(wanted, key=lambda permission: (permission.group, permission.resource)):
        group_permissions = tuple(granted)
        missing = [
            permission.verb
            for permission in group_permissions
            if not _is_allowed(world, permission, names.get(resource, ()))
        ]
        title = f"{resource}.{group}" if group else resource
        yield Check(
            f"permission {title}",
            not missing,
            f"may not {', '.join(missing)}"
            if missing
            else f"may {', '.join(permission.verb for permission in group_permissions)}",
            f"kubectl apply -k manifests: the Role in {ROLE_FILE} grants {', '.join(missing)} on {title}",
        )


def _names(world: World) -> dict[str, tuple[str, ...]]:
    """Return by resource the names of the objects, where they are known."""
    settings = world.settings
    with suppress(RolloutError):  # what is wrong with the route is another check's
        gateways = mapping(world.router.read(), "spec").get("gateways") or []
        here = (name.removeprefix(f"{settings.namespace}/") for name in gateways)
        own = tuple(name for name in here if "/" not in name and name != "mesh")
        return _fixed_names(settings) | {"gateways": own}
    return _fixed_names(settings)


def _fixed_names(settings: ClusterSettings) -> dict[str, tuple[str, ...]]:
    tracks = (settings.destinations.stable, settings.destinations.canary)
    return {
        "virtualservices": (settings.document_name,),
        "httproutes": (settings.document_name,),
        "destinationrules": (settings.rule_name,),
        "services": tracks if settings.kind == "HTTPRoute" else (settings.service,),
        "leases": (settings.lease,),
    }


def _is_allowed(world: World, wanted: Permission, names: tuple[str, ...]) -> bool:
    """Whether a verb is granted on each of these objects, or on all where they have no names that are known."""
    object_names = names if wanted.verb in RESOURCE_NAME_VERBS and names else ("",)
    return all(_review(world, wanted, name) for name in object_names)


def _review(world: World, wanted: Permission, name: str) -> bool:
    resource, _, subresource = wanted.resource.partition("/")
    attributes = {
        "namespace": world.api.namespace,
        "group": wanted.group,
        "resource": resource,
        "subresource": subresource,
        "verb": wanted.verb,
        "name": name,
    }
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    answer, _ = world.api.call_raw(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        body=kind | {"spec": {"resourceAttributes": attributes}},
    )
    return bool(mapping(answer, "status").get("allowed"))


def kinds(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether the CRDs of the route are installed."""
    resource = world.settings.resource
    name, brings = f"kind {world.settings.kind}", "Istio" if resource.group.endswith("istio.io") else "the Gateway API"
    try:
        group, _ = world.api.call_raw(f"/apis/{resource.group}")
    except MissingError:
        yield Check(
            name, ok=False, detail=f"no API group {resource.group}", fix=f"install {brings}: it brings the CRDs"
        )
        return
    versions = [version["version"] for version in entries(group, "versions")]
    detail = f"{resource.group} {', '.join(versions)}"
    yield Check(name, resource.version in versions, detail, f"upgrade {brings}: {resource.version} is needed")


def no_other_rollout(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether nobody else steers the service."""
    holder, _ = read_holder(world.api, world.settings.lease)
    if holder is None or not holder.lives:
        yield Check("no other rollout", ok=True, detail="nobody steers")
        return
    detail = f"steered by {holder.owner} since {holder.since:%Y-%m-%d %H:%M:%S} UTC"
    yield Check("no other rollout", ok=False, detail=detail, fix="wait for it, or canary abort")


def quota(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Whether the canary's pods fit into the namespace's quotas that count such pods."""
    quotas = world.api.list(QUOTAS)
    pods = world.api.list(PODS, f"app={world.settings.service}")
    spec = _running_spec(world, pods)
    if spec is None:
        return
    present = sum(label(pod, "version") == plan.canary.version for pod in pods)
    missing = max(max(step.replicas for step in plan.steps) - present, 0)
    shortage = shortages(quotas, spec, missing, new_deployment=not _has_canary(world))
    detail = "; ".join(shortage) if shortage else f"{len(quotas)} quotas, room enough" if quotas else "no quota"
    yield Check("quota", not shortage, detail, "raise the ResourceQuota, or plan fewer canary replicas")


def _running_spec(world: World, pods: list[Document]) -> Document | None:
    """Return what a pod of stable's asks for: as it runs, with the defaults and sidecars that it was admitted with."""
    version = world.settings.stable_version
    if running := [pod for pod in pods if label(pod, "version") == version and mapping(pod, "spec")]:
        return mapping(running[-1], "spec")
    try:
        return pod_spec(world.api.get(DEPLOYMENTS, world.workloads.deployment(Track.STABLE)))
    except MissingError:
        return None


def _has_canary(world: World) -> bool:
    try:
        world.api.get(DEPLOYMENTS, world.workloads.deployment(Track.CANARY))
    except MissingError:
        return False
    return True
