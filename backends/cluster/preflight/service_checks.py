"""Preflight of the service: its routes, its pods, its series, and the plan's own metrics of them."""

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
from backends.cluster.preflight import Check
from backends.cluster.promotion import selected_version
from backends.cluster.version_manifests import VERSION_MANIFESTS, manifest_versions
from backends.document_fields import entries, mapping
from backends.profiles.shipped import load_profile
from backends.prometheus.http_config_settings import CREDENTIALS
from backends.route_patches import Document, with_mirror
from backends.route_splits import find_split, unselected_routes
from rollout.errors import AccessDeniedError, RolloutError
from rollout.formatting import format_span
from rollout.model import AT_REST, Track
from rollout.plan import RolloutPlan

_FRESH: Final = timedelta(minutes=1)
_RECENT: Final = timedelta(minutes=5)
_LIMIT: Final = timedelta(seconds=10)


def route(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether the routes between both destinations are found, and none of them is left out."""
    document, destinations = world.router.read(), world.settings.destinations
    places = ", ".join(f"{route.name} at {route.rule}".strip() for route in find_split(document, destinations).routes)
    detail = f"{world.settings.kind} {world.settings.document_name}: {places}"
    if left_out := unselected_routes(document, destinations):
        detail += f"; not named, so that its requests stay on stable and the share is not seen: {', '.join(left_out)}"
    yield Check("route", not left_out, detail, "name each of them, --route NAME,NAME, or none: then all get the split")


def mirror(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Whether the route can copy requests, where the plan asks for it."""
    if plan.mirror is None:
        return
    with_mirror(world.router.read(), world.settings.destinations, plan.mirror.share)
    yield Check("mirror", ok=True, detail=f"{plan.mirror.share} % can be copied")


def gateways(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether the route's gateways are there."""
    for named in mapping(world.router.read(), "spec").get("gateways") or ["mesh"]:
        namespace, _, name = named.rpartition("/")
        if name == "mesh" or namespace not in ("", world.api.namespace):
            yield Check(f"gateway {named}", ok=True, detail="not in this namespace, not looked at")
            continue
        try:
            world.api.get(GATEWAYS, name)
        except MissingError as error:
            yield Check(f"gateway {named}", ok=False, detail=str(error), fix="kubectl apply -k istio")
        else:
            yield Check(f"gateway {named}", ok=True, detail="found")


def subsets(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """What each track's subset, or Service, selects."""
    names = world.settings.destinations
    is_route = world.settings.kind == "HTTPRoute"
    what, file = ("service", "manifests/overlays/gateway-api") if is_route else ("subset", "istio")
    for track, name, version in (
        (Track.STABLE, names.stable, plan.stable.version),
        (Track.CANARY, names.canary, plan.canary.version),
    ):
        selected = selected_version(world, track)
        yield Check(
            f"{what} {name}",
            selected == version,
            f"selects version {selected or 'of no name'}; the plan says {version}",
            f"kubectl apply -k {file}, or, after a promotion, write and commit the resting files",
        )


def resting_files(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether the resting files at hand say what the cluster says, so that applying them again moves nothing."""
    settings = world.settings
    file = settings.files / VERSION_MANIFESTS[settings.kind] if settings.files else None
    if file is None or not file.is_file():
        return
    names = settings.destinations
    in_file = manifest_versions(file.read_text(encoding="utf-8"), (names.stable, names.canary), of=settings.rule_name)
    if not in_file:
        return  # they are another service's
    in_cluster = {
        names.stable: selected_version(world, Track.STABLE),
        names.canary: selected_version(world, Track.CANARY),
    }
    differences = [f"{name} is {in_file.get(name, 'absent')}, on the cluster {in_cluster[name]}" for name in in_cluster]
    agree = in_file == in_cluster
    fix = "after a promotion: canary promote --write, then commit; else kubectl apply -k istio"
    yield Check("resting files", agree, f"{file} agrees" if agree else f"{file}: {'; '.join(differences)}", fix)


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
    detail = f"{ready} of {wanted} pods of {plan.stable.version} ready"
    yield Check("stable pods", ready >= wanted, detail, f"kubectl describe pods -l version={plan.stable.version}")


def canary(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Whether the canary can be started."""
    name = world.workloads.deployment(Track.CANARY)
    try:
        deployment = world.api.get(DEPLOYMENTS, name)
    except MissingError:
        image = world.settings.image
        if image:
            world.workloads.main_container(world.api.get(DEPLOYMENTS, world.workloads.deployment(Track.STABLE)))
        detail = f"no Deployment {name} yet" + (f", made with image {image}" if image else "")
        fix = f"apply manifests/app/{name}.yaml, or name the canary's image"
        yield Check("canary", bool(image), detail, fix)
    else:
        yield Check("canary", ok=True, detail=f"Deployment {name}, {_image(world, deployment)}")
    stuck = [
        pod for pod in world.workloads.pods() if pod.track is Track.CANARY and pod.waiting not in ("", TERMINATING)
    ]
    if stuck:
        detail = ", ".join(f"{pod.name}: {pod.waiting}" for pod in stuck)
        fix = f"kubectl describe pods -l version={plan.canary.version}"
        yield Check("canary pods", ok=False, detail=detail, fix=fix)


def _image(world: World, deployment: Document) -> str:
    """Return what the canary will run, and in which of its containers where an image was named."""
    if image := world.settings.image:
        return f"image {image} in container {world.workloads.main_container(deployment)['name']}"
    containers = [
        container for container in entries(pod_spec(deployment), "containers") if container.get("name") != SIDECAR
    ]
    return f"image {', '.join(container.get('image') or 'of no name' for container in containers)}"


def series(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Fresh samples of stable; of the canary where it has pods already; and edges as far as the plan's limits."""
    now = datetime.now(UTC)
    source = f"Prometheus at {world.prometheus_url}"
    try:
        samples = world.metrics.read(now - _FRESH)
    except AccessDeniedError as error:
        fix = f"name credentials or headers for Prometheus in {CREDENTIALS}; see Access to Prometheus in the docs"
        yield Check("series", ok=False, detail=str(error), fix=fix)
        return
    except RolloutError as error:
        fix = "name Prometheus' address, let it scrape what the plan's metrics.profile says, and let some traffic flow"
        yield Check("series", ok=False, detail=str(error), fix=fix)
        return
    gateway = samples.where(not series.pod for series in samples.series)
    tracks = sorted({series.track for series in gateway.series})
    age = now.timestamp() - gateway.latest
    most = 3 * plan.scrape.total_seconds() + 10
    profile = load_profile(plan.metrics.profile)
    every = format_span(plan.scrape)
    fix = f"let {source} scrape {profile.counter} every {every}, and let some traffic reach stable"
    detail = f"{source}: {', '.join(tracks)}; the newest sample is {age:.0f} s old"
    yield Check("series", Track.STABLE in tracks and age <= most, detail, fix)
    limit = plan.criteria.latency.rollback_above / timedelta(milliseconds=1)
    edges = sorted({series.le for series in gateway.series if series.metric == BUCKET and series.le != float("inf")})
    yield Check(
        "latency buckets",
        bool(edges) and edges[-1] >= limit,
        f"{len(edges)} edges up to {edges[-1]:g} ms; the plan's limit is {limit:g} ms" if edges else "no buckets",
        f"let Prometheus keep {profile.buckets} with all its edges",
    )


def counted_errors(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """What the plan counts as errors, and what becomes of other kinds of answers."""
    counted = f"{plan.criteria.describe_errors()}; {plan.criteria.describe_answers()}"
    yield Check("errors", ok=True, detail=counted)


def split_at_rest(world: World, plan: RolloutPlan) -> Iterator[Check]:  # noqa: ARG001
    """Whether all traffic is on stable, and who wrote that."""
    weights = world.router.read_weights()
    writer = world.router.last_writer()
    detail = f"stable {weights.stable} %, canary {weights.canary} %" + (f", last written by {writer}" if writer else "")
    yield Check("split at rest", weights == AT_REST, detail, "canary restore, or kubectl apply -k istio")


def _pods(world: World) -> list[Document]:
    return world.api.list(PODS, f"app={world.settings.service}")


def own_metrics(world: World, plan: RolloutPlan) -> Iterator[Check]:
    """Whether each ratio's total and each gauge has series of stable's; events may be born with the first one."""
    for ratio in plan.criteria.ratios:
        total = _own_metric(world, plan, f"ratio {ratio.name}", ratio.total)
        yield total
        if total.ok:
            yield _own_metric(world, plan, f"ratio {ratio.name}", ratio.events, may_be_absent=True)
    for gauge in plan.criteria.gauges:
        yield _own_metric(world, plan, f"gauge {gauge.name}", gauge.metric)


def _own_metric(world: World, plan: RolloutPlan, name: str, metric: str, *, may_be_absent: bool = False) -> Check:
    try:
        owners = world.metrics.with_timeout(_LIMIT).owners(metric, plan.service, datetime.now(UTC) - _RECENT)
    except RolloutError as error:
        return Check(name, ok=False, detail=str(error), fix=f"see that Prometheus answers, and takes {metric}")
    stable_series = owners.count(Track.STABLE)
    if stable_series:
        return Check(name, ok=True, detail=f"{metric}: {stable_series} series of {plan.stable.version}")
    if may_be_absent:
        return Check(
            name, ok=True, detail=f"{metric}: no series of {plan.stable.version} yet; none before the first event"
        )
    if owners:
        return Check(
            name,
            ok=False,
            detail=f"{metric}: {len(owners)} series, none of {plan.stable.version}",
            fix=_label_fix(plan),
        )
    fix = f"let Prometheus scrape the pods of {plan.service}, with some traffic; see how they write its name"
    return Check(name, ok=False, detail=f"{metric}: no series", fix=fix)


def _label_fix(plan: RolloutPlan) -> str:
    version, service = plan.stable.version, plan.service
    return (
        f"let the scrape write the pods' labels: version={version}, or app_kubernetes_io_version={version} and "
        f"app_kubernetes_io_name={service}; or name the Deployment {service}-{version}"
    )
