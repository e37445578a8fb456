"""Carries out what the forms order, in one process that has everything loaded already.

    python -m flows.server.orders_worker [--every 0.5] [--alive FILE]

A worker of Prefect's own starts a process for every run, which takes seconds: users of a bad canary shall not wait for
that. It looks for runs of the work pool `canary-orders`, which any process worker can look after in its place.
"""

from __future__ import annotations

import argparse
import logging
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectAlreadyExists, PrefectSignal
from prefect.flow_engine import run_flow
from prefect.flows import load_flow_from_entrypoint
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Crashed, Pending
from prefect.workers.process import ProcessWorker

import backends.cluster.world
import backends.hooks
import backends.prometheus
import conductor.rollout
import flows.steering

LOADED = (backends.cluster.world, backends.hooks, backends.prometheus, conductor.rollout, flows.steering)
"""What an order needs, loaded before the first one comes."""
POOL = "canary-orders"
_NAME = "orders"
_AT_ONCE = 20
_HEARTBEAT_SECONDS = 30.0
_AGAIN_SECONDS = 2.0
log = logging.getLogger(__name__)


def work(ending: threading.Event, *, every: float, alive: Path | None = None) -> None:
    """Take orders until told to end; those under way are carried out before this returns.

    A server that is away is asked again and again, for however long.

    Parameters
    ----------
    ending
        Set when no further order shall be taken.
    every
        How often to ask, in seconds.
    alive
        A file that is touched at every look.
    """
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="order") as orders:
        while not ending.is_set():
            try:
                # Prefect's client would wait for half a minute before it asked a server again that was away.
                with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
                    _open_pool(client)
                    _look(client, orders, ending, every, alive)
            except HTTPError as error:
                log.warning("Prefect's server does not answer, it is asked again: %s", error)
                _touch(alive)
                ending.wait(_AGAIN_SECONDS)


def _open_pool(client: SyncPrefectClient) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template))


def _look(
    client: SyncPrefectClient, orders: ThreadPoolExecutor, ending: threading.Event, every: float, alive: Path | None
) -> None:
    beat = 0.0
    while not ending.is_set():
        if time.monotonic() >= beat:
            client.send_worker_heartbeat(POOL, _NAME, heartbeat_interval_seconds=_HEARTBEAT_SECONDS)
            beat = time.monotonic() + _HEARTBEAT_SECONDS
        for found in client.get_scheduled_flow_runs_for_work_pool(POOL, scheduled_before=datetime.now(UTC)):
            orders.submit(carry_out, found.flow_run, ending)
        _touch(alive)
        ending.wait(every)


def _touch(alive: Path | None) -> None:
    if alive:
        alive.touch()


def carry_out(run: FlowRun, ending: threading.Event) -> None:
    """Run an order's flow to its end, unless it has been cancelled or somebody else has taken it.

    It may be found twice before it is taken: only one becomes pending.
    """
    with get_client(sync_client=True) as client:
        if client.set_flow_run_state(run.id, Pending()).status is not SetStateStatus.ACCEPT or not run.deployment_id:
            return
        try:
            entrypoint = client.read_deployment(run.deployment_id).entrypoint or ""
            run_flow(load_flow_from_entrypoint(entrypoint), flow_run=run, return_type="state")
        except PrefectSignal as ended:  # a run that was cancelled meanwhile
            log.info("%s: %s", run.name, ended)
        except Exception as error:
            log.exception("%s could not be carried out", run.name)
            _tell(
                client, run, Crashed(message=f"{error}; whether it was carried out is in the rollout's record"), ending
            )
        if _is_being_cancelled(client, run):
            _tell(client, run, Cancelled(message="an order under way is carried out: see the rollout's record"), ending)


def _is_being_cancelled(client: SyncPrefectClient, run: FlowRun) -> bool:
    try:
        state = client.read_flow_run(run.id).state
    except HTTPError:
        return False
    return state is not None and state.is_cancelling()


def _tell(client: SyncPrefectClient, run: FlowRun, state: State[None], ending: threading.Event) -> None:
    """Tell Prefect's server how a run ended, once it answers: nobody else would."""
    while not ending.is_set():
        try:
            client.set_flow_run_state(run.id, state)
            return
        except HTTPError:
            ending.wait(_AGAIN_SECONDS)


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=float, default=0.5, help="how often to look for orders, in seconds")
    parser.add_argument("--alive", type=Path, help="a file that is touched at every look")
    options, ending = parser.parse_args(), threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ending.set())
    work(ending, every=options.every, alive=options.alive)


if __name__ == "__main__":
    main()
