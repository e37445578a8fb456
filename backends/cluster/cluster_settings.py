"""Which cluster, which objects in it, and where its Prometheus answers."""

from __future__ import annotations

from pydantic import Field

from backends.cluster.api.client import HTTP_ROUTES, VIRTUAL_SERVICES, Resource
from backends.cluster.cluster_target import ClusterTarget
from backends.prometheus.http_config_settings import AccessSettings
from backends.route_patches import Destinations
from rollout.model import Track
from rollout.plan import RolloutPlan


class ClusterSettings(ClusterTarget):
    """Which cluster, which objects in it, and where its Prometheus answers."""

    service: str = Field(default="canary-app", description="Its Service, and the app label of its pods.")
    stable_version: str = Field(default="v1", description="Version label of the pods that serve now.")
    canary_version: str = Field(default="v2", description="Version label of the pods that are released.")
    destination_rule: str = Field(default="", description="DestinationRule with both subsets; the service's name too.")
    stable_destination: str = Field(default="", description="Stable's subset (stable), or Service (<service>-stable).")
    canary_destination: str = Field(default="", description="The canary's subset (canary), or its Service.")
    prometheus_access: AccessSettings = Field(default=AccessSettings(), description="How one gets in to it.")
    profile: str = Field(default="istio", description="Where Prometheus has what: a shipped profile, or a file.")
    scrape_seconds: float = Field(default=5.0, gt=0, description="How often the rollout looks; calls end before that.")

    def for_plan(self, plan: RolloutPlan) -> ClusterSettings:
        """Return these settings with what the plan says: the service, its two versions, how often it looks."""
        facts = {"service": plan.service, "stable_version": plan.stable.version, "canary_version": plan.canary.version}
        facts |= {"profile": plan.metrics.profile}
        return self.model_copy(update=facts | {"scrape_seconds": plan.scrape.total_seconds()})

    @property
    def versions(self) -> dict[Track, str]:
        """The version label of each track."""
        return {Track.STABLE: self.stable_version, Track.CANARY: self.canary_version}

    @property
    def document_name(self) -> str:
        """Name of the VirtualService or HTTPRoute."""
        return self.document or self.service

    @property
    def rule_name(self) -> str:
        """Name of the DestinationRule."""
        return self.destination_rule or self.service

    @property
    def destinations(self) -> Destinations:
        """How the route names the tracks."""
        host, prefix = (self.service, "") if self.kind == "VirtualService" else ("", f"{self.service}-")
        stable, canary = (self.stable_destination or f"{prefix}stable", self.canary_destination or f"{prefix}canary")
        return Destinations(stable, canary, host=host, route=self.route)

    @property
    def resource(self) -> Resource:
        """The kind of object that holds the split."""
        return VIRTUAL_SERVICES if self.kind == "VirtualService" else HTTP_ROUTES

    @property
    def lease(self) -> str:
        """Name of the service's lock."""
        return f"{self.service}-rollout"
