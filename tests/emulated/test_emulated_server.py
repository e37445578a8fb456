"""The emulated API server behaves as a real one was measured to."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import urllib3

from tests.emulated.faults import Fault
from tests.emulated.patches import APPLY, JSON_PATCH, MERGE_PATCH, STRATEGIC
from tests.emulated.server import ADMIN, PIPELINE, EmulatedCluster

ISTIO = "/apis/networking.istio.io/v1/namespaces/canary-app"
ROUTE = f"{ISTIO}/virtualservices/canary-app"
WEIGHT = "/spec/http/2/route/{}/weight"
Call = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def call(server: EmulatedCluster) -> Call:
    pool = urllib3.PoolManager(retries=False)

    def request(method: str, path: str, body: Any = None, *, content: str = "", user: str = ADMIN) -> Any:
        headers = {"Authorization": f"Bearer {user}"} | ({"Content-Type": content} if content else {})
        data = json.dumps(body) if body is not None else None
        answer = pool.request(method, server.url + path, body=data, headers=headers)
        return answer.status, answer.json()

    return request


def _patch(call: Call, *operations: tuple[str, str, Any]) -> tuple[int, dict[str, Any]]:
    body = [{"op": op, "path": path, "value": value} for op, path, value in operations]
    return call("PATCH", ROUTE, body, content=JSON_PATCH)


def test_a_json_patch_whose_test_fails_is_422_and_changes_nothing(call: Call) -> None:
    before = call("GET", ROUTE)[1]

    code, said = _patch(call, ("test", "/metadata/resourceVersion", "1"), ("add", WEIGHT.format(0), 20))

    assert (code, said["reason"]) == (422, "Invalid")
    assert call("GET", ROUTE)[1] == before


def test_a_stale_version_inside_a_merge_patch_is_409(call: Call) -> None:
    body = {"metadata": {"resourceVersion": "1"}, "spec": {"hosts": ["x"]}}

    assert call("PATCH", ROUTE, body, content=MERGE_PATCH)[0] == 409


def test_a_stale_replace_is_409_and_one_without_a_version_422(call: Call) -> None:
    document = call("GET", ROUTE)[1]
    _patch(call, ("add", WEIGHT.format(0), 90))

    assert call("PUT", ROUTE, document)[0] == 409
    del document["metadata"]["resourceVersion"]
    assert call("PUT", ROUTE, document)[0] == 422


def test_a_list_is_no_merge_patch_and_a_mapping_no_json_patch(call: Call) -> None:
    assert call("PATCH", ROUTE, [], content=MERGE_PATCH)[0] == 400
    assert call("PATCH", ROUTE, {}, content=JSON_PATCH)[0] == 400


def test_a_merge_patch_replaces_the_whole_list_of_routes(call: Call) -> None:
    _, document = call("PATCH", ROUTE, {"spec": {"http": [{"name": "alone"}]}}, content=MERGE_PATCH)

    assert document["spec"]["http"] == [{"name": "alone"}]


def test_a_strategic_patch_of_a_custom_object_is_415(call: Call) -> None:
    assert call("PATCH", ROUTE, {}, content=STRATEGIC)[0] == 415


@pytest.mark.parametrize(
    ("weights", "code", "reason"),
    [
        ((-5, 105), 400, None),
        ((0, 0), 400, None),
        ((80, 30), 200, None),
        (("80", 20), 422, "Invalid"),
        ((0.5, 99.5), 422, "Invalid"),
    ],
)
def test_istios_webhook_answers_400_and_the_schema_422(
    call: Call, weights: tuple[Any, Any], code: int, reason: str | None
) -> None:
    found, said = _patch(call, *(("add", WEIGHT.format(number), weight) for number, weight in enumerate(weights)))

    assert (found, said.get("reason")) == (code, reason)
    assert code != 400 or "denied the request: configuration is invalid" in said["message"]


def test_a_second_applier_is_refused_until_it_takes_the_field_by_force(call: Call) -> None:
    applied = {"spec": {"http": [{"name": "mine", "route": [{"destination": {"host": "canary-app"}}]}]}}
    assert call("PATCH", f"{ROUTE}?fieldManager=gitops&force=true", applied, content=APPLY)[0] == 200
    other = {"spec": {"http": []}}

    code, said = call("PATCH", f"{ROUTE}?fieldManager=somebody", other, content=APPLY)
    forced, _ = call("PATCH", f"{ROUTE}?fieldManager=somebody&force=true", other, content=APPLY)

    assert (code, said["message"].split(": ", 1)[1]) == (409, 'conflict with "gitops": .spec.http')
    assert forced == 200
    assert call("PATCH", f"{ROUTE}?fieldManager=gitops", applied, content=APPLY)[0] == 409
    assert call("PATCH", ROUTE, applied, content=APPLY)[0] == 422


def test_a_second_create_is_409_and_a_label_raises_no_generation(call: Call) -> None:
    lease = {"kind": "Lease", "metadata": {"name": "x"}, "spec": {}}
    path = "/apis/coordination.k8s.io/v1/namespaces/canary-app/leases"

    assert [call("POST", path, lease)[0] for _ in range(2)] == [201, 409]
    before = call("GET", ROUTE)[1]["metadata"]["generation"]
    _patch(call, ("add", "/metadata/labels", {"a": "b"}))
    assert call("GET", ROUTE)[1]["metadata"]["generation"] == before
    _patch(call, ("add", WEIGHT.format(0), 90))
    assert call("GET", ROUTE)[1]["metadata"]["generation"] == before + 1


def test_the_role_decides_and_says_what_is_missing(call: Call, server: EmulatedCluster) -> None:
    server.rules = [rule for rule in server.rules if "virtualservices" not in rule["resources"]]

    code, said = call("GET", ROUTE, user=PIPELINE)

    assert code == 403
    assert 'cannot get resource "virtualservices" in API group "networking.istio.io"' in said["message"]
    assert call("GET", ROUTE, user="nobody")[0] == 401


def test_a_kind_that_is_not_installed_is_404(call: Call, server: EmulatedCluster) -> None:
    del server.groups["networking.istio.io"]

    assert call("GET", ROUTE)[1]["message"] == "the server could not find the requested resource"


def test_a_config_map_over_a_megabyte_is_refused(call: Call) -> None:
    body = {"kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"x": "x" * 1_100_000}}

    assert call("POST", "/api/v1/namespaces/canary-app/configmaps", body)[0] == 422


def test_a_watch_tells_what_happened_since_and_is_410_after_a_compaction(server: EmulatedCluster) -> None:
    watch = f"{server.url}{ISTIO}/virtualservices?watch=1&resourceVersion="
    version = server.store.get("virtualservices", "canary-app", "canary-app")["metadata"]["resourceVersion"]
    patch = [{"op": "add", "path": WEIGHT.format(0), "value": 90}]
    server.store.patch("virtualservices", "canary-app", "canary-app", patch, content=JSON_PATCH, manager="ada")
    headers = {"Authorization": f"Bearer {ADMIN}"}
    pool = urllib3.PoolManager(retries=False)

    with pool.request("GET", watch + version, headers=headers, preload_content=False) as stream:
        event = json.loads(stream.readline())
    server.store.forget()
    expired = pool.request("GET", watch + version, headers=headers)

    assert (event["type"], event["object"]["spec"]["http"][2]["route"][0]["weight"]) == ("MODIFIED", 90)
    assert expired.status == 410


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.BUSY, 429), (Fault.ERROR, 500), (Fault.CONFLICT, 409), (Fault.INVALID, 422)]
)
def test_refusals_come_on_demand_and_once(call: Call, server: EmulatedCluster, fault: Fault, code: int) -> None:
    server.faults.plan(fault, "PATCH", "virtualservices")

    assert _patch(call, ("add", WEIGHT.format(0), 90))[0] == code
    assert _patch(call, ("add", WEIGHT.format(0), 90))[0] == 200


@pytest.mark.parametrize(("fault", "weight"), [(Fault.RESET, 100), (Fault.LOST, 90)])
def test_a_connection_is_lost_before_or_after_the_work_was_done(
    call: Call, server: EmulatedCluster, fault: Fault, weight: int
) -> None:
    server.faults.plan(fault, "PATCH")

    with pytest.raises(urllib3.exceptions.HTTPError):
        _patch(call, ("add", WEIGHT.format(0), 90))

    assert call("GET", ROUTE)[1]["spec"]["http"][2]["route"][0]["weight"] == weight
