"""The sample service: its answers, its identity and its fault switch."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from rollout.errors import PlanError
from sample.app import FASTEST, FAULT_PATH, MEDIAN, SLOWEST, Identity, SampleApp
from sample.faults import Fault, parse_fault

WHO = Identity(service="canary-app", track="canary", version="v2", pod="canary-app-v2-0")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("errors=5%", Fault("errors=5%", errors=0.05)),
        ("errors=0.5%", Fault("errors=0.5%", errors=0.005)),
        ("latency=+50%", Fault("latency=+50%", slower=0.5)),
        ("latency=800ms", Fault("latency=800ms", latency=timedelta(milliseconds=800))),
        ("crash-loop", Fault("crash-loop", crash=True)),
        ("outage", Fault("outage", errors=0.2, everywhere=True)),
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
        ("errors", r"fault: got 'errors', allowed: errors=5%, latency=\+50%, latency=800ms, crash-loop, outage"),
        ("latency=+x%", r"fault\.latency: got '\+x%', allowed: a share in percent"),
        ("latency=fast", r"fault\.latency: got 'fast', allowed: a duration"),
        ("outage=3s", r"fault: got 'outage=3s', allowed"),
        ("", r"fault: got '', allowed"),
    ],
)
def test_what_is_no_fault_names_the_value_and_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        parse_fault(text)


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

    monkeypatch.setattr("sample.app.asyncio.sleep", no_sleep)
    for _ in range(requests):
        ask(app)
    return sorted(taken)


def test_an_answer_says_which_track_version_and_pod_gave_it() -> None:
    status, headers, _ = ask(SampleApp(WHO))

    assert status == 200
    assert {name: headers[f"x-canary-{name}"] for name in ("track", "version", "pod")} == {
        "track": "canary",
        "version": "v2",
        "pod": "canary-app-v2-0",
    }


def test_latency_is_spread_between_its_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = latencies(SampleApp(WHO, seed="1"), monkeypatch)

    assert taken[0] >= FASTEST
    assert taken[-1] <= SLOWEST
    assert taken[len(taken) // 2] == pytest.approx(MEDIAN, rel=0.06)
    assert len(set(taken)) > 300


def test_the_same_seed_answers_the_same_way_and_another_pod_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Identity(service="canary-app", track="canary", version="v2", pod="canary-app-v2-1")

    first, again, another = (latencies(SampleApp(who, seed="1"), monkeypatch, requests=20) for who in (WHO, WHO, other))

    assert first == again != another


@pytest.mark.parametrize(("fault", "median"), [("latency=+50%", 1.5 * MEDIAN), ("latency=800ms", 0.8)])
def test_latency_faults_move_the_median(monkeypatch: pytest.MonkeyPatch, fault: str, median: float) -> None:
    app = SampleApp(WHO, seed="1")
    app.switch.turn(fault, None)

    taken = latencies(app, monkeypatch)

    assert taken[len(taken) // 2] == pytest.approx(median, rel=0.06)


def test_errors_come_at_the_rate_that_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_sleep(seconds: float) -> None:
        return

    monkeypatch.setattr("sample.app.asyncio.sleep", no_sleep)
    app = SampleApp(WHO, seed="1")
    app.switch.turn("errors=20%", None)

    failed = sum(ask(app)[0] == 500 for _ in range(1000))

    assert failed == pytest.approx(200, abs=3 * (1000 * 0.2 * 0.8) ** 0.5)


def test_a_fault_is_switched_on_and_off_at_the_pod_and_health_is_not_touched() -> None:
    app = SampleApp(WHO)

    switched = ask(app, FAULT_PATH, {"fault": "errors=100%"})

    assert switched[0::2] == (200, {"fault": "errors=100%"})
    assert ask(app)[0] == 500
    assert ask(app, "/healthz")[0] == 200
    assert ask(app, FAULT_PATH, {"fault": ""})[0] == 200
    assert ask(app)[0] == 200


def test_a_fault_ends_when_its_time_is_over() -> None:
    app = SampleApp(WHO)

    app.switch.turn("errors=100%", 0.0)

    assert ask(app)[0] == 200


@pytest.mark.parametrize("body", [{"fault": "nonsense"}, {}, [], "text"])
def test_a_wrong_order_is_refused_and_changes_nothing(body: object) -> None:
    app = SampleApp(WHO)

    assert ask(app, FAULT_PATH, body)[0] == 400
    assert ask(app)[0] == 200
