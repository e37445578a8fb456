"""What has to hold before a rollout touches anything: a checklist, with what to do about each miss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from itertools import groupby
from typing import Final

from backends.cluster.capacity import shortages
from backends.cluster.client import DEPLOYMENTS, GATEWAYS, PODS, QUOTAS
from backends.cluster.deployments import TERMINATING, has_sidecar, main_container, sidecar_version
from backends.cluster.errors import ROLE_FILE, MissingError
from backends.cluster.lock import read_holder
from backends.cluster.permissions import GATEWAY_API_PERMISSIONS, PERMISSIONS, Permission
from backends.cluster.promotion import selected_version
from backends.cluster.world import World
from backends.documents import Document, find_route
from rollout.errors import RolloutError
from rollout.model import AT_REST, Track
from rollout.plan import RolloutPlan
from rollout.quantities import format_duration

OLDEST_KUBERNETES: Final = (1, 29)
MOST_SKEW: Final = timedelta(seconds=5)
"""A Lease lapses after 30 s by somebody else's clock, and samples are asked for by ours."""
_FRESH: Final = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist."""

    name: str
    ok: bool
    found: str
    fix: str = ""
    """What to do, where it is not ok."""


Question = Callable[[World, RolloutPlan], Iterator[Check]]


def checks(world: World, plan: RolloutPlan) -> tuple[Check, ...]:
    """Return the whole checklist. Reads only; a question that cannot be answered is a miss, never an exception."""
    reached = tuple(_answered(_kubernetes, world, plan))
    if not all(check.ok for check in reached):
        return reached
    return (*reached, *(check for question in _questions(world) for check in _answered(question, world, plan)))


def _questions(world: World) -> tuple[Question, ...]:
    mesh = (_kinds, _route, _gateways, _subsets, _sidecars)
    route = mesh if world.settings.kind == "VirtualService" else (_kinds, _route, _subsets)
    return (_clock, _permissions, *route, _stable_pods, _canary, _series, _split_at_rest, _no_other_rollout, _quota)


def _answered(question: Question, world: World, plan: RolloutPlan) -> Iterator[Check]:
    try:
        yield from question(world, plan)
    except RolloutError as error:
        yield Check(question.__name__.strip("_").replace("_", " "), ok=False, found=str(error), fix=_hint(error))


def _hint(error: RolloutError) -> str:
    return "create what is missing, then ask again" if isinstance(error, MissingError) else "see what was found"


def _kubernetes(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001 - one signature for all questions
    version, _ = world.api.ask("/version")
    numbers = tuple(int("".join(filter(str.isdigit, version[part])) or 0) for part in ("major", "minor"))
    least = ".".join(map(str, OLDEST_KUBERNETES))
    yield Check(
        "kubernetes",
        numbers >= OLDEST_KUBERNETES,
        f"{version['gitVersion']}",
        f"upgrade to Kubernetes {least} or later",
    )


def _clock(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    before = datetime.now(UTC)
    _, headers = world.api.ask("/version")
    if not (said := headers.get("Date")):
        return
    # The header has whole seconds, so the half second is what it says on the average.
    skew = parsedate_to_datetime(said) + timedelta(seconds=0.5) - before
    found = f"the server's clock is {abs(skew.total_seconds()):.1f} s {'ahead' if skew > timedelta(0) else 'behind'}"
    yield Check("clock", abs(skew) <= MOST_SKEW, found, "let both machines set their clocks by NTP")


def _permissions(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    wanted = PERMISSIONS
    if world.settings.kind == "HTTPRoute":
        wanted = (*(one for one in PERMISSIONS if one.group != "networking.istio.io"), *GATEWAY_API_PERMISSIONS)
    for (group, resource), found in groupby(wanted, key=lambda one: (one.group, one.resource)):
        asked = tuple(found)
        missing = [one.verb for one in asked if not _is_allowed(world, one)]
        what = f"{resource}.{group}" if group else resource
        yield Check(
            f"permission {what}",
            not missing,
            f"may not {', '.join(missing)}" if missing else f"may {', '.join(one.verb for one in asked)}",
            f"kubectl apply -k manifests: the Role in {ROLE_FILE} grants {', '.join(missing)} on {what}",
        )


def _is_allowed(world: World, wanted: Permission) -> bool:
    resource, _, subresource = wanted.resource.partition("/")
    attributes = {
        "namespace": world.api.namespace,
        "group": wanted.group,
        "resource": resource,
        "subresource": subresource,
        "verb": wanted.verb,
    }
    kind = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview"}
    answer, _ = world.api.ask(
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        body=kind | {"spec": {"resourceAttributes": attributes}},
    )
    return bool(answer["status"].get("allowed"))


def _kinds(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    resource = world.settings.resource
    name, brings = f"kind {world.settings.kind}", "Istio" if resource.group.endswith("istio.io") else "the Gateway API"
    try:
        group, _ = world.api.ask(f"/apis/{resource.group}")
    except MissingError:
        yield Check(name, ok=False, found=f"no API group {resource.group}", fix=f"install {brings}: it brings the CRDs")
        return
    versions = [version["version"] for version in group["versions"]]
    found = f"{resource.group} {', '.join(versions)}"
    yield Check(name, resource.version in versions, found, f"upgrade {brings}: {resource.version} is needed")


def _route(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    route = find_route(world.router.read(), world.settings.destinations)
    yield Check("route", ok=True, found=f"{world.settings.kind} {world.settings.document_name}: {route.stable}")


def _gateways(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    for named in world.router.read()["spec"].get("gateways") or ["mesh"]:
        namespace, _, name = named.rpartition("/")
        if name == "mesh" or namespace not in ("", world.api.namespace):
            yield Check(f"gateway {named}", ok=True, found="not in this namespace, not looked at")
            continue
        try:
            world.api.get(GATEWAYS, name)
        except MissingError as error:
            yield Check(f"gateway {named}", ok=False, found=str(error), fix="kubectl apply -k istio")
        else:
            yield Check(f"gateway {named}", ok=True, found="found")


def _subsets(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """What each track's subset, or Service, selects."""
    names = world.settings.destinations
    is_route = world.settings.kind == "HTTPRoute"
    what, file = ("service", "manifests/overlays/gateway-api") if is_route else ("subset", "istio")
    for track, name, version in (
        (Track.STABLE, names.stable, plan.stable.version),
        (Track.CANARY, names.canary, plan.canary.version),
    ):
        found = selected_version(world, track)
        yield Check(
            f"{what} {name}",
            found == version,
            f"selects version {found or 'of no name'}; the plan says {version}",
            f"kubectl apply -k {file}, or, after a promotion, write and commit the resting files",
        )


def _sidecars(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    pods = _pods(world)
    bare = [pod["metadata"]["name"] for pod in pods if not has_sidecar(pod)]
    versions = sorted({version for pod in pods if (version := sidecar_version(pod))})
    yield Check(
        "sidecars",
        bool(pods) and not bare,
        f"none in {', '.join(bare)}" if bare else f"in all {len(pods)} pods, istio {', '.join(versions) or 'unknown'}",
        "label the namespace istio-injection=enabled, then kubectl rollout restart the Deployments",
    )


def _stable_pods(world: World, plan: RolloutPlan) -> Iterator[Check]:
    ready = sum(pod.ready for pod in world.workloads.pods() if pod.track is Track.STABLE)
    wanted = plan.stable.replicas
    found = f"{ready} of {wanted} pods of {plan.stable.version} ready"
    yield Check("stable pods", ready >= wanted, found, f"kubectl describe pods -l version={plan.stable.version}")


def _canary(world: World, plan: RolloutPlan) -> Iterator[Check]:
    name = world.workloads.deployment(Track.CANARY)
    try:
        image = main_container(world.api.get(DEPLOYMENTS, name)["spec"]["template"]["spec"])["image"]
    except MissingError:
        image = world.settings.canary_image
        found = f"no Deployment {name} yet" + (f", made with image {image}" if image else "")
        fix = f"apply manifests/app/{name}.yaml, or name the canary's image"
        yield Check("canary", bool(image), found, fix)
    else:
        yield Check("canary", ok=True, found=f"Deployment {name}, image {world.settings.canary_image or image}")
    stuck = [
        pod for pod in world.workloads.pods() if pod.track is Track.CANARY and pod.waiting not in ("", TERMINATING)
    ]
    if stuck:
        found = ", ".join(f"{pod.name}: {pod.waiting}" for pod in stuck)
        fix = f"kubectl describe pods -l version={plan.canary.version}"
        yield Check("canary pods", ok=False, found=found, fix=fix)


def _series(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Fresh samples of stable; of the canary where it has pods already; and edges as far as the plan's limits."""
    now = datetime.now(UTC)
    source = f"Prometheus at {world.prometheus_url}"
    try:
        frame = world.metrics.read(now - _FRESH)
    except RolloutError as error:
        fix = "name Prometheus' address, let it scrape the gateway, and let some traffic flow"
        yield Check("series", ok=False, found=str(error), fix=fix)
        return
    seen = frame[frame["pod"] == ""]
    tracks = sorted(set(seen["track"]))
    age = now.timestamp() - float(seen["time"].max())
    most = 3 * plan.scrape.total_seconds() + 10
    fix = f"let {source} scrape the gateway every {format_duration(plan.scrape)}, and let some traffic reach stable"
    found = f"{source}: {', '.join(tracks)}; the newest sample is {age:.0f} s old"
    yield Check("series", Track.STABLE in tracks and age <= most, found, fix)
    limit = plan.criteria.latency.rollback_above / timedelta(milliseconds=1)
    edges = sorted(edge for edge in set(seen["le"].dropna()) if edge != float("inf"))
    yield Check(
        "latency buckets",
        bool(edges) and edges[-1] >= limit,
        f"{len(edges)} edges up to {edges[-1]:g} ms; the plan's limit is {limit:g} ms" if edges else "no buckets",
        "let Prometheus keep istio_request_duration_milliseconds_bucket with all its edges",
    )


def _split_at_rest(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    weights = world.router.read_weights()
    writer = world.router.last_writer()
    found = f"stable {weights.stable} %, canary {weights.canary} %" + (f", last written by {writer}" if writer else "")
    yield Check("split at rest", weights == AT_REST, found, "canary restore, or kubectl apply -k istio")


def _no_other_rollout(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    holder, _ = read_holder(world.api, world.settings.lease)
    if holder is None or not holder.lives:
        yield Check("no other rollout", ok=True, found="nobody steers")
        return
    found = f"steered by {holder.owner} since {holder.since:%Y-%m-%d %H:%M:%S} UTC"
    yield Check("no other rollout", ok=False, found=found, fix="wait for it, or canary abort")


def _quota(world: World, plan: RolloutPlan) -> Iterator[Check]:
    quotas = world.api.list(QUOTAS)
    try:
        stable = world.api.get(DEPLOYMENTS, world.workloads.deployment(Track.STABLE))
    except MissingError:
        return
    short = shortages(quotas, stable["spec"]["template"]["spec"], max(step.replicas for step in plan.steps))
    found = "; ".join(short) if short else f"{len(quotas)} quotas, room enough" if quotas else "no quota"
    yield Check("quota", not short, found, "raise the ResourceQuota, or plan fewer canary replicas")


def _pods(world: World) -> list[Document]:
    return world.api.list(PODS, f"app={world.settings.service}")
