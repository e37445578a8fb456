"""A child process that serves the rollout flow to Prefect and starts one run of it.

Served, not called: only under Prefect's runner do a cancellation in the UI and a crash reach the flow run's hooks.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from prefect.client.orchestration import get_client
from prefect.runner import Runner

from flows.canary import canary_rollout

DEPLOYMENT = "demo"


async def serve(parameters: dict[str, Any]) -> None:
    """Register the flow, start a run with these parameters, and go on serving until stopped."""
    runner = Runner(name=DEPLOYMENT, query_seconds=1, pause_on_shutdown=False)
    deployment = await runner.aadd_flow(canary_rollout, name=DEPLOYMENT)
    async with get_client() as client:
        run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)
    print(run.id, flush=True)  # noqa: T201 - the parent reads it
    await runner.start()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(sys.argv[1])))
