"""Prefect's runner for a fleet of rollouts: every run a process of its own, as in `canary up` and under a worker.

    python -m benchmarks.running.fleet_runner LIMIT FILE

Writes the deployment's id to FILE and serves until ended.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from prefect.runner import Runner

from flows.canary import canary_rollout


async def serve(limit: int, file: Path) -> None:
    """Register the flow, say under which id, and carry out at most so many runs at once."""
    runner = Runner(name="fleet", query_seconds=2, limit=limit, pause_on_shutdown=False)
    deployment = await runner.aadd_flow(canary_rollout, name="fleet")
    file.write_text(str(deployment))
    await runner.start()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), Path(sys.argv[2])))
