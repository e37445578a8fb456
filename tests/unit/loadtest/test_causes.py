"""Names of failures: what a user's client may send is a stranger's."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from loadtest.worker.failure_kinds import LONGEST, failure_kind, raised_kind
from rollout.answers import GRPC_ERRORS, GRPC_STATUSES, grpc_kind, http_kind, is_client_error


class CatchResponseError(Exception):
    """Called as Locust's own."""


class RpcError(Exception):
    """As gRPC's are: its code is a method."""

    def code(self) -> Any:
        return SimpleNamespace(name="UNAVAILABLE")


class UnspeakableError(Exception):
    def __str__(self) -> str:
        raise ValueError


def answered(status: object) -> Any:
    return SimpleNamespace(status_code=status)


@pytest.mark.parametrize(
    ("response", "exception", "kind"),
    [
        (answered(200), None, ""),
        (answered(500), None, ""),  # the locustfile called success()
        (answered(404), requests.HTTPError("404 Client Error: Not Found for url: /"), "status 404"),
        (answered(200), CatchResponseError("no token"), "check failed: no token"),
        (answered(404), CatchResponseError("no\n  such item"), "check failed: no such item"),
        (None, RpcError(), "gRPC UNAVAILABLE"),
        (None, ConnectionRefusedError(111, "0x7f3a"), "ConnectionRefusedError"),
        (None, requests.ReadTimeout("HTTPConnectionPool(host='x') at 0x7f3a"), "ReadTimeout"),
        (None, ValueError("no more rows"), "ValueError: no more rows"),
        ("a stranger's", UnspeakableError(), "UnspeakableError"),
        (answered("200 OK"), "a text for an exception", "a text for an exception"),
        (None, ValueError("x" * 500), "ValueError: " + "x" * (LONGEST - 15) + "..."),
    ],
)
def test_a_failure_is_named_in_few_words(response: Any, exception: Any, kind: str):
    assert failure_kind(response, exception) == kind


def test_an_expected_status_is_no_failure_unless_the_locustfile_says_so():
    assert failure_kind(answered(404), requests.HTTPError("404"), expected=(404,)) == ""
    assert failure_kind(answered(404), CatchResponseError("gone"), expected=(404,)) == "check failed: gone"


def test_what_a_task_raised_is_told_with_its_place_in_the_users_own_code():
    def task() -> None:
        {}["order_id"]

    try:
        task()
    except KeyError as error:
        kind = raised_kind(error, error.__traceback__, Path(__file__).parent)

    assert kind.startswith("KeyError: 'order_id' (test_causes.py:")
    assert kind.endswith(", in task)")
    assert raised_kind(AssertionError(), None, Path("/")) == "AssertionError"


def test_every_failure_is_the_servers_fault_but_client_errors():
    assert all(is_client_error(http_kind(status)) for status in range(400, 500))
    assert not any(is_client_error(http_kind(status)) for status in range(500, 1000))
    assert {http_kind(status) for status in range(400)} == {""}
    assert {status for status in GRPC_STATUSES if not is_client_error(grpc_kind(status))} == {"OK", *GRPC_ERRORS}
    assert not any(is_client_error(kind) for kind in ("check failed: status 404", "ReadTimeout", "other", "status x"))
