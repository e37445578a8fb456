"""What only the emulated API server can do: fail on demand. What it shares with a real one is held by the contract."""

from __future__ import annotations

from typing import Any

import pytest
import urllib3

from tests.emulated.faults import Fault
from tests.emulated.patches import JSON_PATCH
from tests.emulated.server import ADMIN, EmulatedCluster

ROUTES = "/apis/networking.istio.io/v1/namespaces/canary-app/virtualservices"
ROUTE = f"{ROUTES}/canary-app"
WEIGHT = "/spec/http/2/route/0/weight"


def call(server: EmulatedCluster, method: str, path: str, body: Any = None, *, user: str = ADMIN) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {user}", "Content-Type": JSON_PATCH}
    answer = urllib3.PoolManager(retries=False).request(method, server.url + path, json=body, headers=headers)
    return answer.status, answer.json()


def shift(server: EmulatedCluster) -> tuple[int, Any]:
    return call(server, "PATCH", ROUTE, [{"op": "add", "path": WEIGHT, "value": 90}])


def test_a_stranger_is_refused(server: EmulatedCluster) -> None:
    assert call(server, "GET", ROUTE, user="nobody")[0] == 401


def test_a_watch_from_before_a_compaction_begins_with_410(server: EmulatedCluster) -> None:
    version = call(server, "GET", ROUTE)[1]["metadata"]["resourceVersion"]
    shift(server)
    server.store.forget()

    code, event = call(server, "GET", f"{ROUTES}?watch=1&resourceVersion={version}")

    assert (code, event["type"], event["object"]["code"]) == (200, "ERROR", 410)


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.BUSY, 429), (Fault.ERROR, 500), (Fault.CONFLICT, 409), (Fault.INVALID, 422)]
)
def test_refusals_come_on_demand_and_once(server: EmulatedCluster, fault: Fault, code: int) -> None:
    server.faults.plan(fault, "PATCH", "virtualservices")

    assert shift(server)[0] == code
    assert shift(server)[0] == 200


@pytest.mark.parametrize(("fault", "weight"), [(Fault.RESET, 100), (Fault.LOST, 90)])
def test_a_connection_is_lost_before_or_after_the_work_was_done(
    server: EmulatedCluster, fault: Fault, weight: int
) -> None:
    server.faults.plan(fault, "PATCH")

    with pytest.raises(urllib3.exceptions.HTTPError):
        shift(server)

    assert call(server, "GET", ROUTE)[1]["spec"]["http"][2]["route"][0]["weight"] == weight
