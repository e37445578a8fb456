"""`canary up`: the embedded backend at rest, for rollouts and orders from other terminals."""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from time import sleep
from typing import Annotated

import typer

import backends.local.environment as local
from backends.local.supervisor_restart import SupervisorRestarter
from loadtest.runner import LoadRun, steady_spec
from rollout.errors import Interrupted
from wiring.files import read_live_plan
from wiring.interruption import interruptible
from wiring.metrics_endpoint import serving
from wiring.settings import Settings
from wiring.target import Target
from wiring.terminal import Terminal


def up(
    plan: Annotated[Path, typer.Option(help="Names the service, its versions and stable's replicas.")] = Path(
        "demo.yaml"
    ),
    rate: Annotated[float, typer.Option(min=0, max=5000, help="Requests a second to send; 0: none.")] = 300.0,
    seed: Annotated[int, typer.Option(help="Seed of the sample service.")] = 1,
    state: Annotated[Path | None, typer.Option(help="State folder.")] = None,
    prefect: Annotated[
        bool, typer.Option("--prefect", help="With Prefect's server, its workers, the guard and the deployments too.")
    ] = False,
    ui_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the Prefect UI; 0: a free one.")] = 4200,
) -> None:
    """Run gateway, Prometheus and the service here, until Ctrl-C; rollouts are started from other terminals.

    With --prefect they are started, watched and steered in the browser too.

    The supervisor is started again where it ends; where that does not help, this command ends with an error.
    All of it ends with this command. A rollout under way is not ended first: `canary abort` does that.
    """
    parsed, folder = read_live_plan(plan), state or Settings().state / "demo"
    local.end_leftovers(folder)
    console = Terminal()
    with interruptible(), ExitStack() as parts:
        world = local.start(folder, plan=parsed, scrape=parsed.scrape, seed=seed, owner_pid=os.getpid())
        keeper = SupervisorRestarter(world)
        parts.callback(keeper.stop)
        exported = parts.enter_context(serving(Target(state=folder.absolute()), plan))
        if rate:
            load = LoadRun(steady_spec(world.gateway_url, rate), folder / "load")
            parts.callback(load.stop)
            load.start()
        console.print(f"gateway {world.gateway_url}   {rate:g} requests/s   Ctrl-C ends it", soft_wrap=True)
        console.print(f"Prometheus {world.prometheus_url}   own metrics {exported}", soft_wrap=True)
        console.print(f"in another terminal: canary run --plan {plan} --state {folder}", soft_wrap=True)
        if prefect:
            from flows.server.prefect_services import prefect_parts

            server = parts.enter_context(prefect_parts(folder, plan, port=ui_port))
            console.print(f"Prefect UI {server.url}/deployments", soft_wrap=True)
        with suppress(Interrupted):
            while True:
                sleep(1)
                if line := keeper.restart_if_ended():
                    console.print(line, soft_wrap=True)
