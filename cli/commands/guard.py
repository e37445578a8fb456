"""`canary guard`: takes over rollouts whose process is gone. One process; needs neither Prefect nor Prometheus."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from time import sleep
from typing import Annotated

import typer

from backends.cluster.cluster_target import Taker
from backends.local.guard_heartbeat import record_heartbeat
from cli.options import PlanOption, takes_target
from rollout.errors import Interrupted, PlanError, UnavailableError
from rollout.quantities import parse_duration
from wiring.guard_watch import ALL_WELL, Watch, resume_here, resume_in_own_process
from wiring.interruption import interruptible
from wiring.metrics_endpoint import LOOPBACK, serving
from wiring.target import Target
from wiring.terminal import print_line

_SHORTEST_SECONDS = 1.0


@takes_target(Taker.SIGNAL)
def guard(
    target: Target,
    once: Annotated[
        bool, typer.Option("--once", help="Look once, do what is to be done to its end, and exit.")
    ] = False,
    every: Annotated[str, typer.Option(help="How often to look.")] = "10s",
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve metrics to Prometheus there; 0: a free port.")
    ] = None,
    metrics_host: Annotated[str, typer.Option(help="Where to listen for that; a pod says 0.0.0.0.")] = LOOPBACK,
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """Look after rollouts whose owner is gone: restore or resume them, as their plan says in when_orphaned.

    On a cluster those of every service of the namespace, unless one is named by --service, --document or --route.
    After a promotion it also scales the old version to zero, once the plan's retention is over.
    Exit codes with --once: 0 looked, 1 could not look, 2 bad input.
    """
    pause = _checked(every)
    watch = Watch(target, plan, resume_here if once else resume_in_own_process, _print)
    with suppress(Interrupted), interruptible(), ExitStack() as parts:
        if metrics_port is not None:
            served = serving(target, plan, port=metrics_port, host=metrics_host, also=[watch.looks])
            _print(f"metrics: {parts.enter_context(served)}")
        while True:
            looked = watch.look()
            if not once and target.backend == "local":
                with suppress(UnavailableError):  # it guards all the same
                    record_heartbeat(target.state, pause)
            if once:
                if not watch.reported:
                    _print(ALL_WELL)
                raise typer.Exit(0 if looked else 1)
            sleep(pause)


def _checked(every: str) -> float:
    try:
        seconds = parse_duration(every).total_seconds()
    except ValueError as error:
        raise PlanError(f"--every: got {every!r}, {error}") from error
    if seconds < _SHORTEST_SECONDS:
        raise PlanError(f"--every: got {every!r}, allowed: {_SHORTEST_SECONDS:g}s or more")
    return seconds


def _print(line: str) -> None:
    print_line(f"{datetime.now(UTC):%H:%M:%S}  {line}")
