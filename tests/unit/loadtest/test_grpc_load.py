"""A real Locust against a real gRPC server on loopback."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from loadtest.results import LoadResults
from loadtest.runner import LoadRun, steady_spec
from rollout.errors import UnavailableError
from tests.unit.loadtest.service import free_port, wait_until

Handler = Callable[[bytes, grpc.ServicerContext], bytes]


@contextmanager
def serving(handler: Handler) -> Iterator[str]:
    """Yield the URL of the method `/shop.Cart/Get`."""
    method = grpc.unary_unary_rpc_method_handler(handler)
    server = grpc.server(ThreadPoolExecutor(32))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("shop.Cart", {"Get": method})])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"http://127.0.0.1:{port}/shop.Cart/Get"
    finally:
        server.stop(0).wait()


def loaded(url: str, folder: Path, *, rate: float, calls: int, timeout_seconds: float = 20) -> LoadResults:
    run = LoadRun(steady_spec(url, rate, protocol="grpc", timeout_seconds=timeout_seconds), folder)
    run.start()
    try:
        wait_until(lambda: run.results().requests >= calls)
    finally:
        run.stop()
    return run.results()


def test_calls_are_counted_by_the_track_that_answered_and_failures_by_status(tmp_path: Path):
    number = itertools.count()

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        turn = next(number) % 4
        if turn < 3:
            context.send_initial_metadata([("x-canary-track", "canary" if turn else "stable")])
        if turn > 1:
            context.abort(grpc.StatusCode.UNAVAILABLE if turn == 2 else grpc.StatusCode.NOT_FOUND, "injected")
        return b"ok"

    with serving(answer) as url:
        results = loaded(url, tmp_path / "load", rate=200, calls=400)

    quarter = results.requests / 4
    assert results.requests == next(number)
    assert {name: track.requests for name, track in results.tracks.items()} == pytest.approx(
        {"stable": quarter, "canary": 2 * quarter, "none": quarter}, abs=2
    )
    assert results.failures_by_track == pytest.approx({"stable": 0, "canary": quarter, "none": quarter}, abs=2)
    assert set(results.errors) == {"canary: gRPC UNAVAILABLE", "none: gRPC NOT_FOUND"}
    assert results.abandoned == 0


def test_calls_under_way_when_the_load_ends_are_answered(tmp_path: Path):
    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        time.sleep(0.5)
        return b"ok"

    with serving(answer) as url:
        results = loaded(url, tmp_path / "load", rate=20, calls=20)

    assert results.errors == {}
    assert results.abandoned == 0


def test_a_call_without_an_answer_in_time_has_failed(tmp_path: Path):
    number = itertools.count()

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        if next(number) > 10:
            time.sleep(1)
        return b"ok"

    with serving(answer) as url:
        results = loaded(url, tmp_path / "load", rate=20, calls=30, timeout_seconds=0.3)

    assert set(results.errors) == {"none: gRPC DEADLINE_EXCEEDED"}


def test_where_no_grpc_server_answers_the_status_is_named(tmp_path: Path):
    run = LoadRun(steady_spec(f"http://127.0.0.1:{free_port()}/shop.Cart/Get", 50, protocol="grpc"), tmp_path / "load")

    with pytest.raises(UnavailableError, match="no answer; seen: none: gRPC UNAVAILABLE"):
        run.start()
    assert run.pid is None
