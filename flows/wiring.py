"""The composition root: the name of a backend becomes live ports. The only place that names a backend."""

from __future__ import annotations

import getpass
import logging
import socket
from datetime import UTC, datetime, timedelta
from time import sleep
from typing import TYPE_CHECKING, Protocol

import backends.local.world as local
from backends.local.children import end_with_parent
from backends.prometheus import PrometheusMetrics
from conductor.run import Ports, Run
from flows.targets import Target as Target
from rollout.errors import PlanError
from rollout.plan import Comparison, RolloutPlan
from rollout.ports import Ledger, Lock, Router, Signals, Workloads

if TYPE_CHECKING:
    import backends.cluster.world as cluster

log = logging.getLogger(__name__)

_NO_BASELINE = (
    "compare_with: got 'baseline', allowed on the {backend} backend: stable; "
    "it starts no baseline track yet, only `canary backtest` can judge one"
)


class World(Protocol):
    """One service on either backend, with every port that a rollout needs."""

    @property
    def router(self) -> Router:
        """The split."""
        ...

    @property
    def workloads(self) -> Workloads:
        """The pods."""
        ...

    @property
    def metrics(self) -> PrometheusMetrics:
        """What was counted."""
        ...

    def ledger(self, rollout: str) -> Ledger:
        """Return where a rollout's record lies."""
        ...

    def signals(self, rollout: str) -> Signals:
        """Return the words said to a rollout."""
        ...

    def lock(self, owner: str) -> Lock:
        """Return the service's lock, as this owner sees it."""
        ...

    def rollouts(self) -> tuple[str, ...]:
        """Return the names of the rollouts that have a record, oldest first."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        return datetime.now(UTC)

    def sleep(self, duration: timedelta) -> None:
        """Return once this much time has passed."""
        sleep(max(duration.total_seconds(), 0.0))


class LogNotices:
    """Notices that go to the log alone."""

    def send(self, title: str, text: str) -> None:
        """Log the notice."""
        log.info("%s: %s", title, text)


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
    """Return user and machine, for the record."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def open_world(target: Target, plan: RolloutPlan) -> World:
    """Return the live world that a target names, for the service and the versions of a plan.

    Raises
    ------
    SetupError
        When there is none: no embedded backend runs in the folder, or no kubeconfig can be used.
    """
    return open_cluster(target, plan) if target.backend == "cluster" else local.attach(target.state)


def open_cluster(target: Target, plan: RolloutPlan) -> cluster.World:
    """Return the service's world in a cluster; nothing is asked of it yet."""
    from backends.cluster import world as cluster

    settings = cluster.ClusterSettings(
        kubeconfig=target.kubeconfig,
        context=target.context,
        namespace=target.namespace,
        canary_image=target.image,
        kind=target.kind,
        route_document=target.document,
        route=target.route,
        prometheus_url=target.prometheus,
    )
    return cluster.attach(settings.for_plan(plan))


def open_run(plan: RolloutPlan, target: Target, rollout_id: str) -> Run:
    """Return a run on live ports.

    On the embedded backend nothing outlives what started it: the flow ends, by way of stable, with its runner.
    """
    if plan.compare_with == Comparison.BASELINE:
        raise PlanError(_NO_BASELINE.format(backend=target.backend))
    if target.backend == "local":
        end_with_parent()
    world = open_world(target, plan)
    ports = Ports(
        router=world.router,
        workloads=world.workloads,
        metrics=world.metrics.with_pods(plan.criteria.metrics, plan.service),
        ledger=world.ledger(rollout_id),
        lock=world.lock(rollout_id),
        signals=world.signals(rollout_id),
        notices=LogNotices(),
        clock=SystemClock(),
    )
    return Run.begin(plan, ports)
