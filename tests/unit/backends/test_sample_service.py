"""The sample service: its answers, its identity, its faults and their switch."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from datetime import timedelta
from typing import Any

import grpc
import pytest

from rollout.errors import PlanError
from sample.app import CLOSE, FAULT_PATH, SampleApp
from sample.behaviour import FASTEST, MEDIAN, SLOWEST, Behaviour, Identity
from sample.faults import GRPC_STATUSES, Failure, Fault, Protocol, parse_fault, parse_noise, protocol_of

WHO = Identity(service="canary-app", track="canary", version="v2", pod="canary-app-v2-0")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("errors=5%", Fault("errors=5%", share=0.05)),
        ("errors=0.5%", Fault("errors=0.5%", share=0.005)),
        ("latency=+50%", Fault("latency=+50%", slower=0.5)),
        ("latency=800ms", Fault("latency=800ms", latency=timedelta(milliseconds=800))),
        ("crash-loop", Fault("crash-loop", crash=True)),
        ("outage", Fault("outage", share=0.2, everywhere=True)),
        ("404", Fault("404", 1.0, Failure.STATUS, 404)),
        ("401=50%", Fault("401=50%", 0.5, Failure.STATUS, 401)),
        ("cut-off=10%", Fault("cut-off=10%", 0.1, Failure.CUT_OFF)),
        ("reset", Fault("reset", 1.0, Failure.RESET)),
        ("grpc-unavailable=20%", Fault("grpc-unavailable=20%", 0.2, Failure.GRPC, 14)),
        ("grpc-not-found", Fault("grpc-not-found", 1.0, Failure.GRPC, 5)),
    ],
)
def test_a_fault_is_read_from_text(text: str, fault: Fault) -> None:
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("errors=5", r"fault\.errors: got '5', allowed: a share in percent"),
        ("errors=120%", r"fault\.errors: got '120%', allowed: a share above 0%, at most 100%"),
        ("errors=", r"fault\.errors: got '', allowed"),
        ("errors", r"fault: got 'errors', allowed: errors=5%, latency=\+50%, latency=800ms, crash-loop, outage, 404"),
        ("latency=+x%", r"fault\.latency: got '\+x%', allowed: a share in percent"),
        ("latency=fast", r"fault\.latency: got 'fast', allowed: a duration"),
        ("outage=3s", r"fault: got 'outage=3s', allowed"),
        ("404=0%", r"fault\.404: got '0%', allowed: a share above 0%, at most 100%"),
        ("200", r"fault: got '200', allowed: .*any status 400-599"),
        ("4044", r"fault: got '4044', allowed"),
        ("٤٠٤", r"fault: got '٤٠٤', allowed"),
        ("cut-off=", r"fault\.cut-off: got '', allowed: a share in percent"),
        ("grpc-ok", r"fault: got 'grpc-ok', allowed: .*any gRPC status"),
        ("grpc-", r"fault: got 'grpc-', allowed"),
        ("unavailable", r"fault: got 'unavailable', allowed"),
        ("", r"fault: got '', allowed"),
    ],
)
def test_what_is_no_fault_names_the_value_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        parse_fault(text)


def test_the_grpc_statuses_are_those_of_the_library() -> None:
    numbers = {status.name.lower().replace("_", "-"): status.value[0] for status in grpc.StatusCode}

    assert numbers == {"ok": 0, **GRPC_STATUSES}


@pytest.mark.parametrize(
    ("faults", "wanted", "protocol"),
    [
        ((), "", Protocol.HTTP),
        (("errors=5%", "outage", "latency=800ms", "crash-loop"), "", Protocol.HTTP),
        (("errors=5%",), "grpc", Protocol.GRPC),
        (("404", "cut-off=10%", "reset"), "", Protocol.HTTP),
        (("errors=5%", "grpc-internal=1%"), "", Protocol.GRPC),
    ],
)
def test_the_service_speaks_what_its_faults_need(faults: tuple[str, ...], wanted: str, protocol: Protocol) -> None:
    assert protocol_of(*faults, wanted=wanted) is protocol


@pytest.mark.parametrize(
    ("faults", "wanted", "message"),
    [
        (("404",), "grpc", "fault: got '404' for a service that speaks grpc, allowed: with protocol http"),
        (("grpc-internal",), "http", "fault: got 'grpc-internal' for a service that speaks http"),
        (("404=10%", "grpc-internal"), "", "fault: got 'grpc-internal' for a service that speaks http"),
    ],
)
def test_faults_of_another_protocol_are_refused(faults: tuple[str, ...], wanted: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        protocol_of(*faults, wanted=wanted)


@pytest.mark.parametrize("text", ["crash-loop", "outage", "latency=+50%", "nonsense", ""])
def test_noise_is_a_share_of_failed_answers(text: str) -> None:
    assert parse_noise("404=10%").share == 0.1
    with pytest.raises(PlanError, match=f"got '{re.escape(text)}', allowed"):
        parse_noise(text)


def sample_app(*, seed: str = "0", who: Identity = WHO, fault: str = "", noise: str = "") -> SampleApp:
    behaviour = Behaviour(who, seed=seed, noise=noise)
    behaviour.switch.turn(fault, None)
    return SampleApp(behaviour)


def ask(app: SampleApp, path: str = "/", body: object = None) -> tuple[int, dict[str, str], Any]:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: Any) -> None:
        sent.append(message)

    async def once() -> None:
        await app({"type": "http", "path": path}, receive, send)

    asyncio.run(once())
    start, answer = sent
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return start["status"], headers, json.loads(answer["body"])


def latencies(app: SampleApp, monkeypatch: pytest.MonkeyPatch, *, requests: int = 400) -> list[float]:
    taken: list[float] = []

    async def no_sleep(seconds: float) -> None:
        taken.append(seconds)

    monkeypatch.setattr("sample.behaviour.asyncio.sleep", no_sleep)
    for _ in range(requests):
        ask(app)
    return sorted(taken)


def test_an_answer_says_which_track_version_and_pod_gave_it() -> None:
    status, headers, _ = ask(sample_app())

    assert status == 200
    assert {name: headers[f"x-canary-{name}"] for name in ("track", "version", "pod")} == {
        "track": "canary",
        "version": "v2",
        "pod": "canary-app-v2-0",
    }


def test_latency_is_spread_between_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = latencies(sample_app(seed="1"), monkeypatch)

    assert taken[0] >= FASTEST
    assert taken[-1] <= SLOWEST
    assert taken[len(taken) // 2] == pytest.approx(MEDIAN, rel=0.06)
    assert len(set(taken)) > 300


def test_the_same_seed_answers_the_same_way_and_another_pod_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Identity(service="canary-app", track="canary", version="v2", pod="canary-app-v2-1")

    first, again, another = (
        latencies(sample_app(seed="1", who=who), monkeypatch, requests=20) for who in (WHO, WHO, other)
    )

    assert first == again != another


@pytest.mark.parametrize(("fault", "median"), [("latency=+50%", 1.5 * MEDIAN), ("latency=800ms", 0.8)])
def test_latency_faults_move_the_median(monkeypatch: pytest.MonkeyPatch, fault: str, median: float) -> None:
    taken = latencies(sample_app(seed="1", fault=fault), monkeypatch)

    assert taken[len(taken) // 2] == pytest.approx(median, rel=0.06)


def test_errors_come_at_the_rate_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_sleep(seconds: float) -> None:
        return

    monkeypatch.setattr("sample.behaviour.asyncio.sleep", no_sleep)
    app = sample_app(seed="1", fault="errors=20%")

    failed = sum(ask(app)[0] == 500 for _ in range(1000))

    assert failed == pytest.approx(200, abs=3 * (1000 * 0.2 * 0.8) ** 0.5)


def test_a_fault_is_switched_on_and_off_at_the_pod_and_health_is_not_touched() -> None:
    app = sample_app()

    switched = ask(app, FAULT_PATH, {"fault": "errors=100%"})

    assert switched[0::2] == (200, {"fault": "errors=100%"})
    assert ask(app)[0] == 500
    assert ask(app, "/healthz")[0] == 200
    assert ask(app, FAULT_PATH, {"fault": ""})[0] == 200
    assert ask(app)[0] == 200


def test_a_fault_ends_when_its_time_is_over() -> None:
    behaviour = Behaviour(WHO)

    behaviour.switch.turn("errors=100%", 0.0)

    assert ask(SampleApp(behaviour))[0] == 200


@pytest.mark.parametrize("body", [{"fault": "nonsense"}, {}, [], "text"])
def test_a_wrong_order_is_refused_and_changes_nothing(body: object) -> None:
    app = sample_app()

    assert ask(app, FAULT_PATH, body)[0] == 400
    assert ask(app)[0] == 200


def test_a_status_is_answered_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    app = sample_app(fault="404")

    assert latencies(app, monkeypatch, requests=5) == []
    assert ask(app)[0] == 404
    assert ask(app)[1]["x-canary-track"] == "canary"


def test_noise_is_there_whatever_the_fault_is_and_adds_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_sleep(seconds: float) -> None:
        return

    monkeypatch.setattr("sample.behaviour.asyncio.sleep", no_sleep)
    app = sample_app(seed="1", fault="errors=20%", noise="404=10%")

    statuses = Counter(ask(app)[0] for _ in range(1000))

    assert statuses[404] == pytest.approx(100, abs=3 * (1000 * 0.1 * 0.9) ** 0.5)
    assert statuses[500] == pytest.approx(180, abs=3 * (1000 * 0.18 * 0.82) ** 0.5)
    assert statuses[200] == 1000 - statuses[404] - statuses[500]


@pytest.mark.parametrize(("fault", "sent"), [("cut-off", 2), ("reset", 0)])
def test_a_connection_is_closed_under_half_an_answer_or_none(fault: str, sent: int) -> None:
    messages: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"} if messages[-1:] == ["closed"] else {"type": "http.request"}

    async def send(message: Any) -> None:
        messages.append(message)

    async def once() -> None:
        scope = {"type": "http", "path": "/", "state": {CLOSE: lambda: messages.append("closed")}}
        await sample_app(fault=fault)(scope, receive, send)

    asyncio.run(once())

    *answer, last = messages
    assert last == "closed"
    assert len(answer) == sent
    if answer:
        promised = int(dict(answer[0]["headers"])[b"content-length"])
        assert len(answer[1]["body"]) == promised / 2
