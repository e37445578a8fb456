"""What answers in the API server's place, or late, is an error of ours that says so."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backends.cluster.api.client import CONFIG_MAPS, DEPLOYMENTS, Api, connect
from backends.cluster.environment import World
from rollout.errors import RolloutError, UnavailableError
from rollout.model import AT_REST, Weights
from tests.emulated.faults import Fault
from tests.emulated.refusals import RefusedError
from tests.emulated.server import EmulatedCluster
from tests.emulated.shipped import NAMESPACE

PAGE = "<html><body>Sign in to continue</body></html>"
PROXY = "see whether a proxy answers in the API server's place"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (PAGE, "no JSON"),
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ('"ok"', "no JSON object"),
        ("[]", "no JSON object"),
        ({"kind": "Status", "status": "Failure"}, "a document of kind Status without name and version"),
        ({"metadata": None}, "a document of kind (none) without name and version"),
    ],
)
def test_an_answer_that_is_no_object_is_no_answer(
    cluster: World, server: EmulatedCluster, body: dict[str, Any] | str, what: str
) -> None:
    server.instead[DEPLOYMENTS.path("canary-app")] = (200, body, {})

    with pytest.raises(UnavailableError) as caught:
        cluster.api.get(DEPLOYMENTS, "canary-app-v1")

    assert str(caught.value) == f"get deployments.apps canary-app/canary-app-v1: the answer is {what}; {PROXY}"


@pytest.mark.parametrize("items", [None, [], ...])
def test_an_empty_list_may_come_as_null_or_be_left_out(cluster: World, server: EmulatedCluster, items: Any) -> None:
    answer: dict[str, Any] = {"kind": "ConfigMapList", "metadata": {"resourceVersion": "7"}}
    server.instead[CONFIG_MAPS.path("canary-app")] = (200, answer if items is ... else answer | {"items": items}, {})

    assert cluster.api.list(CONFIG_MAPS) == []
    assert cluster.rollouts() == ()


@pytest.mark.parametrize("items", ["none", [1], [{"metadata": {}}], {"a": 1}])
def test_a_list_of_anything_but_objects_is_no_answer(cluster: World, server: EmulatedCluster, items: Any) -> None:
    server.instead[CONFIG_MAPS.path("canary-app")] = (200, {"items": items}, {})

    with pytest.raises(UnavailableError, match="list configmaps in canary-app: the answer is"):
        cluster.rollouts()


@pytest.mark.parametrize(
    ("code", "body", "said"),
    [
        (410, RefusedError(410, None, "too old resource version: 7 (9)").body, "no answer: 410 too old resource"),
        (503, PAGE, "no answer: 503 Service Unavailable"),
        (500, {"kind": "Status", "message": None}, "no answer: 500 Internal Server Error"),
        (400, {"kind": "Status"}, "refused with 400: Bad Request"),
        (302, PAGE, "refused with 302: Found"),
        (404, "404 page not found", "not found: Not Found"),
    ],
)
def test_a_refusal_of_any_shape_is_an_error_of_ours(
    cluster: World, server: EmulatedCluster, code: int, body: dict[str, Any] | str, said: str
) -> None:
    server.instead[DEPLOYMENTS.path("canary-app")] = (code, body, {})

    with pytest.raises(RolloutError, match=said):
        cluster.api.get(DEPLOYMENTS, "canary-app-v1")


def test_a_server_that_asks_to_wait_longer_than_a_call_may_take_is_not_asked_again(
    cluster: World, server: EmulatedCluster
) -> None:
    busy = RefusedError(429, "TooManyRequests", "too many requests").body
    server.instead[DEPLOYMENTS.path("canary-app")] = (429, busy, {"Retry-After": "60"})

    with pytest.raises(UnavailableError, match=r"429 too many requests; the server asks to wait 60 s$"):
        cluster.api.get(DEPLOYMENTS, "canary-app-v1")

    assert [path for _, path in server.requests] == [f"{DEPLOYMENTS.path('canary-app')}/canary-app-v1"]


@pytest.mark.parametrize(("fault", "said"), [(Fault.RESET, "the connection was lost"), (Fault.HANGS, "not in time")])
def test_a_lost_answer_is_told_in_the_same_words_each_time(
    cluster: World, server: EmulatedCluster, fault: Fault, said: str
) -> None:
    told = set()
    for seconds in (0.2, 0.3):
        server.faults.plan(fault, "GET", times=20)
        api = Api(connect(cluster.settings.kubeconfig), NAMESPACE, timedelta(seconds=seconds))
        with pytest.raises(UnavailableError) as caught:
            api.get(DEPLOYMENTS, "canary-app-v1")
        server.faults.stop()
        told.add(str(caught.value))

    assert told == {f"get deployments.apps canary-app/canary-app-v1: no answer: {said}"}


def test_a_server_that_is_gone_is_told_without_the_clients_own_words(cluster: World, tmp_path: Path) -> None:
    with EmulatedCluster([]) as gone:
        kubeconfig = gone.kubeconfig(tmp_path, "nobody")
    api = Api(connect(kubeconfig), NAMESPACE, timedelta(seconds=0.2))

    with pytest.raises(UnavailableError, match=r"canary-app-v1: no answer: not connected: \[Errno \d+\] [A-Za-z ]+$"):
        api.get(DEPLOYMENTS, "canary-app-v1")


def test_a_proxys_page_in_place_of_the_route_leaves_the_weights_alone(cluster: World, server: EmulatedCluster) -> None:
    server.instead["/virtualservices/"] = (200, PAGE, {})

    with pytest.raises(UnavailableError):
        cluster.router.set_weights(Weights.with_canary(20))
    server.instead.clear()

    assert cluster.router.read_weights() == AT_REST
