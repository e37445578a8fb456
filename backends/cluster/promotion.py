"""After a promotion: what `stable` means becomes the new version, then the weights go back to rest.

With a VirtualService that is a subset of the DestinationRule, with an HTTPRoute stable's Service. Until retention ends
the way back is the same in reverse. At every moment the live traffic goes to pods that run: at 100 % canary nothing
uses `stable`, and once both tracks select one version the weights do not matter.
"""

from __future__ import annotations

from typing import Protocol

from backends.cluster.api.client import DESTINATION_RULES, SERVICES, Api
from backends.cluster.api.conflicts import retry_on_conflict
from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.pods.workloads import ClusterWorkloads
from backends.cluster.router import ClusterRouter
from backends.document_fields import mapping
from backends.route_patches import subset_labels, with_selector, with_subset
from rollout.errors import PlanError
from rollout.model import AT_REST, Track


class PromotedService(Protocol):
    """What a promotion touches of a service in a cluster."""

    @property
    def settings(self) -> ClusterSettings:
        """What its objects are called."""
        ...

    @property
    def api(self) -> Api:
        """The API server."""
        ...

    @property
    def router(self) -> ClusterRouter:
        """The route's weights."""
        ...

    @property
    def workloads(self) -> ClusterWorkloads:
        """The Deployments and their pods."""
        ...


def make_canary_stable(service: PromotedService) -> None:
    """Let the canary's version be what `stable` means, with all traffic on it throughout. Harmless to repeat.

    Raises
    ------
    PlanError
        When the traffic is not all on the canary: then this would move it.
    """
    if selected_version(service, Track.STABLE) != service.settings.canary_version:
        share = service.router.read_weights().canary
        if share != 100:
            raise PlanError(f"adopt {service.settings.canary_version}: it has {share} % of the traffic, allowed: 100 %")
        set_stable_version(service, service.settings.canary_version)
    service.router.set_weights(AT_REST)


def restore_former_stable(service: PromotedService) -> None:
    """Send all traffic to the version that was stable before `make_canary_stable`; its pods have to be there.

    Raises
    ------
    PlanError
        When none of them is ready.
    """
    former = service.settings.stable_version
    if not any(pod.ready for pod in service.workloads.pods() if pod.track is Track.STABLE):
        raise PlanError(f"return to {former}: none of its pods is ready; scale its Deployment up first")
    set_stable_version(service, former)
    service.router.seize(AT_REST)


def selected_version(service: PromotedService, track: Track) -> str:
    """Return which version's pods a track's subset or Service selects now; empty where it selects none."""
    settings = service.settings
    name = settings.destinations.stable if track is Track.STABLE else settings.destinations.canary
    if settings.kind == "HTTPRoute":
        return str(mapping(service.api.get(SERVICES, name), "spec", "selector").get("version") or "")
    rule = service.api.get(DESTINATION_RULES, settings.rule_name)
    return subset_labels(rule).get(name, {}).get("version") or ""


def set_stable_version(service: PromotedService, version: str) -> None:
    """Let the subset or Service `stable` select a version's pods."""
    retry_on_conflict(lambda: _select(service, service.settings.destinations.stable, version))


def _select(service: PromotedService, name: str, version: str) -> None:
    if service.settings.kind == "HTTPRoute":
        selected = service.api.get(SERVICES, name)
        service.api.patch(SERVICES, name, with_selector(selected, version))
        return
    rule = service.api.get(DESTINATION_RULES, service.settings.rule_name)
    service.api.patch(DESTINATION_RULES, service.settings.rule_name, with_subset(rule, name, version))
