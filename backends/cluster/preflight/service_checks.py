"""Questions about the service: its routes, its pods, its series."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Final

from analysis.scrapes.samples import BUCKET
from backends.cluster.api.api_errors import MissingError
from backends.cluster.api.client import DEPLOYMENTS, GATEWAYS, PODS
from backends.cluster.environment import World
from backends.cluster.pods.containers import SIDECAR
from backends.cluster.pods.deployments import TERMINATING, has_sidecar, pod_spec, sidecar_version
from backends.cluster.preflight.checklist import Check
from backends.cluster.promotion import selected_version
from backends.cluster.resting_files import RESTING_FILES, file_versions
from backends.document_members import entries, mapping
from backends.profiles.shipped import load_profile
from backends.prometheus.http_config_settings import CREDENTIALS
from backends.route_patches import Document, with_mirror
from backends.route_splits import find_split, unnamed
from rollout.errors import AccessDeniedError, RolloutError
from rollout.formatting import format_span
from rollout.model import AT_REST, Track
from rollout.plan import RolloutPlan

_FRESH: Final = timedelta(minutes=1)


def route(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether the routes between both destinations are found, and none of them is left out."""
    document, wanted = world.router.read(), world.settings.destinations
    places = ", ".join(f"{route.name} at {route.rule}".strip() for route in find_split(document, wanted).routes)
    found = f"{world.settings.kind} {world.settings.document_name}: {places}"
    if left_out := unnamed(document, wanted):
        found += f"; not named, so that its requests stay on stable and the share is not seen: {', '.join(left_out)}"
    yield Check("route", not left_out, found, "name each of them, --route NAME,NAME, or none: then all get the split")


def mirror(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Whether the route can copy requests, where the plan asks for it."""
    if plan.mirror is None:
        return
    with_mirror(world.router.read(), world.settings.destinations, plan.mirror.share)
    yield Check("mirror", ok=True, found=f"{plan.mirror.share} % can be copied")


def gateways(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether the route's gateways are there."""
    for named in mapping(world.router.read(), "spec").get("gateways") or ["mesh"]:
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


def subsets(world: World, plan: RolloutPlan) -> Iterator[Check]:
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


def resting_files(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether the resting files at hand say what the cluster says, so that applying them again moves nothing."""
    settings = world.settings
    file = settings.files / RESTING_FILES[settings.kind] if settings.files else None
    if file is None or not file.is_file():
        return
    names = settings.destinations
    said = file_versions(file.read_text(encoding="utf-8"), (names.stable, names.canary), of=settings.rule_name)
    if not said:
        return  # they are another service's
    there = {names.stable: selected_version(world, Track.STABLE), names.canary: selected_version(world, Track.CANARY)}
    lies = [f"{name} is {said.get(name, 'absent')}, on the cluster {there[name]}" for name in there]
    agree = said == there
    fix = "after a promotion: canary promote --write, then commit; else kubectl apply -k istio"
    yield Check("resting files", agree, f"{file} agrees" if agree else f"{file}: {'; '.join(lies)}", fix)


def sidecars(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether the mesh's proxy stands in every pod."""
    pods = _pods(world)
    bare = [pod["metadata"]["name"] for pod in pods if not has_sidecar(pod)]
    versions = sorted({version for pod in pods if (version := sidecar_version(pod))})
    yield Check(
        "sidecars",
        bool(pods) and not bare,
        f"none in {', '.join(bare)}" if bare else f"in all {len(pods)} pods, istio {', '.join(versions) or 'unknown'}",
        "label the namespace istio-injection=enabled, then kubectl rollout restart the Deployments",
    )


def stable_pods(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Whether stable has all its pods ready."""
    ready = sum(pod.ready for pod in world.workloads.pods() if pod.track is Track.STABLE)
    wanted = plan.stable.replicas
    found = f"{ready} of {wanted} pods of {plan.stable.version} ready"
    yield Check("stable pods", ready >= wanted, found, f"kubectl describe pods -l version={plan.stable.version}")


def canary(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Whether the canary can be started."""
    name = world.workloads.deployment(Track.CANARY)
    try:
        deployment = world.api.get(DEPLOYMENTS, name)
    except MissingError:
        image = world.settings.canary_image
        if image:
            world.workloads.main_container(world.api.get(DEPLOYMENTS, world.workloads.deployment(Track.STABLE)))
        found = f"no Deployment {name} yet" + (f", made with image {image}" if image else "")
        fix = f"apply manifests/app/{name}.yaml, or name the canary's image"
        yield Check("canary", bool(image), found, fix)
    else:
        yield Check("canary", ok=True, found=f"Deployment {name}, {_image(world, deployment)}")
    stuck = [
        pod for pod in world.workloads.pods() if pod.track is Track.CANARY and pod.waiting not in ("", TERMINATING)
    ]
    if stuck:
        found = ", ".join(f"{pod.name}: {pod.waiting}" for pod in stuck)
        fix = f"kubectl describe pods -l version={plan.canary.version}"
        yield Check("canary pods", ok=False, found=found, fix=fix)


def _image(world: World, deployment: Document) -> str:
    """Return what the canary will run, and in which of its containers where an image was named."""
    if image := world.settings.canary_image:
        return f"image {image} in container {world.workloads.main_container(deployment)['name']}"
    own = [one for one in entries(pod_spec(deployment), "containers") if one.get("name") != SIDECAR]
    return f"image {', '.join(one.get('image') or 'of no name' for one in own)}"


def series(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Fresh samples of stable; of the canary where it has pods already; and edges as far as the plan's limits."""
    now = datetime.now(UTC)
    source = f"Prometheus at {world.prometheus_url}"
    try:
        samples = world.metrics.read(now - _FRESH)
    except AccessDeniedError as error:
        fix = f"name credentials or headers for Prometheus in {CREDENTIALS}; see Access to Prometheus in the docs"
        yield Check("series", ok=False, found=str(error), fix=fix)
        return
    except RolloutError as error:
        fix = "name Prometheus' address, let it scrape what the plan's metrics.profile says, and let some traffic flow"
        yield Check("series", ok=False, found=str(error), fix=fix)
        return
    seen = samples.where(not series.pod for series in samples.series)
    tracks = sorted({series.track for series in seen.series})
    age = now.timestamp() - seen.latest
    most = 3 * plan.scrape.total_seconds() + 10
    profile = load_profile(plan.metrics.profile)
    every = format_span(plan.scrape)
    fix = f"let {source} scrape {profile.counter} every {every}, and let some traffic reach stable"
    found = f"{source}: {', '.join(tracks)}; the newest sample is {age:.0f} s old"
    yield Check("series", Track.STABLE in tracks and age <= most, found, fix)
    limit = plan.criteria.latency.rollback_above / timedelta(milliseconds=1)
    edges = sorted({series.le for series in seen.series if series.metric == BUCKET and series.le != float("inf")})
    yield Check(
        "latency buckets",
        bool(edges) and edges[-1] >= limit,
        f"{len(edges)} edges up to {edges[-1]:g} ms; the plan's limit is {limit:g} ms" if edges else "no buckets",
        f"let Prometheus keep {profile.buckets} with all its edges",
    )


def counted_errors(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """What the plan counts as errors, and what becomes of other kinds of answers."""
    counted = f"{plan.criteria.describe_errors()}; {plan.criteria.describe_answers()}"
    yield Check("errors", ok=True, found=counted)


def split_at_rest(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether all traffic is on stable, and who wrote that."""
    weights = world.router.read_weights()
    writer = world.router.last_writer()
    found = f"stable {weights.stable} %, canary {weights.canary} %" + (f", last written by {writer}" if writer else "")
    yield Check("split at rest", weights == AT_REST, found, "canary restore, or kubectl apply -k istio")


def _pods(world: World) -> list[Document]:
    return world.api.list(PODS, f"app={world.settings.service}")
