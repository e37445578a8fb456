"""The labels that the real Envoy counts answers under, for every way in which an answer fails.

They are Istio's (istio/proxy, source/extensions/filters/http/istio_stats): `request_protocol` is `grpc` by the content
type of the request, and only then is there a `grpc_response_status`.
"""

from __future__ import annotations

import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import grpc
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from backends.local.environment import World, start
from backends.local.loopback import request
from rollout.errors import PlanError
from rollout.model import AT_REST, Track, Weights
from sample.faults import GRPC_PATH, Protocol
from tests.contract.conftest import PLAN
from tests.contract.steady_calls import SteadyCalls
from tests.contract.steady_load import SteadyLoad
from tests.contract.test_local_world_under_load import canary, wait, wait_for_canary

pytestmark = pytest.mark.e2e
Answer = TypeVar("Answer")
REQUESTS = 6
"""Twice as many as there are pods: the gateway asks one after the other."""


@pytest.fixture(scope="module")
def grpc_world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("grpc")
    world = start(
        folder,
        plan=PLAN,
        scrape=timedelta(milliseconds=500),
        seed=1,
        owner_pid=os.getpid(),
        protocol=Protocol.GRPC,
    )
    yield world
    world.stop()


LABELS = ("reporter", "response_code", "response_flags", "grpc_response_status", "request_protocol")


def counted(world: World, labels: tuple[str, ...]) -> Counter[tuple[str, ...]]:
    """Return what the gateway has counted so far, by these labels."""
    text = request(world.observed.admin_port, "/stats/prometheus?usedonly&filter=^istio", seconds=2).decode()
    found: Counter[tuple[str, ...]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "envoy_istio_requests_total":
                found[tuple(sample.labels.get(label, "") for label in labels)] += int(sample.value)
    return found


def growth(
    world: World, send: Callable[[World], object], *, counts: int = REQUESTS, labels: tuple[str, ...] = LABELS
) -> dict[tuple[str, ...], int]:
    """Return by how much the counters have grown through `REQUESTS` requests, once it is as many as are due."""
    before = counted(world, labels)
    send_all(world, send)
    wait(lambda: (counted(world, labels) - before).total() >= counts)
    return dict(counted(world, labels) - before)


def send_all(world: World, send: Callable[[World], Answer]) -> list[Answer]:
    """Send `REQUESTS` at once: after an answer that was cut off Envoy keeps each client waiting for a second."""
    with ThreadPoolExecutor(REQUESTS) as threads:
        return list(threads.map(send, [world] * REQUESTS))


@contextmanager
def fault(world: World, text: str | None, answer: str) -> Iterator[None]:
    """A fault of stable's pods, once all of them answer like this."""
    ask_once = get_grpc if world.settings.protocol is Protocol.GRPC else get_http
    world.inject(Track.STABLE, text)
    assert wait(lambda: send_all(world, ask_once) == [answer] * REQUESTS)
    try:
        yield
    finally:
        world.inject(Track.STABLE, None)


def get_http(world: World) -> str:
    """Return the status of one request, or the error of a broken one."""
    try:
        return str(httpx.get(world.gateway_url, trust_env=False, timeout=20).status_code)
    except httpx.HTTPError as error:
        return type(error).__name__


def get_grpc(world: World) -> str:
    """Return the status of one call."""
    with grpc.insecure_channel(urlsplit(world.gateway_url).netloc) as channel:
        call = channel.unary_unary(GRPC_PATH).future(b"", timeout=20)
        return str(call.code().name)


@pytest.mark.parametrize(
    ("text", "answer", "labels"),
    [
        (None, "200", ("200", "-", "", "http")),
        ("404", "404", ("404", "-", "", "http")),
        ("429", "429", ("429", "-", "", "http")),
        ("errors=100%", "500", ("500", "-", "", "http")),
        # UPE: an upstream protocol error, as the promised length is not there.
        ("cut-off", "RemoteProtocolError", ("200", "UPE", "", "http")),
        # UC: the upstream closed the connection; the gateway answers for it.
        ("reset", "503", ("503", "UC", "", "http")),
    ],
)
def test_an_http_answer_is_counted_by_code_and_flags_at_the_gateway_and_at_the_pod(
    local_world: World, text: str | None, answer: str, labels: tuple[str, ...]
) -> None:
    with fault(local_world, text, answer):
        grown = growth(local_world, get_http, counts=2 * REQUESTS)

    assert grown == {("source", *labels): REQUESTS, ("destination", *labels): REQUESTS}


def test_a_client_that_leaves_before_its_answer_is_counted_as_code_0(local_world: World) -> None:
    def leave(world: World) -> None:
        with socket.create_connection(("127.0.0.1", world.observed.gateway_port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\nhost: gateway\r\n\r\n")
            time.sleep(0.2)  # until it has been sent on

    with slow(local_world, get_http):
        grown = growth(local_world, leave)

    assert grown == {("source", "0", "DC", "", "http"): REQUESTS}


@contextmanager
def slow(world: World, ask_once: Callable[[World], str]) -> Iterator[None]:
    """Stable's pods, once all of them take longer than any healthy one."""

    def seconds() -> float:
        began = time.monotonic()
        ask_once(world)
        return time.monotonic() - began

    world.inject(Track.STABLE, "latency=800ms")
    assert wait(lambda: min(seconds() for _ in range(3)) > 0.4)
    try:
        yield
    finally:
        world.inject(Track.STABLE, None)


@pytest.mark.parametrize(
    ("text", "answer", "status"),
    [
        (None, "OK", "0"),
        ("grpc-unavailable", "UNAVAILABLE", "14"),
        ("grpc-not-found", "NOT_FOUND", "5"),
        ("grpc-deadline-exceeded", "DEADLINE_EXCEEDED", "4"),
        ("errors=100%", "INTERNAL", "13"),
    ],
)
def test_a_grpc_answer_is_http_200_whatever_its_status(
    grpc_world: World, text: str | None, answer: str, status: str
) -> None:
    with fault(grpc_world, text, answer):
        grown = growth(grpc_world, get_grpc, counts=2 * REQUESTS)

    assert grown == {
        ("source", "200", "-", status, "grpc"): REQUESTS,
        ("destination", "200", "-", status, "grpc"): REQUESTS,
    }


def test_a_grpc_client_that_leaves_is_counted_with_a_status_that_the_service_never_sent(grpc_world: World) -> None:
    """No status came, so the proxy derives one: HTTP 200, whose headers were there, without trailers is UNKNOWN (2)."""

    def leave(world: World) -> None:
        with grpc.insecure_channel(urlsplit(world.gateway_url).netloc) as channel:
            call = channel.unary_stream(GRPC_PATH)(b"")
            call.initial_metadata()  # has come
            call.cancel()

    with slow(grpc_world, get_grpc):
        grown = growth(grpc_world, leave)

    assert grown == {("source", "200", "DR", "2", "grpc"): REQUESTS}


@contextmanager
def stopped(world: World) -> Iterator[list[int]]:
    """Stable's pods, which take calls and do not even begin an answer."""
    pods = [pod.pid for pod in world.folder.observed().pods]
    for pod in pods:
        os.kill(pod, signal.SIGSTOP)
    try:
        yield pods
    finally:
        for pod in pods:
            with suppress(ProcessLookupError):
                os.kill(pod, signal.SIGCONT)


def test_a_grpc_client_that_leaves_before_any_header_is_counted_as_code_0_without_a_status(grpc_world: World) -> None:
    def leave(world: World) -> None:
        with grpc.insecure_channel(urlsplit(world.gateway_url).netloc) as channel:
            call = channel.unary_unary(GRPC_PATH).future(b"")
            time.sleep(0.2)  # until it has been sent on
            call.cancel()

    with stopped(grpc_world):
        grown = growth(grpc_world, leave)

    assert grown == {("source", "0", "DR", "", "grpc"): REQUESTS}


def test_a_pod_that_dies_before_any_header_is_unavailable(grpc_world: World) -> None:
    target = urlsplit(grpc_world.gateway_url).netloc
    before = counted(grpc_world, LABELS)
    with stopped(grpc_world) as pods, grpc.insecure_channel(target) as channel:
        calls = [channel.unary_unary(GRPC_PATH).future(b"") for _ in range(REQUESTS)]
        time.sleep(0.3)  # until they have been sent on
        for pod in pods:
            os.kill(pod, signal.SIGKILL)
        assert {call.code() for call in calls} == {grpc.StatusCode.UNAVAILABLE}
    grown = counted(grpc_world, LABELS) - before
    assert wait(lambda: send_all(grpc_world, get_grpc) == ["OK"] * REQUESTS)

    assert grown == {(reporter, "200", "UC", "14", "grpc"): REQUESTS for reporter in ("source", "destination")}


def test_a_pod_that_dies_under_a_call_shows_as_a_closed_connection_without_a_status(grpc_world: World) -> None:
    """The headers were sent on as 200; the status that is missing is derived from them."""

    def begin(world: World) -> grpc.Call:
        call = channel.unary_stream(GRPC_PATH)(b"")
        call.initial_metadata()  # has come
        return call

    target = urlsplit(grpc_world.gateway_url).netloc
    with slow(grpc_world, get_grpc), grpc.insecure_channel(target) as channel:
        before = counted(grpc_world, LABELS)
        calls = send_all(grpc_world, begin)
        for pod in grpc_world.folder.observed().pods:
            os.kill(pod.pid, signal.SIGKILL)
        assert {call.code() for call in calls} == {grpc.StatusCode.INTERNAL}
        grown = counted(grpc_world, LABELS) - before
    assert wait(lambda: send_all(grpc_world, get_grpc) == ["OK"] * REQUESTS)

    assert grown == {(reporter, "200", "UC", "2", "grpc"): REQUESTS for reporter in ("source", "destination")}


def test_a_grpc_service_without_pods_is_unavailable_by_the_gateways_own_flags(grpc_world: World) -> None:
    grpc_world.router.set_weights(Weights.with_canary(100))
    try:
        grown = growth(grpc_world, get_grpc, labels=(*LABELS, "destination_version"))
    finally:
        grpc_world.router.set_weights(AT_REST)

    assert grown == {("source", "200", "UH", "14", "grpc", "unknown"): REQUESTS}


@contextmanager
def impatient(folder: Path, protocol: Protocol) -> Iterator[World]:
    """A world whose route waits no longer than this for an answer."""
    plan = PLAN.model_copy(update={"timeout": timedelta(milliseconds=600)})
    scrape = timedelta(milliseconds=500)
    world = start(folder, plan=plan, scrape=scrape, seed=1, owner_pid=os.getpid(), protocol=protocol)
    try:
        yield world
    finally:
        world.stop()


def test_an_http_answer_that_comes_too_late_is_the_gateways_own(tmp_path: Path) -> None:
    with impatient(tmp_path, Protocol.HTTP) as world, fault(world, "latency=3s", "504"):
        grown = growth(world, get_http)

    assert grown == {("source", "504", "UT", "", "http"): REQUESTS}


def test_a_grpc_answer_that_comes_too_late_is_unavailable_or_has_no_status_once_it_has_begun(tmp_path: Path) -> None:
    with impatient(tmp_path, Protocol.GRPC) as world:
        with stopped(world):
            silent = growth(world, get_grpc)
        with fault(world, "latency=3s", "INTERNAL"):
            begun = growth(world, get_grpc)

    assert silent == {("source", "200", "UT", "14", "grpc"): REQUESTS}
    assert begun == {("source", "200", "UT", "2", "grpc"): REQUESTS}


def test_no_call_fails_while_weights_change_and_tracks_grow_and_shrink(grpc_world: World) -> None:
    with SteadyCalls(grpc_world.gateway_url) as calls:
        for replicas, percent in ((1, 20), (3, 50), (2, 100), (1, 30)):
            grpc_world.workloads.scale(Track.CANARY, replicas)
            assert wait_for_canary(grpc_world, replicas)
            grpc_world.router.set_weights(Weights.with_canary(percent))
            time.sleep(0.5)
        grpc_world.router.set_weights(AT_REST)
        grpc_world.workloads.scale(Track.CANARY, 0)
        assert wait(lambda: len(grpc_world.workloads.pods()) == 3)

    assert calls.failed == 0
    assert calls.answers["OK", "canary"] > 50
    assert calls.answers["OK", "stable"] > 50


def test_a_fault_of_another_protocol_is_refused(local_world: World, grpc_world: World) -> None:
    with pytest.raises(PlanError, match="got 'grpc-unavailable' for a service that speaks http"):
        local_world.inject(Track.CANARY, "grpc-unavailable")
    with pytest.raises(PlanError, match="got '404' for a service that speaks grpc"):
        grpc_world.inject(Track.CANARY, "404")


def test_noise_is_in_the_answers_of_both_tracks_beside_a_fault(tmp_path: Path) -> None:
    world = start(
        tmp_path,
        plan=PLAN,
        scrape=timedelta(milliseconds=500),
        seed=1,
        owner_pid=os.getpid(),
        noise="404=50%",
    )
    try:
        with canary(world, pods=1, percent=50), SteadyLoad(world.gateway_url, rps=100, connections=10) as load:
            world.inject(Track.CANARY, "503=50%")
            assert wait(lambda: load.answers[503, "canary"] > 5)
    finally:
        world.stop()

    assert set(load.answers) == {(200, "stable"), (404, "stable"), (200, "canary"), (404, "canary"), (503, "canary")}
