"""One look at numbers that cannot be true, and then a canary that fails half of its requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analysis.judge import Judge
from analysis.scrapes.samples import NO_EDGE, Samples, Series
from rollout.model import Outcome
from rollout.plan import parse_plan
from tests.fakes import ISTIO_EDGES_MS

PLAN = parse_plan(Path("demo.yaml").read_text(encoding="utf-8"))
BEGAN = 1_800_000_000.0
ODD_LOOK, SICK_FROM, SEEN_BY = 15, 20, 27
RATES = {"stable": 80.0, "canary": 20.0}
Odd = Callable[[float], float]


def samples(until: float, tracks: tuple[str, ...], *, odd: Odd = float, ahead: float = 0.0) -> Samples:
    """The gateway's samples of the last four seconds; each has counted from the very beginning."""
    rows = []
    for time in (until - 3, until - 2, until - 1, until):
        for track in tracks:
            began = BEGAN - 60 if track == "stable" else BEGAN
            requests = max(RATES[track] * (time - began), 0.0)
            failed = max(RATES[track] / 2 * (time - BEGAN - SICK_FROM), 0.0) if track == "canary" else 0.0
            counted = [
                ("requests_total", NO_EDGE, "200", requests - failed),
                ("requests_total", NO_EDGE, "503", failed),
            ]
            counted += [("duration_ms_sum", NO_EDGE, "", 37 * requests), ("duration_ms_count", NO_EDGE, "", requests)]
            counted += [("duration_ms_bucket", edge, "", requests * _below(edge)) for edge in ISTIO_EDGES_MS]
            for metric, edge, answer, value in counted:
                series = Series(track, "", metric, edge, answer, target="gateway", proxy="gateway")
                rows.append((time + ahead, series, odd(value)))
    return Samples.of_rows(rows)


def _below(edge: float) -> float:
    return 0.0 if edge < 25 else 0.1 if edge == 25 else 0.9 if edge == 50 else 1.0


def condemned_at(*, odd: Odd = float, ahead: float = 0.0) -> int | None:
    """The look at which the canary is condemned; one look sees what is odd."""
    judge = Judge.for_plan(PLAN)
    state = judge.begin()
    for second in range(-56, 1):
        state, _ = judge.learn(state, samples(BEGAN + second, ("stable",)))
    for look in range(1, 60):
        is_odd = look == ODD_LOOK
        seen = samples(BEGAN + look, ("stable", "canary"), odd=odd if is_odd else float, ahead=ahead if is_odd else 0.0)
        now = datetime.fromtimestamp(BEGAN + look, UTC)
        result = judge.look(state, seen, canary_share=0.2, now=now)
        state = result.state
        if result.verdict.outcome is Outcome.FAIL:
            return look
    return None


@pytest.mark.parametrize(
    "odd",
    [
        lambda value: -value,
        lambda value: float("nan"),
        lambda value: float("inf"),
        lambda value: 1e308,
        lambda value: value * 1e12,
        lambda value: 0.0,
    ],
    ids=["negative", "not a number", "infinite", "1e308", "a million million times as much", "zero"],
)
def test_one_odd_look_does_not_blind_the_judge(odd: Odd) -> None:
    look = condemned_at(odd=odd)

    assert look is not None
    assert SICK_FROM < look <= SEEN_BY


@pytest.mark.parametrize("ahead", [90.0, 3600.0, -90.0])
def test_samples_of_another_time_do_not_blind_the_judge(ahead: float) -> None:
    look = condemned_at(ahead=ahead)

    assert look is not None
    assert SICK_FROM < look <= SEEN_BY


def test_without_an_odd_look_the_canary_is_condemned_as_soon() -> None:
    look = condemned_at()

    assert look is not None
    assert SICK_FROM < look <= SEEN_BY
