"""Commands from forms in one process, on a real Prefect server."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from backends.local.children import Child, end_children, start_child
from flows.server import operations_worker
from flows.server.prefect_server import PrefectServer

ROOT = Path(__file__).parents[2]


class Office:
    """A Prefect server, the worker, and deployments whose forms are submitted."""

    def __init__(self, server: PrefectServer, asks: httpx.Client, folder: Path) -> None:
        self.server, self.folder, self._asks = server, folder, asks
        self._told = server.environment() | {"CANARY_STATE": str(folder)}
        self.worker = self.employ()
        until(lambda: self._asks.get(f"/work_pools/{operations_worker.POOL}").is_success)

    def employ(self, module: str = operations_worker.__name__) -> Child:
        command = [sys.executable, "-m", module, "--alive", str(self.folder / "alive")]
        self.worker = start_child("orders", command, log=self.folder / "orders.log", env=self._told)
        return self.worker

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        def answer() -> httpx.Response | None:
            found = self._asks.post(path, json=body)
            return None if found.status_code == httpx.codes.SERVICE_UNAVAILABLE else found  # its SQLite was locked

        found: dict[str, Any] = until(answer).raise_for_status().json()
        return found

    def get(self, path: str) -> dict[str, Any]:
        found: dict[str, Any] = self._asks.get(path).json()
        return found

    def delete(self, path: str) -> None:
        self._asks.delete(path).raise_for_status()

    def submits(self, entrypoint: str, **filled_in: object) -> str:
        """Submit the form of a flow, and return the run."""
        name = entrypoint.rpartition(".")[2]
        deployment = {
            "name": name,
            "flow_id": self.post("/flows/", {"name": name})["id"],
            "entrypoint": entrypoint,
            "work_pool_name": operations_worker.POOL,
            "enforce_parameter_schema": False,
            "pull_steps": [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}],
        }
        found = self.post("/deployments/", deployment)["id"]
        body = {"parameters": filled_in, "state": {"type": "SCHEDULED"}}
        return str(self.post(f"/deployments/{found}/create_flow_run", body)["id"])

    def ended(self, run: str) -> dict[str, Any]:
        """Return the final state of a run."""

        def state() -> dict[str, Any] | None:
            found: dict[str, Any] = self._asks.get(f"/flow_runs/{run}").raise_for_status().json()["state"]
            return found if found["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

        found: dict[str, Any] = until(state)
        return found


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    folder = tmp_path_factory.mktemp("office")
    with PrefectServer(folder / "server") as server:
        server.wait_ready()
        with httpx.Client(base_url=f"{server.url}/api", trust_env=False, timeout=30) as asks:
            office = Office(server, asks, folder)
            try:
                yield office
            finally:
                end_children([office.worker])


def until(condition: Callable[[], Any], seconds: float = 240) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return found


def test_orders_are_given_side_by_side_and_one_that_cannot_be_ends_no_other(office: Office) -> None:
    slow = office.submits("tests.flows.slow_operation.slow_operation", begun=str(office.folder / "first"))
    until((office.folder / "first").exists)

    wrong = office.ended(office.submits("flows.operations.steer", word="stop", target={"backend": "local"}))
    # Deployments of version 0.1 are still in people's databases.
    renamed = office.ended(office.submits("flows.steering.steer", word="stop", target={"backend": "local"}))
    nowhere = str(office.folder / "nowhere")
    homeless = office.ended(
        office.submits("flows.operations.emergency_rollback", reason="", target={"backend": "local", "state": nowhere})
    )

    assert (wrong["name"], wrong["message"].partition(",")[0]) == ("Refused", "word: got 'stop'")
    assert (renamed["name"], renamed["message"]) == (wrong["name"], wrong["message"])
    assert (homeless["type"], homeless["name"]) == ("FAILED", "Failed")
    assert "no local world there" in homeless["message"]
    assert office.ended(slow)["name"] == "Done"
    assert office.worker.process.poll() is None
    assert time.time() - (office.folder / "alive").stat().st_mtime < 10


def test_a_worker_that_is_told_to_end_carries_out_what_it_has_begun(office: Office) -> None:
    run = office.submits("tests.flows.slow_operation.slow_operation", begun=str(office.folder / "second"))
    until((office.folder / "second").exists)

    office.worker.process.terminate()

    assert office.worker.process.wait(60) == 0
    assert office.ended(run)["name"] == "Done"


def test_what_is_ordered_while_nobody_works_is_done_by_the_next_worker(office: Office) -> None:
    assert office.worker.process.poll() is not None
    run = office.submits("tests.flows.slow_operation.slow_operation", begun=str(office.folder / "third"))

    office.employ("flows.server.orders_worker")  # as manifests of version 0.1 start it

    assert office.ended(run)["name"] == "Done"


def test_an_order_that_is_cancelled_under_way_is_carried_out_and_ends_as_cancelled(office: Office) -> None:
    run = office.submits("tests.flows.slow_operation.slow_operation", begun=str(office.folder / "fourth"))
    until((office.folder / "fourth").exists)

    office.post(f"/flow_runs/{run}/set_state", {"state": {"type": "CANCELLING"}})

    state = office.ended(run)
    assert (state["type"], state["message"].partition(":")[0]) == ("CANCELLED", "an order under way is carried out")


def test_an_order_that_cannot_be_begun_ends_as_crashed(office: Office) -> None:
    state = office.ended(office.submits("tests.flows.slow_operation.no_such_flow"))

    assert state["type"] == "CRASHED"
    assert "no_such_flow" in state["message"]


def test_a_pool_that_somebody_deleted_is_made_again(office: Office) -> None:
    pool = f"/work_pools/{operations_worker.POOL}"
    before = office.get(pool)["id"]

    office.delete(pool)

    until(lambda: office.get(pool).get("id") not in (None, before))
    assert office.worker.process.poll() is None


def test_a_server_that_was_away_is_asked_again(office: Office) -> None:
    port = int(office.server.url.rsplit(":", 1)[1])
    office.server.__exit__()
    time.sleep(5)

    with PrefectServer(office.folder / "server", port=port) as server:
        server.wait_ready()
        began = time.monotonic()
        run = office.submits("tests.flows.slow_operation.slow_operation", begun=str(office.folder / "fifth"))

        until((office.folder / "fifth").exists)
        assert time.monotonic() - began < 20  # Prefect's own client would sleep for half a minute
        assert office.ended(run)["name"] == "Done"
        assert office.worker.process.poll() is None


def test_the_command_says_what_it_takes() -> None:
    done = subprocess.run(
        [sys.executable, "-m", operations_worker.__name__, "--help"], capture_output=True, text=True, check=False
    )

    assert done.returncode == 0
    assert "--alive" in done.stdout
