"""The composition root: the name of a backend becomes live ports. The only place that names a backend."""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import backends.local.environment as local
from backends.local.children import end_with_parent
from backends.prometheus.address import Address
from backends.prometheus.http_config_settings import AccessSettings
from conductor.commands.commands import Desk
from rollout.document import shown
from rollout.errors import PlanError, RolloutError, SetupError
from rollout.plan import RolloutPlan
from rollout.ports import Ledger, Notices
from wiring.files import carried_out
from wiring.hook_commands import refused_commands
from wiring.notifications import LazyNotices, open_notices
from wiring.settings import Settings
from wiring.target import Target as Target

if TYPE_CHECKING:
    import backends.cluster.environment as cluster
    from conductor.state.rollout_run import Run


class SystemClock:
    """The machine's own clock; a sleep on it can be ended early."""

    def __init__(self) -> None:
        self._woken = Event()

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        return datetime.now(UTC)

    def sleep(self, duration: timedelta) -> None:
        """Return once this much time has passed, or somebody has called `wake`."""
        if self._woken.wait(max(duration.total_seconds(), 0.0)):
            self._woken.clear()

    def wake(self) -> None:
        """End the sleep, or the next one."""
        self._woken.set()


def new_rollout_id(plan: RolloutPlan, now: datetime) -> str:
    """Return a name for a rollout that sorts by time within its service.

    Parameters
    ----------
    plan
        The rollout's plan.
    now
        When it begins, UTC.
    """
    return f"{plan.service}-{plan.canary.version}-{now:%Y%m%d-%H%M%S}"


def who_runs() -> str:
    """Return user and machine, for the record; a container's user may have a number alone.

    By the process's user id: an environment can say what it likes, and approvals go by this name.
    """
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        user = f"uid-{os.getuid()}"
    return f"{user}@{socket.gethostname()}"


def open_world(target: Target, plan: RolloutPlan | None) -> local.World | cluster.World:
    """Return the live world that a target names, for the service and the versions of a plan.

    The embedded backend knows its service and versions itself, and needs none.

    Raises
    ------
    SetupError
        When there is none: no embedded backend runs in the folder, or no kubeconfig can be used.
    PlanError
        When the embedded backend that runs there has another service.
    """
    if target.backend == "local":
        world, wanted = local.attach(target.state), plan.service if plan else target.service
        if wanted not in ("", world.settings.service):
            raise PlanError(f"service: got {wanted!r}, allowed: {world.settings.service}, which runs in {target.state}")
        return world
    assert plan is not None
    return open_cluster(target, plan)


def services_of(target: Target, plan: RolloutPlan) -> tuple[str, ...]:
    """Return the services beside the plan's own that commands can go to: those with a rollout on record.

    A target that names a service or its route is about that one alone, and the embedded backend has no other.
    """
    if target.backend == "local" or target.service or target.document or target.route:
        return ()
    return tuple(service for service in open_cluster(target, plan).services() if service != plan.service)


def plan_on_record(target: Target) -> RolloutPlan:
    """Return the plan of the latest rollout of the service that a target names.

    Raises
    ------
    PlanError
        When it has none on record.
    """
    world = open_cluster(target, None)
    for name in reversed(world.rollouts()):
        if started := world.ledger(name).read().started:
            return started.plan
    known = ", ".join(world.services()) or "none, there is none"
    raise PlanError(f"service: got {target.service!r}, allowed: one with a rollout on record: {known}")


def gateway_of(target: Target) -> str | None:
    """Return where users send their requests, where that is known."""
    return running_gateway(target.state) if target.backend == "local" else target.gateway or None


def running_gateway(state: Path) -> str | None:
    """Return the address of the embedded backend's gateway that runs in a state folder, or None."""
    try:
        return local.attach(state).gateway_url
    except SetupError:
        return None


def open_cluster(target: Target, plan: RolloutPlan | None) -> cluster.World:
    """Return the world of a plan's service in a cluster, or without one of the target's; nothing is asked of it yet."""
    from backends.cluster import environment as cluster
    from backends.cluster.cluster_settings import ClusterSettings
    from backends.cluster.cluster_target import ClusterTarget

    address, access = way_to_prometheus(target.prometheus, target.prometheus_config)
    fields = {name: getattr(target, name) for name in ClusterTarget.model_fields}
    if target.service:
        fields["service"] = target.service
    settings = ClusterSettings.model_validate(fields | {"prometheus": address, "prometheus_access": access})
    return cluster.attach(settings.for_plan(plan) if plan else settings)


def way_to_prometheus(address: Address, config: Path | None) -> tuple[Address, AccessSettings]:
    """Return a Prometheus' address with its secrets, and how one gets in to it.

    What the environment says of access is for the address that it names. Where it names one, another server that
    somebody writes into a form is not sent what lets us in to ours.

    Parameters
    ----------
    address
        Where it answers; a target that has been through Prefect has lost its secrets.
    config
        The file that the command line or the form names, which counts for any address; None for the environment's.
    """
    settings = Settings()
    is_ours = not settings.prometheus or settings.prometheus.origin == address.origin
    if settings.prometheus.url == address.url and not (address.user or address.query):
        address = settings.prometheus
    own = settings.prometheus_config.absolute() if settings.prometheus_config else None
    if config and config.absolute() != own:
        return address, AccessSettings(config=config)
    if not is_ours:
        return address, AccessSettings()
    return address, AccessSettings(
        config=own,
        token_file=settings.prometheus_token_file,
        headers=settings.prometheus_headers,
    )


def open_run(plan: RolloutPlan, target: Target, rollout_id: str) -> Run:
    """Return a run on live ports; what a demo starts ends, by way of stable, with the demo."""
    carried_out(plan, source="plan")
    if target.backend == "local" and plan.metrics.profile != "istio":
        raise PlanError(f"metrics.profile: got {shown(plan.metrics.profile)}, allowed with the embedded backend: istio")
    if Settings().end_with_parent:
        end_with_parent()
    return _begin(plan, target, rollout_id, open_notices(), who_runs())


def open_command_context(target: Target, plan: RolloutPlan | None, *, owner: str = "") -> Desk:
    """Return the context of commands to a target's service; one process may carry out several at once.

    Parameters
    ----------
    target
        Where the service runs.
    plan
        Cluster only: what names the service.
    owner
        Who takes over what has lost its owner, when that is not simply this process.
    """
    return Desk(
        world=open_world(target, plan),
        open_run=lambda plan, rollout_id: _begin(plan, target, rollout_id, LazyNotices(), owner or who_runs()),
        open_world=lambda plan: open_world(target, plan),
        clock=SystemClock(),
        notices=LazyNotices(),
        who=who_runs(),
    )


def _begin(plan: RolloutPlan, target: Target, rollout_id: str, notices: Notices, who: str) -> Run:
    from backends.hook_runner import HookRunner  # commands begin sooner without it, and without the judge
    from conductor.state.rollout_run import Ports, Run

    world = open_world(target, plan)
    owner = f"{rollout_id} by {who} pid {os.getpid()}"  # another process of this name is another owner
    ports = Ports.of(world, rollout_id, owner=owner, notices=notices, clock=SystemClock())
    metrics = world.metrics.with_pods(plan.criteria.metrics, plan.service)
    refused = () if _is_on_own_record(target, ports.ledger, plan) else refused_commands(plan)
    return Run.begin(plan, replace(ports, metrics=metrics, counters=world.metrics, hooks=HookRunner(refused)))


def _is_on_own_record(target: Target, ledger: Ledger, plan: RolloutPlan) -> bool:
    """Whether a rollout has begun with this plan, on a record that is a file of this machine."""
    if target.backend != "local":
        return False
    with suppress(RolloutError):
        started = ledger.read().started
        return started is not None and started.plan == plan
    return False
