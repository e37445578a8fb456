"""What any Kubernetes API server does, the emulated one as well as a real one: what the cluster backend builds on."""

from __future__ import annotations

import json
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from kubernetes.client import ApiClient

from backends.cluster.api.client import connect
from tests.cluster.real import RealCluster
from tests.cluster.real import real as real
from tests.emulated.patches import APPLY, JSON_PATCH, MERGE_PATCH, STRATEGIC
from tests.emulated.server import ADMIN, EmulatedCluster
from tests.emulated.shipped import NAMESPACE, role_rules, service_at_rest

WEIGHT = "/spec/http/2/route/{}/weight"
STALE = {"metadata": {"resourceVersion": "1"}}
Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True)
class ApiServer:
    """A namespace of an API server, as an administrator and as the pipeline reach it."""

    namespace: str
    admin: ApiClient
    pipeline: ApiClient

    @property
    def route(self) -> str:
        """Where the VirtualService is."""
        return self.path("networking.istio.io/v1", "virtualservices/canary-app")

    def path(self, group: str, name: str) -> str:
        """Return where something of the namespace lies."""
        return f"/{f'apis/{group}' if group else 'api/v1'}/namespaces/{self.namespace}/{name}"

    def call(self, method: str, path: str, body: Any = None, *, content: str = "", client: Any = None) -> Answer:
        """Return the status and the body of the answer."""
        headers = {"Accept": "application/json", "Content-Type": content or "application/json"}
        client = client or self.admin
        request = client.param_serialize(method, path, header_params=headers, body=body, auth_settings=["BearerToken"])
        answer = client.call_api(*request, _request_timeout=10)
        text = answer.read().decode()
        return answer.status, json.loads(text) if text.startswith("{") else {"text": text.strip()}

    def patch(self, *operations: tuple[str, str, Any]) -> Answer:
        """Change the VirtualService by a JSON patch."""
        body = [{"op": op, "path": path, "value": value} for op, path, value in operations]
        return self.call("PATCH", self.route, body, content=JSON_PATCH)

    def watched(self, version: str) -> dict[str, Any]:
        """Return the first event of a watch of the VirtualServices from a version on."""
        path = f"{self.path('networking.istio.io/v1', 'virtualservices')}?watch=1&resourceVersion={version}"
        request = self.admin.param_serialize("GET", path, auth_settings=["BearerToken"])
        answer = self.admin.call_api(*request, _request_timeout=10).response
        line = answer.readline()
        answer.close()
        return {"status": answer.status} | json.loads(line)


@pytest.fixture(params=["emulated", pytest.param("real", marks=pytest.mark.cluster)])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ApiServer]:
    if request.param == "emulated":
        with EmulatedCluster(role_rules()) as running:
            running.put(*service_at_rest())
            clients = [connect(running.kubeconfig(tmp_path, user)) for user in (ADMIN, "pipeline")]
            yield ApiServer(NAMESPACE, *clients)
        return
    found: RealCluster = request.getfixturevalue("real")
    if found.admin is None:
        pytest.skip("KUBECONFIG names no administrator")
    api = ApiServer(found.settings.namespace, connect(None), connect(found.settings.kubeconfig))
    before = api.call("GET", api.route)[1]
    yield api
    api.call("PATCH", api.route, {"metadata": {"labels": None}, "spec": before["spec"]}, content=MERGE_PATCH)


def test_a_json_patch_whose_test_fails_is_422_and_changes_nothing(server: ApiServer) -> None:
    before = server.call("GET", server.route)[1]

    code, said = server.patch(("test", "/metadata/resourceVersion", "1"), ("add", WEIGHT.format(0), 20))

    assert (code, said["reason"]) == (422, "Invalid")
    assert said["message"].startswith("the server rejected our request due to an error in our request")
    assert server.call("GET", server.route)[1] == before


def test_a_write_that_changes_nothing_makes_no_new_version(server: ApiServer) -> None:
    before = server.call("GET", server.route)[1]

    code, after = server.patch(("add", WEIGHT.format(0), 100), ("add", WEIGHT.format(1), 0))

    assert (code, after["metadata"]["resourceVersion"]) == (200, before["metadata"]["resourceVersion"])


def test_a_stale_version_inside_a_merge_patch_is_409(server: ApiServer) -> None:
    code, said = server.call("PATCH", server.route, STALE | {"spec": {"hosts": ["x"]}}, content=MERGE_PATCH)

    assert (code, said["reason"]) == (409, "Conflict")
    assert "the object has been modified" in said["message"]


def test_a_stale_replace_is_409_and_one_without_a_version_422(server: ApiServer) -> None:
    document = server.call("GET", server.route)[1]
    server.patch(("add", WEIGHT.format(0), 90))

    assert server.call("PUT", server.route, document)[0] == 409
    del document["metadata"]["resourceVersion"]
    assert server.call("PUT", server.route, document)[0] == 422


def test_a_list_is_no_merge_patch(server: ApiServer) -> None:
    assert server.call("PATCH", server.route, [], content=MERGE_PATCH)[0] == 400


def test_a_merge_patch_replaces_the_whole_list_of_routes(server: ApiServer) -> None:
    alone = {"name": "alone", "directResponse": {"status": 404}}

    _, document = server.call("PATCH", server.route, {"spec": {"http": [alone]}}, content=MERGE_PATCH)

    assert document["spec"]["http"] == [alone]


def test_a_strategic_patch_of_a_custom_object_is_415(server: ApiServer) -> None:
    assert server.call("PATCH", server.route, {}, content=STRATEGIC)[0] == 415


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
    server: ApiServer, weights: tuple[Any, Any], code: int, reason: str | None
) -> None:
    found, said = server.patch(*(("add", WEIGHT.format(number), weight) for number, weight in enumerate(weights)))

    if (code, found) == (400, 200):
        pytest.skip("no istiod validates here")
    assert (found, said.get("reason")) == (code, reason)
    assert code != 400 or "denied the request: configuration is invalid" in said["message"]


def test_a_second_applier_is_refused_until_it_takes_the_field_by_force(server: ApiServer) -> None:
    kind = {"apiVersion": "networking.istio.io/v1", "kind": "VirtualService", "metadata": {"name": "canary-app"}}
    rest = deepcopy(server.call("GET", server.route)[1]["spec"]["http"])
    mine, other = (kind | {"spec": {"http": [*rest, {"name": name, **rest[0]}]}} for name in ("mine", "other"))
    mine["spec"]["http"][-1] = rest[0] | {"name": "mine"}
    other["spec"]["http"][-1] = rest[0] | {"name": "other"}

    def apply(who: str, document: dict[str, Any]) -> Answer:
        return server.call("PATCH", f"{server.route}?{who}", document, content=APPLY)

    assert apply("fieldManager=gitops&force=true", mine)[0] == 200
    code, said = apply("fieldManager=somebody", other)
    forced, _ = apply("fieldManager=somebody&force=true", other)

    assert (code, said["reason"]) == (409, "Conflict")
    assert 'conflict with "gitops"' in said["message"]
    assert ".spec.http" in said["message"]
    assert forced == 200
    assert apply("fieldManager=gitops", mine)[0] == 409
    assert apply("", mine)[0] == 422


def test_a_json_patch_makes_its_writer_the_owner_of_the_whole_list(server: ApiServer) -> None:
    body = [{"op": "add", "path": WEIGHT.format(0), "value": 70}]

    _, document = server.call("PATCH", f"{server.route}?fieldManager=ada", body, content=JSON_PATCH)

    owners = [
        entry for entry in document["metadata"]["managedFields"] if "f:http" in entry["fieldsV1"].get("f:spec", {})
    ]
    assert [(one["manager"], one["operation"], one["fieldsV1"]["f:spec"]["f:http"]) for one in owners] == [
        ("ada", "Update", {})
    ]


def test_a_second_create_is_409_and_a_label_raises_no_generation(server: ApiServer) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}, "spec": {}}
    path = server.path("coordination.k8s.io/v1", "leases")

    answers = [server.call("POST", path, deepcopy(lease)) for _ in range(2)]
    assert [code for code, _ in answers] == [201, 409]
    assert answers[1][1]["reason"] == "AlreadyExists"
    before = server.call("GET", server.route)[1]["metadata"]["generation"]
    server.patch(("add", "/metadata/labels", {"a": "b"}))
    assert server.call("GET", server.route)[1]["metadata"]["generation"] == before
    server.patch(("add", WEIGHT.format(0), 90))
    assert server.call("GET", server.route)[1]["metadata"]["generation"] == before + 1


def test_what_the_role_does_not_grant_is_403_and_named(server: ApiServer) -> None:
    code, said = server.call("GET", server.path("", "secrets"), client=server.pipeline)

    who = said["message"].split('"')[1]
    wanted = f'cannot list resource "secrets" in API group "" in the namespace "{server.namespace}"'
    assert (code, said["reason"]) == (403, "Forbidden")
    assert said["message"] == f'secrets is forbidden: User "{who}" {wanted}'
    assert who.startswith("system:serviceaccount:")


def test_what_is_not_there_is_404_and_so_is_a_kind_that_is_not_installed(server: ApiServer) -> None:
    code, said = server.call("GET", f"{server.route}-other")
    kind, unknown = server.call("GET", server.path("nobody.example.org/v1", "things/x"))

    assert (code, said["reason"]) == (404, "NotFound")
    assert said["message"] == 'virtualservices.networking.istio.io "canary-app-other" not found'
    assert (kind, unknown) == (404, {"text": "404 page not found"})


def test_a_config_map_over_a_megabyte_is_refused(server: ApiServer) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "big"}, "data": {"x": "x" * 1_100_000}}

    assert server.call("POST", server.path("", "configmaps"), body)[0] == 422


def test_the_items_of_a_list_of_the_servers_own_kinds_do_not_say_their_kind(server: ApiServer) -> None:
    _, deployments = server.call("GET", server.path("apps/v1", "deployments"))
    _, routes = server.call("GET", server.path("networking.istio.io/v1", "virtualservices"))

    assert {one.get("kind") for one in deployments["items"]} == {None}
    assert {one.get("kind") for one in routes["items"]} == {"VirtualService"}


def test_a_watch_tells_what_happened_since_a_version(server: ApiServer) -> None:
    version = server.call("GET", server.route)[1]["metadata"]["resourceVersion"]
    server.patch(("add", WEIGHT.format(0), 90))

    event = server.watched(version)

    assert (event["status"], event["type"]) == (200, "MODIFIED")
    assert event["object"]["spec"]["http"][2]["route"][0]["weight"] == 90


def test_a_watch_from_a_version_of_long_ago_begins_with_410_inside_a_good_answer(server: ApiServer) -> None:
    event = server.watched("1")

    assert (event["status"], event["type"]) == (200, "ERROR")
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 1 ")
