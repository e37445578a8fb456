"""Complaints and alerts over HTTP, heard by the real server on a fake world."""

from __future__ import annotations

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

from conductor.orders import Desk
from flows.commands.webhook import application
from rollout.errors import UnavailableError
from rollout.words import Signal, SignalKind
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import Process

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
def listening(open_desk: Callable[[str], Desk], token: str = "") -> Iterator[httpx.Client]:
    """The server on a free port of the loopback, and a client of it."""
    config = uvicorn.Config(application(open_desk, token=token), host="127.0.0.1", port=0, log_level="warning")
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
    assert client.post("/alertmanager", content=b"{").status_code == 400


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

    def open_desk(service: str) -> Desk:
        meant.append(service)
        return Process(world, "webhook").desk

    with listening(open_desk) as client:
        client.post("/complaints?service=shop", json={"note": "slow"})
        client.post("/complaints", json={"note": "slow"})

    assert meant == ["shop", ""]
