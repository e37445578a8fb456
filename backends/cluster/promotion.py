"""After a promotion: what `stable` means becomes the new version, then the weights go back to rest.

With a VirtualService that is a subset of the DestinationRule, with an HTTPRoute stable's Service. Until retention ends
the way back is the same in reverse. At every moment the live traffic goes to pods that run: at 100 % canary nothing
uses `stable`, and once both tracks select one version the weights do not matter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.cluster.client import DESTINATION_RULES, SERVICES
from backends.cluster.conflicts import settled
from backends.documents import subset_labels, with_selector, with_subset
from rollout.errors import PlanError
from rollout.model import AT_REST, Track

if TYPE_CHECKING:
    from backends.cluster.world import World


def adopt_canary(world: World) -> None:
    """Let the canary's version be what `stable` means, with all traffic on it throughout. Harmless to repeat.

    Raises
    ------
    PlanError
        When the traffic is not all on the canary: then this would move it.
    """
    if selected_version(world, Track.STABLE) != world.settings.canary_version:
        share = world.router.read_weights().canary
        if share != 100:
            raise PlanError(f"adopt {world.settings.canary_version}: it has {share} % of the traffic, allowed: 100 %")
        point_stable_at(world, world.settings.canary_version)
    world.router.set_weights(AT_REST)


def return_to_former(world: World) -> None:
    """Send all traffic to the version that was stable before `adopt_canary`; its pods have to be there.

    Raises
    ------
    PlanError
        When none of them is ready.
    """
    former = world.settings.stable_version
    if not any(pod.ready for pod in world.workloads.pods() if pod.track is Track.STABLE):
        raise PlanError(f"return to {former}: none of its pods is ready; scale its Deployment up first")
    point_stable_at(world, former)
    world.router.seize(AT_REST)


def selected_version(world: World, track: Track) -> str:
    """Return which version's pods a track's subset or Service selects now; empty where it selects none."""
    settings = world.settings
    name = settings.destinations.stable if track is Track.STABLE else settings.destinations.canary
    if settings.kind == "HTTPRoute":
        return str((world.api.get(SERVICES, name)["spec"].get("selector") or {}).get("version", ""))
    rule = world.api.get(DESTINATION_RULES, settings.rule_name)
    return subset_labels(rule).get(name, {}).get("version", "")


def point_stable_at(world: World, version: str) -> None:
    """Let the subset or Service `stable` select a version's pods."""
    settled(lambda: _select(world, world.settings.destinations.stable, version))


def _select(world: World, name: str, version: str) -> None:
    if world.settings.kind == "HTTPRoute":
        service = world.api.get(SERVICES, name)
        world.api.patch(SERVICES, name, with_selector(service, version))
        return
    rule = world.api.get(DESTINATION_RULES, world.settings.rule_name)
    world.api.patch(DESTINATION_RULES, world.settings.rule_name, with_subset(rule, name, version))
