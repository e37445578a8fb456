"""`canary metrics`: the pipeline's own metrics for Prometheus, read from the ledger at each scrape."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from time import sleep
from typing import Annotated

import typer

from backends.cluster.cluster_target import Taker
from cli.options import PlanOption, takes_target
from rollout.errors import Interrupted
from wiring.command_contexts import command_context
from wiring.interruption import interruptible
from wiring.metrics_endpoint import LOOPBACK, serving
from wiring.target import Target
from wiring.terminal import print_line

PORT = 9105
HostOption = Annotated[str, typer.Option(help="Where to listen; a pod says 0.0.0.0.")]


@takes_target(Taker.SIGNAL)
def metrics(
    target: Target,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where to answer; 0: a free port.")] = PORT,
    host: HostOption = LOOPBACK,
    plan: PlanOption = Path("rollout.yaml"),
) -> None:
    """Serve the pipeline's own metrics to Prometheus until Ctrl-C. `canary guard --metrics-port` does so too."""
    command_context(target, plan)  # a mistake is told now, not to Prometheus
    with suppress(Interrupted), interruptible(), serving(target, plan, port=port, host=host) as address:
        print_line(f"{address}   Ctrl-C ends it")
        while True:
            sleep(1)
