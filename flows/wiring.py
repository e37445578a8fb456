"""The composition root: the name of a backend becomes live ports. The only place that names a backend."""

from __future__ import annotations

import getpass
import logging
import socket
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

import backends.local.world as local
from backends.local.children import end_with_parent
from conductor.run import Ports, Run
from rollout.plan import RolloutPlan

log = logging.getLogger(__name__)


class Target(BaseModel):
    """Where a rollout takes place."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backend: Literal["local"] = Field(default="local", description="local: Envoy and processes on this machine.")
    state: Path = Field(default=Path(".canary/demo"), description="State folder of the embedded backend.")


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


def open_run(plan: RolloutPlan, target: Target, rollout_id: str) -> Run:
    """Return a run on live ports.

    On the embedded backend nothing outlives what started it: the flow ends, by way of stable, with its runner.
    """
    end_with_parent()
    world = local.attach(target.state)
    ports = Ports(
        router=world.router,
        workloads=world.workloads,
        metrics=world.metrics,
        ledger=world.ledger(rollout_id),
        lock=world.lock(rollout_id),
        signals=world.signals(rollout_id),
        notices=LogNotices(),
        clock=SystemClock(),
    )
    return Run.begin(plan, ports)
