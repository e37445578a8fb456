"""The judge on traffic like the demo's: 500 requests a second, one scrape a second, 15 s of history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.judge import Judge, Look
from rollout.model import Basis, Outcome
from rollout.plan import parse_plan
from tests.unit.analysis.frames import samples_of

PLAN = parse_plan(Path("demo.yaml").read_text())
EDGES = np.array([10.0, 25.0, 50.0, 100.0, np.inf])
EPOCH = datetime.fromtimestamp(0, UTC)
COLUMNS = ["time", "track", "pod", "metric", "le", "value"]


def traffic(
    seed: int,
    share: float = 0.2,
    seconds: int = 60,
    *,
    errors: float = 0.0,
    scale: float = 1.0,
    extra_ms: float = 0.0,
    outage: bool = False,
) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    counters = {track: np.zeros(4 + len(EDGES)) for track in ("stable", "canary")}
    rows = []
    for second in range(-15, seconds):
        for track, counter in counters.items():
            is_canary = track == "canary"
            part = (share if is_canary else 1 - share) if second >= 0 else float(not is_canary)
            requests = rng.poisson(500 * part)
            latencies = rng.uniform(20, 60, requests) * (scale if is_canary else 1) + extra_ms * is_canary
            ratio = 0.2 if outage and 5 <= second < 15 else errors * is_canary
            counter += [
                requests,
                rng.binomial(requests, ratio),
                latencies.sum(),
                requests,
                *(latencies[:, None] <= EDGES).sum(axis=0),
            ]
            if second >= 0 or not is_canary:
                rows += _samples(second, track, counter)
    return pd.DataFrame(rows, columns=COLUMNS)


def _samples(second: int, track: str, counter: np.ndarray) -> list[tuple[object, ...]]:
    names = ("requests_total", "errors_total", "duration_ms_sum", "duration_ms_count")
    plain = [(second, track, "", name, np.nan, value) for name, value in zip(names, counter[:4], strict=True)]
    buckets = zip(EDGES, counter[4:], strict=True)
    return plain + [(second, track, "", "duration_ms_bucket", edge, value) for edge, value in buckets]


def watch(frame: pd.DataFrame, share: float = 0.2) -> dict[int, Look]:
    """Look at every second, as the conductor does, until the canary is condemned."""
    judge = Judge.for_plan(PLAN)
    state, _ = judge.learn(judge.begin(), samples_of(frame[frame["time"] < 0]))
    looks = {}
    for second in range(int(frame["time"].max()) + 1):
        new = frame[(frame["time"] <= second) & (frame["time"] > second - 3)]
        now = EPOCH + timedelta(seconds=second)
        looks[second] = judge.look(state, samples_of(new), canary_share=share, now=now)
        state = looks[second].state
        if looks[second].verdict.outcome is Outcome.FAIL:
            break
    return looks


def first(looks: dict[int, Look], outcome: Outcome) -> int | None:
    return next((second for second, look in looks.items() if look.verdict.outcome is outcome), None)


@pytest.mark.parametrize("seed", range(3))
def test_a_healthy_canary_is_promotable_within_forty_seconds(seed: int) -> None:
    passed = first(watch(traffic(seed)), Outcome.PASS)

    assert passed is not None
    assert passed <= 40


@pytest.mark.parametrize("seed", range(3))
def test_five_percent_of_errors_are_condemned_within_five_scrapes(seed: int) -> None:
    looks = watch(traffic(seed, seconds=10, errors=0.05))

    failed = first(looks, Outcome.FAIL)
    assert failed is not None
    assert failed <= 5
    assert looks[failed].verdict.findings[0].criterion == "errors"


@pytest.mark.parametrize("seed", range(3))
def test_half_a_percent_of_errors_is_condemned_by_comparison_with_stable(seed: int) -> None:
    looks = watch(traffic(seed, errors=0.005))

    failed = first(looks, Outcome.FAIL)
    assert failed is not None
    assert looks[failed].verdict.findings[0].basis is Basis.RELATIVE


@pytest.mark.parametrize("fault", [{"scale": 1.5}, {"extra_ms": 800.0}])
def test_a_slow_canary_is_condemned_soon_after_its_warm_up(fault: dict[str, float]) -> None:
    looks = watch(traffic(1, seconds=20, **fault))

    failed = first(looks, Outcome.FAIL)
    assert failed is not None
    assert failed <= 8
    assert looks[failed].verdict.findings[0].criterion == "latency"


def test_a_canary_slower_by_less_than_the_minimum_effect_is_let_pass() -> None:
    looks = watch(traffic(1, seconds=90, scale=1.06))

    assert first(looks, Outcome.FAIL) is None


@pytest.mark.parametrize("seed", range(3))
def test_an_outage_of_both_tracks_is_called_common_mode_and_promoted_afterwards(seed: int) -> None:
    looks = watch(traffic(seed, outage=True))

    assert first(looks, Outcome.FAIL) is None
    assert looks[10].verdict.findings[0].basis is Basis.COMMON_MODE
    assert first(looks, Outcome.PASS) is not None
