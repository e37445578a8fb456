"""The pipeline's own metrics under many, slow and silent readers, over real sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import httpx
import pytest

from cli.commands import metrics
from conductor.commands.commands import Desk
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import Process
from wiring import metrics_server
from wiring.metrics_endpoint import Ledgers
from wiring.target import Target


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    with metrics.serving(Target(state=tmp_path), Path("rollout.yaml")) as address:
        yield address


def silent(address: str, count: int, said: bytes) -> list[socket.socket]:
    port = httpx.URL(address).port
    assert port is not None
    connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(count)]
    for one in connections:
        one.sendall(said)
    return connections


@pytest.mark.parametrize("said", [b"", b"GET /metr", b"GET /metrics HTTP/1.1\r\nHost: x\r\n"])
def test_silent_readers_get_no_thread_each_and_are_closed(address: str, said: bytes) -> None:
    before = threading.active_count()
    connections = silent(address, 100, said)

    most = 0
    for one in connections:
        one.settimeout(30)
        assert one.recv(1000) == b""
        most = max(most, threading.active_count())
        one.close()

    assert most - before <= metrics_server.MOST_CONNECTIONS
    assert httpx.get(address).status_code == 200


def test_a_reader_that_drips_is_closed_too(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "LONGEST_SECONDS", 1.0)
    (dripping,) = silent(address, 1, b"GET /metrics HTTP/1.1\r\n")

    with dripping, pytest.raises(OSError):  # noqa: PT011 - a reset or a broken pipe
        drip(dripping, times=600)


def drip(connection: socket.socket, *, times: int) -> None:
    for _ in range(times):
        connection.sendall(b"X")
        sleep(0.1)


class SlowDesks:
    """Looks that last until they are let go, one after the other."""

    def __init__(self, desk: Desk) -> None:
        self.desk, self.looks = desk, 0
        self.under_way, self.goes_on = threading.Event(), threading.Event()

    def __call__(self) -> dict[str, object]:
        self.looks += 1
        self.under_way.set()
        assert self.goes_on.wait(60)
        return {"shop": lambda: self.desk}


def test_one_look_serves_all_and_the_last_one_is_told_while_the_next_is_under_way() -> None:
    process = Process(FakeWorld(), "ada")
    process.carry_out()
    desks = SlowDesks(process.desk)
    ledgers = Ledgers(desks)  # type: ignore[arg-type]
    first = [threading.Thread(target=lambda: list(ledgers.collect())) for _ in range(5)]

    for thread in first:
        thread.start()
    desks.goes_on.set()
    for thread in first:
        thread.join()
    assert desks.looks == 1

    desks.goes_on.clear()
    desks.under_way.clear()
    slow = threading.Thread(target=lambda: list(ledgers.collect()))
    slow.start()
    assert desks.under_way.wait(60)
    told = [{family.name for family in ledgers.collect()} for _ in range(20)]
    desks.goes_on.set()
    slow.join()

    assert desks.looks == 2
    assert all({"canary_rollout_state", "canary_ledger_look_timestamp_seconds"} <= names for names in told)
