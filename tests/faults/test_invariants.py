"""The judge of the fault matrix sees each kind of breach: a matrix that cannot fail shows nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.faults.cells import MOMENTS, cells
from tests.faults.invariants import Evidence, Expected, Judged, Loss, judge

HOME, PROMOTED = Expected(frozenset({"rolled back"}), Loss.CANARY), Expected(frozenset({"promoted"}))


def look(at: float, canary: int | None, stable: int = 2) -> dict[str, Any]:
    return {"at": at, "canary": canary, "hosts": {"stable": stable, "canary": 1}}


def request(at: float, track: str = "stable", status: int = 200) -> dict[str, Any]:
    return {"at": at, "seconds": 0.03, "status": status, "track": track}


def record(*events: tuple[float, dict[str, Any]]) -> bytes:
    lines = ({"at": datetime.fromtimestamp(at, UTC).isoformat()} | event for at, event in events)
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def weights(canary: int) -> dict[str, Any]:
    return {"kind": "weights set", "canary": canary}


def ended(state: str) -> dict[str, Any]:
    return {"kind": "ended", "state": state, "reason": "as it is"}


ROLLED_BACK = Evidence(
    struck_at=14.0,
    healed_at=0.0,
    looks=[look(10, 0), look(12, 20), look(14, 20), look(16, 0), look(18, 0)],
    requests=[request(11), request(13, "canary"), request(15, "canary", 500), request(17)],
    record=record((10, {"kind": "started"}), (12, weights(20)), (16, weights(0)), (17, ended("rolled back"))),
    holder="",
)
FINISHED = replace(
    ROLLED_BACK,
    looks=[look(10, 0), look(12, 20), look(14, 50), look(16, 100)],
    requests=[request(11), request(17, "canary")],
    record=record((10, weights(20)), (12, weights(50)), (14, weights(100)), (15, ended("promoted"))),
)


def broken(evidence: Evidence, expected: Expected) -> str:
    return "; ".join(judge(evidence, expected).broken)


def test_what_ended_as_it_must_breaks_nothing() -> None:
    assert judge(ROLLED_BACK, HOME) == Judged("rolled back", "as it is", 2.0, 4, 1, 0)
    assert judge(FINISHED, PROMOTED) == Judged("promoted", "as it is", None, 2, 0, 0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda found: replace(found, record=found.record.replace(b"rolled back", b"promoted")), "ended as 'promoted'"),
        (lambda found: replace(found, looks=[*found.looks, look(19, 35), look(20, 0)]), "nobody asked for: [35]"),
        (lambda found: replace(found, looks=[*found.looks, look(19, 20), look(20, 0)]), "then home for good"),
        (lambda found: replace(found, requests=[*found.requests, request(17.5, "canary")]), "after all traffic was on"),
        (lambda found: replace(found, looks=[*found.looks, look(19, 0, stable=1)]), "stable had 1 endpoints of 2"),
        (lambda found: replace(found, record=b""), "there is no record"),
        (lambda found: replace(found, record=found.record[:40] + b"\n" + found.record[40:]), "cannot be read"),
        (lambda found: replace(found, record=found.record[:-1]), "last line has no end"),
        (lambda found: replace(found, record=found.record + record((11, weights(0)))), "earlier than the ones before"),
        (lambda found: replace(found, record=found.record + record((19, ended("failed")))), "ended 2 times"),
        (lambda found: replace(found, record=found.record.replace(b'"canary": 20', b'"canary": 0')), "does not tell"),
        (lambda found: replace(found, looks=[*found.looks, look(19, 20)]), "gateway has 20 %"),
        (lambda found: replace(found, left_behind=["envoy -c x"]), "left behind: envoy"),
        (lambda found: replace(found, holder="ada"), "still held by ada"),
        (lambda found: replace(found, requests=[*found.requests, request(15, status=503)]), "1 requests lost"),
        (lambda found: replace(found, requests=[*found.requests, request(5, "canary", 500)]), "1 requests lost"),
        (lambda found: replace(found, notes=["a second owner"]), "a second owner"),
    ],
)
def test_every_breach_is_seen(spoil: Callable[[Evidence], Evidence], said: str) -> None:
    assert said in broken(spoil(ROLLED_BACK), HOME)


def test_a_fault_that_is_nobodys_excuses_no_lost_request() -> None:
    assert "1 requests lost" in broken(ROLLED_BACK, replace(HOME, loss=Loss.NOTHING))


def test_a_gateway_that_was_killed_excuses_what_is_lost_until_it_serves_again() -> None:
    lost = replace(FINISHED, requests=[*FINISHED.requests, request(14.5, "", 0), request(30, "", 0)])

    assert judge(lost, replace(PROMOTED, loss=Loss.GATEWAY)).unexcused == 1


def test_traffic_that_comes_home_too_late_is_a_breach() -> None:
    assert broken(ROLLED_BACK, replace(HOME, home_seconds=2.5)) == ""
    assert "allowed: 1 s" in broken(ROLLED_BACK, replace(HOME, home_seconds=1))


def test_a_look_that_the_gateway_did_not_answer_is_no_share() -> None:
    unanswered = {"at": 15.0, "canary": None, "hosts": {}}

    assert broken(replace(ROLLED_BACK, looks=[*ROLLED_BACK.looks[:3], unanswered, *ROLLED_BACK.looks[3:]]), HOME) == ""


def test_every_cell_has_a_name_of_its_own_and_a_moment_that_comes() -> None:
    names = [cell.name for cell in cells()]

    assert len(set(names)) == len(names)
    assert {cell.moment for cell in cells()} <= set(MOMENTS)
