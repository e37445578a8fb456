"""Complaints and alerts over HTTP, heard by the real server on a fake world."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from cli.commands.webhook import LARGEST_BODY_BYTES, application
from cli.server_limits import CONNECTIONS, ImpatientProtocol, limits
from conductor.commands.commands import Desk
from rollout.errors import UnavailableError
from rollout.signals import Signal, SignalKind
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import Process

JSON = {"Content-Type": "application/json"}
FIRING = {
    "version": "4",
    "receiver": "canary",
    "status": "firing",
    "groupLabels": {"alertname": "CheckoutFails"},
    "alerts": [
        {"status": "resolved", "labels": {"alertname": "Old"}, "annotations": {}},
        {
            "status": "firing",
            "labels": {"alertname": "CheckoutFails", "severity": "page"},
            "annotations": {"summary": "3 % of checkouts fail"},
            "startsAt": "2026-01-05T09:00:00Z",
            "generatorURL": "http://prometheus/graph",
        },
    ],
}


@pytest.fixture
def world() -> FakeWorld:
    world = FakeWorld()
    Process(world, "ada").dies_in("introduce")
    return world


@contextmanager
def listening(open_context: Callable[[str], Desk], **named: Any) -> Iterator[httpx.Client]:
    """The server on a free port of the loopback, and a client of it."""
    receiver = application(open_context, **named)
    config = uvicorn.Config(receiver, host="127.0.0.1", port=0, log_level="warning", **limits())
    server, listener = uvicorn.Server(config), config.bind_socket()
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", trust_env=False) as client:
            yield client
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


@pytest.fixture
def client(world: FakeWorld) -> Iterator[httpx.Client]:
    with listening(lambda _: Process(world, "webhook").desk) as client:
        yield client


def said(world: FakeWorld) -> list[Signal]:
    return world.signals("r1").said


def test_a_complaint_is_said_with_its_count_and_by_whom(world: FakeWorld, client: httpx.Client) -> None:
    answer = client.post("/complaints", json={"count": 3, "note": "cart is empty", "who": "hotline"})

    assert answer.status_code == 200
    assert answer.json()["said"][0].startswith("r1: told complaint at step introduce")
    (word,) = said(world)
    assert (word.kind, word.count, word.reason, word.who) == (SignalKind.COMPLAINT, 3, "cart is empty", "hotline")


def test_an_alert_that_fires_aborts_and_one_that_is_resolved_does_not(world: FakeWorld, client: httpx.Client) -> None:
    resolved = FIRING | {"alerts": [FIRING["alerts"][0]]}  # type: ignore[index]

    assert client.post("/alertmanager", json=resolved).json() == {"said": []}
    assert said(world) == []
    assert client.post("/alertmanager", json=FIRING).status_code == 200
    (word,) = said(world)
    assert (word.kind, word.who) == (SignalKind.ABORT, "Alertmanager")
    assert word.reason == "alert CheckoutFails: 3 % of checkouts fail"


def test_without_a_rollout_the_sender_is_told_so_and_has_no_reason_to_try_again() -> None:
    with listening(lambda _: Process(FakeWorld(), "webhook").desk) as client:
        answer = client.post("/alertmanager", json=FIRING)

    assert answer.status_code == 200
    assert answer.json() == {"said": [], "because": "nothing to abort: no rollout is under way"}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({"count": 0}, "body: count: got 0, allowed: input should be greater than or equal to 1"),
        ({"cuont": 3}, "body: cuont: unknown key (value 3), did you mean 'count'?"),
        ({"who": ""}, "body: who: got ''"),
        ([], "got []"),
    ],
)
def test_a_wrong_body_is_told_with_field_value_and_what_is_allowed(
    world: FakeWorld, client: httpx.Client, body: Any, wrong: str
) -> None:
    answer = client.post("/complaints", json=body)

    assert answer.status_code == 400
    assert wrong in answer.json()["error"]
    assert said(world) == []


def test_what_is_no_json_is_told_so(world: FakeWorld, client: httpx.Client) -> None:
    assert client.post("/alertmanager", content=b"{", headers=JSON).status_code == 400


def test_where_the_world_does_not_answer_the_sender_is_to_try_again() -> None:
    def gone(_: str) -> Desk:
        raise UnavailableError("the API server does not answer")

    with listening(gone) as client:
        answer = client.post("/complaints", json={})

    assert answer.status_code == 503
    assert answer.json() == {"error": "the API server does not answer"}


def test_only_who_knows_the_token_is_heard(world: FakeWorld) -> None:
    with listening(lambda _: Process(world, "webhook").desk, token="let me in") as guarded:
        assert guarded.post("/complaints", json={}).status_code == 401
        assert guarded.post("/complaints", json={}, headers={"Authorization": "Bearer let"}).status_code == 401
        assert said(world) == []
        assert guarded.post("/complaints", json={}, headers={"Authorization": "Bearer let me in"}).status_code == 200


def test_it_does_not_listen_to_the_world_without_a_token(tmp_path: Path) -> None:
    command = [Path(sys.executable).parent / "canary", "webhook", "--host", "0.0.0.0", "--backend", "local"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    assert done.returncode == 2
    assert done.stderr == (
        "canary: --host: got '0.0.0.0', allowed: 127.0.0.1, or another one with CANARY_WEBHOOK_TOKEN set\n"
    )


def test_the_sender_may_say_which_service_is_meant(world: FakeWorld) -> None:
    meant = list[str]()

    def open_context(service: str) -> Desk:
        meant.append(service)
        return Process(world, "webhook").desk

    with listening(open_context) as client:
        client.post("/complaints?service=shop", json={"note": "slow"})
        client.post("/complaints", json={"note": "slow"})

    assert meant == ["shop", ""]


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},  # another program's page on this machine
        {"Origin": "null"},  # a sandboxed frame
        {"Origin": "http://[::1"},
        {"Origin": ""},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "empty"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"},
    ],
)
def test_another_sites_page_is_not_listened_to(world: FakeWorld, client: httpx.Client, headers: dict[str, str]) -> None:
    answer = client.post("/complaints", json={"count": 3}, headers=headers)

    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert said(world) == []


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:9106", ""])
def test_a_name_that_was_bound_to_our_address_is_refused(world: FakeWorld, client: httpx.Client, host: str) -> None:
    own = {"Host": host, "Origin": f"http://{host}"} if host else {"Host": host}

    assert client.post("/complaints", json={"count": 3}, headers=own).status_code == 400
    assert said(world) == []


def test_names_of_its_own_are_known(world: FakeWorld) -> None:
    with listening(lambda _: Process(world, "webhook").desk, hosts=["canary-webhook.canary-pipeline"]) as client:
        named = {"Host": "canary-webhook.canary-pipeline:9106"}
        assert client.post("/complaints", json={}, headers=named).status_code == 200
        assert client.post("/complaints", json={}, headers={"Host": "localhost:9106"}).status_code == 200


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "", "application/jsonx"],
)
def test_only_json_is_taken(world: FakeWorld, client: httpx.Client, kind: str) -> None:
    answer = client.post("/complaints", content=b'{"count": 3}', headers={"Content-Type": kind} if kind else {})

    assert answer.status_code == 415
    assert answer.json() == {"error": f"Content-Type: got {kind.partition(';')[0]!r}, allowed: application/json"}
    assert said(world) == []


def test_json_with_a_charset_is_json(client: httpx.Client) -> None:
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}

    assert client.post("/complaints", content=b"{}", headers=headers).status_code == 200


@pytest.mark.parametrize("given", ["let me in", "Basic let me in", "Bearer let me in!", "Bearer", "Bearer lét me in"])
def test_what_is_not_the_token_is_refused(world: FakeWorld, given: str) -> None:
    with listening(lambda _: Process(world, "webhook").desk, token="let me in") as guarded:
        answer = guarded.post("/complaints", json={}, headers={"Authorization": given.encode()})

    assert answer.status_code == 401
    assert said(world) == []


def answered(client: httpx.Client, sent: bytes) -> bytes:
    """What the server answers until it hangs up, to bytes that a client of its own would not send."""
    with socket.create_connection((str(client.base_url.host), client.base_url.port or 0)) as connection:
        connection.sendall(sent)
        parts = []
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def post(*headers: str) -> bytes:
    lines = ["POST /complaints HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *headers, "", ""]
    return "\r\n".join(lines).encode()


def test_a_body_of_100_mb_is_refused_before_it_was_sent(world: FakeWorld, client: httpx.Client) -> None:
    assert answered(client, post("Content-Length: 100000000")).startswith(b"HTTP/1.1 413 ")
    assert said(world) == []


def test_a_body_that_does_not_say_how_long_it_is_is_refused_once_it_is_too_long(client: httpx.Client) -> None:
    chunk = b"%x\r\n%s\r\n" % (LARGEST_BODY_BYTES + 1, b" " * (LARGEST_BODY_BYTES + 1))

    assert answered(client, post("Transfer-Encoding: chunked") + chunk).startswith(b"HTTP/1.1 413 ")


def test_alertmanagers_largest_body_is_taken(world: FakeWorld, client: httpx.Client) -> None:
    many = FIRING | {"alerts": FIRING["alerts"] * 200}  # type: ignore[operator]

    assert client.post("/alertmanager", json=many).status_code == 200
    assert len(said(world)) == 1


def test_a_body_that_does_not_arrive_is_waited_for_no_longer(world: FakeWorld) -> None:
    with listening(lambda _: Process(world, "webhook").desk, body_seconds=0.05) as client:
        assert answered(client, post("Content-Length: 12") + b'{"count"').startswith(b"HTTP/1.1 408 ")

    assert said(world) == []


@pytest.mark.parametrize("sent", [b"", b"POST /complaints HTTP/1.1\r\nHost: 127"])
def test_headers_that_do_not_arrive_are_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(ImpatientProtocol, "headers_seconds", 0.05)
    with listening(lambda _: Process(FakeWorld(), "webhook").desk) as client:
        assert answered(client, sent) == b""


def test_many_connections_make_the_next_sender_try_again_and_no_more(world: FakeWorld) -> None:
    with listening(lambda _: Process(world, "webhook").desk) as client:
        address = (str(client.base_url.host), client.base_url.port or 0)
        held = [socket.create_connection(address) for _ in range(CONNECTIONS)]
        assert client.post("/complaints", json={}).status_code == 503
        for connection in held:
            connection.close()
        while client.post("/complaints", json={}).status_code == 503:
            time.sleep(0.01)

    assert len(said(world)) == 1
