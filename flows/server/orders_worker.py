"""A worker that does what the forms order in its own process, which has everything loaded.

    python -m flows.server.orders_worker [--with-healthcheck]

A process worker starts a process for every run, which takes seconds: users of a bad canary shall not wait for that.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from contextlib import suppress
from functools import partial
from typing import Any

import anyio
import httpx
from anyio.abc import TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import PrefectSignal
from prefect.flow_engine import run_flow
from prefect.flows import load_flow_from_flow_run
from prefect.workers.base import BaseWorker, BaseWorkerResult
from prefect.workers.process import ProcessJobConfiguration, ProcessVariables

import flows.steering  # noqa: F401 - loaded before the first order comes

POOL = "canary-orders"


class OrdersWorker(BaseWorker[ProcessJobConfiguration, ProcessVariables, BaseWorkerResult]):
    """Runs each flow in a thread; one that fails ends none of the others."""

    type = "process"  # the pool's: where this worker is gone, Prefect's own may do what is in it
    job_configuration = ProcessJobConfiguration
    job_configuration_variables = ProcessVariables

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Stand beside Prefect's own process worker, not in its place."""
        return POOL

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,  # noqa: ARG002 - says how a process would be started
        task_status: TaskStatus[Any] | None = None,
    ) -> BaseWorkerResult:
        """Run the flow to its end; its final state says what came of it."""
        flow = await load_flow_from_flow_run(flow_run)
        if task_status:
            task_status.started(self.name)
        with suppress(PrefectSignal):  # such as of a run that was cancelled just before: it would end this worker
            await anyio.to_thread.run_sync(partial(run_flow, flow, flow_run=flow_run, return_type="state"))
        return BaseWorkerResult(identifier=self.name, status_code=0)

    async def get_and_submit_flow_runs(self) -> list[FlowRun]:
        """Ask for orders; a server that is away is asked again and again, where Prefect's own worker would give up."""
        try:
            return await super().get_and_submit_flow_runs()
        except httpx.HTTPError:
            return []


async def work(*, with_healthcheck: bool) -> None:
    """Take orders until SIGTERM; those under way are carried out before this returns."""
    working = asyncio.create_task(OrdersWorker(POOL, name="orders").start(with_healthcheck=with_healthcheck))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    with suppress(asyncio.CancelledError):
        await working


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--with-healthcheck", action="store_true", help="answer at /health, as Prefect's workers do")
    asyncio.run(work(with_healthcheck=parser.parse_args().with_healthcheck))
