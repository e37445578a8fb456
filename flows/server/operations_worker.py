"""Carries out the commands of the forms, in one process that has everything loaded already.

    python -m flows.server.operations_worker [--every 0.5] [--alive FILE]

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
from typing import Any
from uuid import UUID

from httpx import HTTPError
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound, PrefectSignal
from prefect.flow_engine import run_flow
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Cancelled, Crashed, Pending
from prefect.workers.process import ProcessWorker

import backends.cluster.environment
import backends.hook_runner
import backends.prometheus.reader
import conductor.rollout
import flows.operations

LOADED = (
    backends.cluster.environment,
    backends.hook_runner,
    backends.prometheus.reader,
    conductor.rollout,
    flows.operations,
)
"""What a command needs, loaded before the first one comes."""
POOL = "canary-orders"
_NAME = "orders"
_THREADS = 20
_HEARTBEAT_SECONDS = 30.0
_RETRY_SECONDS = 2.0
log = logging.getLogger(__name__)


class OperationsWorker:
    """Takes commands until it is told to end.

    Parameters
    ----------
    every
        How often to ask for them, in seconds.
    alive
        A file that is touched at every look.
    """

    def __init__(self, *, every: float, alive: Path | None = None) -> None:
        self._every, self._alive = every, alive
        self._ending = threading.Event()
        self._taken: set[UUID] = set()
        """Commands that are waiting for a thread, or under way."""

    def end(self) -> None:
        """Take no further command; those that were taken are carried out."""
        self._ending.set()

    def work(self) -> None:
        """Take commands and carry them out; a server that is away is asked again and again, for however long."""
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="command") as threads:
            while not self._ending.is_set():
                try:
                    # Prefect's client would wait for half a minute before it asked a server again that was away.
                    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}), get_client(sync_client=True) as client:
                        _open_pool(client)
                        self._look(client, threads)
                except (HTTPError, ObjectNotFound) as error:  # the server is away, or somebody deleted the pool
                    log.warning("no look for orders, there will be another: %s", error)
                    self._pause(_RETRY_SECONDS)

    def _look(self, client: SyncPrefectClient, threads: ThreadPoolExecutor) -> None:
        beat = 0.0
        while not self._ending.is_set():
            if time.monotonic() >= beat:
                client.send_worker_heartbeat(POOL, _NAME, heartbeat_interval_seconds=_HEARTBEAT_SECONDS)
                beat = time.monotonic() + _HEARTBEAT_SECONDS
            scheduled = client.get_scheduled_flow_runs_for_work_pool(POOL, scheduled_before=datetime.now(UTC))
            for run in (answer.flow_run for answer in scheduled):
                if run.id not in self._taken:
                    self._taken.add(run.id)
                    threads.submit(self._carry_out, run)
            self._pause(self._every)

    def _pause(self, seconds: float) -> None:
        if self._alive:
            self._alive.touch()
        self._ending.wait(seconds)

    def _carry_out(self, run: FlowRun) -> None:
        try:
            with get_client(sync_client=True) as client:
                # Only one worker can make it pending, and none once it was cancelled.
                if client.set_flow_run_state(run.id, Pending()).status is SetStateStatus.ACCEPT:
                    self._run(client, run)
        except Exception as error:  # whatever it is, the thread pool would keep it to itself
            log.warning("%s is not taken up now: %s: %s", run.name, type(error).__name__, error)
        finally:
            self._taken.discard(run.id)

    def _run(self, client: SyncPrefectClient, run: FlowRun) -> None:
        try:
            run_flow(_flow_of(client, run), flow_run=run, return_type="state")
        except PrefectSignal as ended:  # a run that was cancelled meanwhile
            log.info("%s: %s", run.name, ended)
        except Exception as error:
            log.exception("%s could not be carried out", run.name)
            self._report(
                client, run, Crashed(message=f"{error}; whether it was carried out is in the rollout's record")
            )
        if _is_being_cancelled(client, run):
            self._report(client, run, Cancelled(message="an order under way is carried out: see the rollout's record"))

    def _report(self, client: SyncPrefectClient, run: FlowRun, state: State[None]) -> None:
        """Tell Prefect's server how a run ended, once it answers: nobody else would."""
        while True:
            try:
                client.set_flow_run_state(run.id, state)
                return
            except HTTPError as error:
                if self._ending.wait(_RETRY_SECONDS):
                    log.warning("Prefect does not know how %s ended, %s: %s", run.name, state.name, error)
                    return


def _open_pool(client: SyncPrefectClient) -> None:
    template = ProcessWorker.get_default_base_job_template()
    with suppress(ObjectAlreadyExists):
        client.create_work_pool(WorkPoolCreate(name=POOL, type=ProcessWorker.type, base_job_template=template))


def _flow_of(client: SyncPrefectClient, run: FlowRun) -> Flow[..., Any]:
    """Return the flow from this process's own modules: a pull step would change the folder under other commands."""
    deployment = client.read_deployment(run.deployment_id) if run.deployment_id else None
    return load_flow_from_entrypoint(deployment.entrypoint or "" if deployment else "")


def _is_being_cancelled(client: SyncPrefectClient, run: FlowRun) -> bool:
    try:
        state = client.read_flow_run(run.id).state
    except HTTPError:
        return False
    return state is not None and state.is_cancelling()


def main() -> None:
    """Work until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=float, default=0.5, help="how often to look for orders, in seconds")
    parser.add_argument("--alive", type=Path, help="a file that is touched at every look")
    options = parser.parse_args()
    worker = OperationsWorker(every=options.every, alive=options.alive)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.end())
    worker.work()


if __name__ == "__main__":
    main()
