"""Prefect's server with its workers, a guard and the deployments of prefect.yaml, for one machine."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from backends.local.children import Child, end_children, start_child
from backends.local.restarting import SupervisedProcess
from flows.server.prefect_server import PrefectServer
from rollout.errors import SetupError

POOLS = ("canary", "canary-orders")
DEPLOYMENTS = ("canary-rollout", "emergency-rollback", "steer", "load-test-validation", "guard", "rollback-drill")
log = logging.getLogger(__name__)

_WORKER_GRACE_SECONDS = 30.0
"""A flow that is ended puts all traffic on stable first, and a command under way is carried out."""
_POOLS_WITHIN_SECONDS = 180.0


@contextmanager
def prefect_parts(state: Path, plan: Path, *, port: int) -> Iterator[PrefectServer]:
    """Run them while the body does, for the embedded backend in this folder; all end on the way out.

    Parameters
    ----------
    state
        State folder of the embedded backend.
    plan
        The plan that the form is filled with at first.
    port
        Port of Prefect's UI; 0: a free one.

    Raises
    ------
    SetupError
        Something did not start; its log is named.
    """
    if not Path("prefect.yaml").is_file():
        raise SetupError("prefect.yaml: there is none in this folder; call this in the project's own folder")
    with PrefectServer(state, port=port) as server:
        environment = server.environment() | {
            "CANARY_BACKEND": "local",
            "CANARY_STATE": str(state.absolute().parent),
            "CANARY_PLAN": str(plan.absolute()),
            "PREFECT_LOGGING_EXTRA_LOGGERS": "conductor,flows,wiring",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
        }
        server.wait_ready()
        started: list[Child] = []
        try:
            worker = ("worker", "start", "--pool", "canary", "--type", "process", "--install-policy", "never")
            started.append(_child("worker", ["-m", "prefect", *worker], state, environment))
            started.append(_child("orders", ["-m", "flows.server.operations_worker"], state, environment))
            guard = ["-m", "cli.main", "guard", "--state", str(state), "--backend", "local"]
            with _restarted(lambda: _child("guard", guard, state, environment)):
                _wait_pools(server, started)
                _deploy(state, environment)
                yield server
        finally:
            end_children(started, grace=_WORKER_GRACE_SECONDS)


@contextmanager
def _restarted(start: Callable[[], Child]) -> Iterator[None]:
    """Start a child again whenever it ends, with a growing pause, while the body runs."""
    ends = threading.Event()

    def restart() -> None:
        # The kernel ends a child with the thread that started it: this one lasts as long as the body.
        restarting = SupervisedProcess(start)
        while not ends.wait(0.5):
            if restarting.tick() and restarting.child is None:
                log.warning("the guard ended, it is started again; see guard.log in the state folder")
        if restarting.child is not None:
            end_children([restarting.child], grace=_WORKER_GRACE_SECONDS)

    restarter = threading.Thread(target=restart)
    restarter.start()
    try:
        yield
    finally:
        ends.set()
        restarter.join()


def _child(name: str, arguments: list[str], state: Path, environment: dict[str, str]) -> Child:
    return start_child(name, [sys.executable, *arguments], log=state / f"{name}.log", env=environment)


def _wait_pools(server: PrefectServer, started: list[Child]) -> None:
    """Wait until the workers have made what the deployments need."""
    until = time.monotonic() + _POOLS_WITHIN_SECONDS
    while not all(_has_pool(server, name) for name in POOLS):
        if time.monotonic() > until or any(child.ended for child in started):
            raise SetupError("Prefect's workers did not start; see worker.log and orders.log in the state folder")
        time.sleep(0.2)


def _has_pool(server: PrefectServer, name: str) -> bool:
    return httpx.get(f"{server.url}/api/work_pools/{name}", trust_env=False, timeout=10).is_success


def _deploy(state: Path, environment: dict[str, str]) -> None:
    names = [part for name in DEPLOYMENTS for part in ("-n", name)]
    deploying = _child("deploy", ["-m", "prefect", "--no-prompt", "deploy", *names], state, environment)
    if deploying.process.wait() != 0:
        raise SetupError(f"prefect.yaml could not be applied; see {state / 'deploy.log'}")
