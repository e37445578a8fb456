"""A service in a cluster, with every port that a rollout needs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Final

from backends.cluster.api.client import CONFIG_MAPS, Api, connect
from backends.cluster.api.config_map_store import SERVICE_LABEL, ConfigMapStore
from backends.cluster.api.kube_events import EventRecorder
from backends.cluster.cluster_settings import ClusterSettings
from backends.cluster.ledger import ClusterLedger
from backends.cluster.lock import ClusterLock, read_holder
from backends.cluster.pods.workloads import ClusterWorkloads
from backends.cluster.promotion import make_canary_stable, restore_former_stable, selected_version
from backends.cluster.router import ClusterRouter, Fence
from backends.cluster.signals import ClusterSignals
from backends.document_fields import MANAGED_BY, mapping
from backends.prometheus import PrometheusMetrics
from backends.route_patches import check_drill
from rollout.errors import PlanError
from rollout.model import AT_REST, Track
from rollout.plan import RolloutPlan
from rollout.quantities import format_duration, parse_duration

_ROLLOUT: Final = re.compile(r"[a-z0-9]([-a-z0-9.]{0,100}[a-z0-9])?")
_LONGEST_CALL: Final = timedelta(seconds=3)
DELAY_OF_LIMIT: Final = 1.5
"""A drill's delay, as a multiple of the latency that the plan rolls back above."""


@dataclass(frozen=True)
class World:
    """One service's route, pods, metrics, and what rollouts store there."""

    settings: ClusterSettings
    api: Api
    fence: Fence = field(default_factory=Fence)

    @property
    def prometheus_url(self) -> str:
        """Where Prometheus answers, as it can be shown."""
        return str(self.settings.prometheus)

    @cached_property
    def router(self) -> ClusterRouter:
        """The route's weights."""
        settings = self.settings
        return ClusterRouter(
            self.api, settings.resource, settings.document_name, settings.destinations, self.fence, self._other_holder
        )

    @cached_property
    def workloads(self) -> ClusterWorkloads:
        """The Deployments and their pods."""
        settings = self.settings
        return ClusterWorkloads(
            self.api,
            settings.service,
            settings.versions,
            settings.image,
            host=settings.destinations.stable if settings.kind == "HTTPRoute" else settings.service,
            container=settings.container,
        )

    @cached_property
    def metrics(self) -> PrometheusMetrics:
        """What Prometheus counted; its time limit is below one scrape."""
        settings = self.settings
        limit = min(timedelta(seconds=0.8 * settings.scrape_seconds), _LONGEST_CALL)
        by_track = {Track.STABLE: settings.destinations.stable, Track.CANARY: settings.destinations.canary}
        are_subsets = settings.kind == "VirtualService"
        # With Services a track, the pods' own proxies name one of those that select them, often the eldest.
        return PrometheusMetrics(
            settings.prometheus,
            settings.service,
            settings.versions,
            timeout=limit,
            namespace=settings.namespace,
            destinations={} if are_subsets else by_track,
            subsets=by_track if are_subsets else {},
            profile=settings.profile,
            access=settings.prometheus_access.load,
        )

    def ledger(self, rollout: str) -> ClusterLedger:
        """Return where a rollout's record lies."""
        recorder = EventRecorder(self.api, self.workloads.deployment(Track.CANARY))
        return ClusterLedger(ConfigMapStore(self.api, f"rollout-{_checked_name(rollout)}", self._labels), recorder)

    def signals(self, rollout: str) -> ClusterSignals:
        """Return the signals sent to a rollout."""
        return ClusterSignals(self.api, f"signals-{_checked_name(rollout)}", self._labels, self.router)

    def lock(self, owner: str) -> ClusterLock:
        """Return the service's lock, as this owner sees it; the router writes in its epoch from then on."""
        return ClusterLock(self.api, self.settings.lease, owner, self.router, self.fence)

    def rollouts(self) -> tuple[str, ...]:
        """Return the names of the rollouts that have a record, oldest first."""
        config_maps = self.api.list_metadata(CONFIG_MAPS, _label_selector(self._labels))
        names = [
            config_map["name"]
            for config_map in sorted(config_maps, key=lambda config_map: str(config_map.get("creationTimestamp", "")))
        ]
        return tuple(name.removeprefix("rollout-") for name in names if name.startswith("rollout-"))

    def services(self) -> tuple[str, ...]:
        """Return the services of this one's namespace that have a rollout on record."""
        config_maps = self.api.list_metadata(CONFIG_MAPS, _label_selector(MANAGED_BY))
        labels = (mapping(config_map, "labels").get(SERVICE_LABEL) for config_map in config_maps)
        return tuple(sorted({service for service in labels if service}))

    def forget(self, rollout: str) -> None:
        """Remove a rollout's two ConfigMaps."""
        for name in (f"rollout-{_checked_name(rollout)}", f"signals-{rollout}"):
            self.api.delete(CONFIG_MAPS, name)

    def serves(self, track: Track) -> bool:
        """Return whether live traffic can reach the pods of a track, by the weights and by what they stand for."""
        weights, version = self.router.read_weights(), self.settings.versions[track]
        shares = ((Track.STABLE, weights.stable), (Track.CANARY, weights.canary))
        return any(share > 0 and selected_version(self, name) == version for name, share in shares)

    def make_canary_stable(self) -> None:
        """Let the canary's version be what `stable` means, and put the weights at rest."""
        make_canary_stable(self)

    def drill_fault(self, fault: str, plan: RolloutPlan) -> str:
        """Return how long each marked request of a drill is held up on its way to the canary, such as `latency=750ms`.

        An error that Istio injects is its own answer: it reaches no pod, and is counted for no version.
        """
        check_drill(self.router.read())
        limit = plan.criteria.latency.rollback_above
        text = fault or f"latency={format_duration(DELAY_OF_LIMIT * limit)}"
        _delay(text)
        return text

    def expose(self, marker: str, fault: str) -> None:
        """Let the requests with this marker reach the canary, late."""
        self.router.set_drill(marker, _delay(fault))

    def clear_drill(self) -> None:
        """Nothing is left: the fault stood in the route."""

    def restore_stable(self) -> None:
        """Send all live traffic to the version that was stable when the rollout began, whoever steers."""
        if selected_version(self, Track.STABLE) != self.settings.stable_version:
            restore_former_stable(self)
        else:
            self.router.seize(AT_REST)

    @property
    def _labels(self) -> dict[str, str]:
        return MANAGED_BY | {SERVICE_LABEL: self.settings.service}

    def _other_holder(self) -> str:
        holder, _ = read_holder(self.api, self.settings.lease)
        return holder.owner if holder and holder.lives and holder.epoch != self.fence.epoch else ""


def attach(settings: ClusterSettings) -> World:
    """Return the service's world. Nothing is asked of the cluster yet; `preflight.checks` asks.

    Raises
    ------
    SetupError
        When there is no usable kubeconfig.
    """
    client = connect(settings.kubeconfig, settings.context)
    deadline = min(timedelta(seconds=0.8 * settings.scrape_seconds), _LONGEST_CALL)
    return World(settings, Api(client, settings.namespace, deadline))


def _label_selector(labels: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in labels.items())


def _delay(fault: str) -> timedelta:
    kind, _, amount = fault.partition("=")
    try:
        if kind == "latency" and not amount.startswith("+") and (delay := parse_duration(amount)) > timedelta(0):
            return delay
    except ValueError:
        pass
    raise PlanError(f"--fault: got {fault!r}, allowed in a drill on a cluster: a latency such as latency=800ms")


def _checked_name(rollout: str) -> str:
    if not _ROLLOUT.fullmatch(rollout):
        raise PlanError(f"rollout: got {rollout!r}, allowed: lower case letters, digits, dots and dashes")
    return rollout
