"""The simulator gives what its families say, within three standard errors."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from analysis.offline.traces import read_trace
from benchmarks.simulated.bound import bound_seconds, information
from benchmarks.simulated.families import BURSTS, FAULTY, HEALTHY, PROMOTABLE, Family, Fault, Weather
from benchmarks.simulated.simulator import CANARY, ISTIO_EDGES_MS, STABLE, Runs, simulate
from benchmarks.simulated.trace_writer import Rows, write_trace
from tests.unit.analysis.frames import recorded_frame

CALM = Family("calm", error_ratio=0.005)
BOUNDS = {family.name: bound_seconds(family, alpha=0.01) for family in FAULTY}


def simulated(family: Family, runs: int = 20, history: float = 0.0) -> Runs:
    return simulate(family, runs=runs, seed=11, history=history)


def ratio(runs: Runs, track: int) -> float:
    return float(runs.errors[..., track].sum() / runs.requests[..., track].sum())


def mean_ms(runs: Runs, track: int) -> float:
    return float(runs.sums[..., track].sum() / runs.requests[..., track].sum())


def test_the_same_seed_gives_the_same_runs():
    one, other = simulated(CALM), simulated(CALM)

    assert np.array_equal(one.latency, other.latency)
    assert np.array_equal(one.errors, other.errors)


def test_requests_fall_on_the_tracks_by_the_configured_share():
    runs = simulated(CALM)
    expected = 20 * 900 * 100 * (0.2 + 0.5)

    assert runs.requests[..., CANARY].sum() == pytest.approx(expected, abs=3 * math.sqrt(expected))
    assert runs.requests.sum() == pytest.approx(20 * 180_000, abs=3 * math.sqrt(20 * 180_000))


def test_errors_and_latency_have_the_law_of_the_family():
    runs = simulated(CALM)
    tolerance = 3 * math.sqrt(0.005 / runs.requests[..., CANARY].sum())

    assert ratio(runs, CANARY) == pytest.approx(0.005, abs=tolerance)
    assert mean_ms(runs, STABLE) == pytest.approx(40 * math.exp(0.8**2 / 2), rel=0.003)
    below_median = runs.latency[..., ISTIO_EDGES_MS <= 50].sum() / runs.latency.sum()
    assert below_median == pytest.approx(0.6098, abs=0.001)  # Phi(ln(50 / 40) / 0.8)


def test_history_holds_stable_alone():
    runs = simulated(CALM, history=600)

    assert runs.requests[:, runs.time <= 0, CANARY].sum() == 0
    assert (runs.requests[:, runs.time <= 0, STABLE] > 0).all()


def test_a_fault_is_the_canarys_alone_and_begins_at_its_onset():
    runs = simulated(replace(CALM, fault=Fault(error_factor=5, scale=1.5, onset=600)))
    before, after = (replace(runs, **cut(runs, part)) for part in (runs.time <= 600, runs.time > 600))

    assert ratio(before, CANARY) == pytest.approx(0.005, rel=0.1)
    assert ratio(after, CANARY) == pytest.approx(0.025, rel=0.05)
    assert ratio(after, STABLE) == pytest.approx(0.005, rel=0.1)
    assert mean_ms(after, CANARY) / mean_ms(after, STABLE) == pytest.approx(1.5, rel=0.01)


def cut(runs: Runs, part: np.ndarray) -> dict[str, np.ndarray]:
    return {name: getattr(runs, name)[:, part] for name in ("requests", "errors", "sums", "latency")}


def test_beta_binomial_errors_have_the_dispersion_of_their_rho():
    runs = simulated(replace(CALM, weather=Weather(rho=0.005)), runs=50)
    n, x = runs.requests[..., STABLE], runs.errors[..., STABLE]
    p = x.sum() / n.sum()

    fano = ((x - n * p) ** 2).sum() / (n * p * (1 - p)).sum()

    expected = 1 + 0.005 * (float((n * n).sum() / n.sum()) - 1)
    assert fano == pytest.approx(expected, rel=0.1)


def test_bursts_come_one_a_minute_over_ten_pods():
    runs = simulated(Family("bursts", error_ratio=0.0, weather=BURSTS, pods=8), runs=50)
    errors, requests = runs.pods[..., 0], runs.pods[..., 1]

    bursting = errors[:, :, STABLE] > 0.05 * requests[:, :, STABLE]

    expected = 50 * 1800 / 60 / 10 * 8 * 2  # two scrapes each, less those that overlap
    assert bursting.sum() == pytest.approx(expected, rel=0.05)
    assert errors.sum(-1) == pytest.approx(runs.errors)
    assert requests.sum(-1) == pytest.approx(runs.requests)


def test_an_outage_hits_both_tracks_and_ends():
    runs = simulated(replace(CALM, weather=Weather(outage=60.0)), runs=40)
    ill = runs.errors / np.maximum(runs.requests, 1) > 0.1

    # a scrape that the outage only touches counts as ill: 12 or 13 of 5 s
    assert set(ill[..., STABLE].sum(1)) <= {12, 13}
    assert (ill[..., CANARY] == ill[..., STABLE]).mean() > 0.99


def test_a_mismatch_and_lost_scrapes_are_there():
    wrong = simulated(replace(CALM, weather=Weather(mismatch=0.3)))
    lost = simulated(replace(CALM, weather=Weather(lost=0.05)))

    assert wrong.requests[..., CANARY].sum() / wrong.requests.sum() == pytest.approx(0.35 * 0.7, rel=0.01)
    assert 1 - lost.present.mean() == pytest.approx(0.05, abs=0.01)


@pytest.mark.parametrize("family", [*HEALTHY, *FAULTY, *PROMOTABLE], ids=lambda family: family.name)
def test_every_family_can_be_simulated_and_is_consistent(family: Family):
    runs = simulate(replace(family, duration=300.0), runs=2, seed=1, history=60.0)

    assert (runs.errors <= runs.requests).all()
    assert runs.latency.sum(-1) == pytest.approx(runs.requests)
    assert np.isfinite(runs.sums).all()


def test_the_bound_is_that_of_the_literature():
    """For errors: log(1 / alpha) over (errors a second) x KL(q || w), with q = r w / (r w + 1 - w)."""
    w, r, p = 0.2, 5.0, 1e-6
    q = r * w / (r * w + 1 - w)
    exact = p * (r * w + 1 - w) * (q * math.log(q / w) + (1 - q) * math.log((1 - q) / (1 - w)))
    canary, stable = np.array([r * p, 1 - r * p]), np.array([p, 1 - p])

    assert information(canary, stable, np.array(w)) == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("errors x2", 786),
        ("errors x5", 83),
        ("errors x10", 27),
        ("errors 5 %", 3.4),
        ("latency +20 %", 12),
        ("latency +50 %", 2.5),
        ("tail 2 % x10", 24),
        ("onset 10 min, x5", 83),
    ],
)
def test_the_bounds_agree_with_an_independent_program(name: str, seconds: float):
    """Figures of a prototype written apart from this one."""
    assert BOUNDS[name] == pytest.approx(seconds, rel=0.03)


def test_a_fault_that_is_none_is_never_found():
    assert bound_seconds(CALM, alpha=0.01) == math.inf


@pytest.mark.parametrize("name", ["run.csv", "run.parquet"])
@pytest.mark.parametrize("rows", list(Rows))
def test_a_written_run_is_a_trace_with_the_same_counts(name: str, rows: Rows, tmp_path: Path):
    family = Family("pods", error_ratio=0.01, duration=60.0, steps=((0.0, 0.2), (30.0, 0.5)), pods=4)
    runs = simulate(family, runs=2, seed=5, history=20.0)

    write_trace(runs, 1, tmp_path / name, rows=rows)

    frame = recorded_frame(read_trace(tmp_path / name))
    last = frame[(frame["time"] == 60) & (frame["metric"] == "requests_total")]
    last = last[(last["pod"] == "") == (rows != Rows.PODS)]
    for track, index in (("canary", CANARY), ("stable", STABLE)):
        assert last[last["track"] == track]["value"].sum() == runs.requests[1, :, index].sum()
    weights = frame[frame["metric"] == "weight"]
    assert weights["value"].tolist() == [0.2] * 6 + [0.5] * 7


def test_buckets_of_pods_add_up_to_those_of_the_gateway(tmp_path: Path):
    family = Family("pods", error_ratio=0.01, duration=60.0, pods=4)

    write_trace(simulate(family, runs=1, seed=5, history=20.0), 0, tmp_path / "run.csv", rows=Rows.BOTH)

    frame = recorded_frame(read_trace(tmp_path / "run.csv"))
    frame = frame[(frame["time"] == 60) & (frame["metric"] == "duration_ms_bucket")]
    by_edge = frame.groupby(["track", frame["pod"] == "", "le"], observed=True)["value"].sum().unstack(1)
    assert (by_edge[True] == by_edge[False]).all()
