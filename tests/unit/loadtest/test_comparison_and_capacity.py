from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtest.profile import validate_profile
from loadtest.stats import Histogram
from loadtest.validation.capacity import find_capacity
from loadtest.validation.comparison import compare_runs
from loadtest.validation.intervals import batches, dispersion, quantile_interval, ratio_interval
from loadtest.validation.validation_run import AcceptedRuns, accept, with_last_accepted
from loadtest.windows import Window
from report.loadtest.validation_page import comparison_note
from rollout.load_test_result import EndpointCounts, ValidationResult
from rollout.model import Outcome

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


def result(**changes: Any) -> ValidationResult:
    plain: dict[str, Any] = {
        "name": "shop",
        "url": "http://127.0.0.1/",
        "began": NOON,
        "ended": NOON,
        "description": "",
        "settings": "s",
        "outcome": Outcome.PASS,
        "reason": "fine",
        "findings": (),
        "asked": 100.0,
        "reached": 100.0,
        "seconds": 30.0,
        "sent": 3000,
        "total": EndpointCounts(endpoint="all", track="all", requests=3000, failures=0),
        "abandoned": 0,
        "held_back": 0,
        "lateness_p99_ms": 1.0,
        "counted": (),
        "errors": {},
        "course": (),
        "histogram": (),
        "batches": run(0.05),
        "notes": (),
    }
    return ValidationResult(**plain | changes)


def run(mean: float, *, errors: float = 0.0, seed: int = 1) -> tuple[tuple[int, int, float], ...]:
    """Thirty batches of a hundred lognormal latencies each."""
    draw = np.random.default_rng(seed)
    return tuple(
        (100, int(draw.binomial(100, errors)), float(draw.lognormal(np.log(mean), 0.3, 100).sum())) for _ in range(30)
    )


@pytest.mark.parametrize(
    ("slower", "outcome"), [(1.0, Outcome.PASS), (1.04, Outcome.PASS), (1.1, Outcome.INCONCLUSIVE), (1.2, Outcome.FAIL)]
)
def test_a_regression_is_more_than_the_difference_that_is_let_pass(slower: float, outcome: Outcome):
    found = compare_runs(result(batches=run(0.05 * slower, seed=2)), result(), slower_below=0.1)

    assert found.outcome is outcome


@pytest.mark.parametrize(("errors", "outcome"), [(0.015, Outcome.INCONCLUSIVE), (0.04, Outcome.FAIL)])
def test_more_failures_than_before_are_a_regression_once_chance_is_ruled_out(errors: float, outcome: Outcome):
    now, before = result(batches=run(0.05, errors=errors, seed=3)), result(batches=run(0.05, errors=0.01))

    failures = compare_runs(now, before, slower_below=0.1).findings[1]

    assert failures.outcome is outcome


def test_equal_runs_are_called_a_regression_no_more_often_than_promised():
    """At the margin itself the chance is 5 %: three standard errors of 400 pairs."""
    called = [
        compare_runs(
            result(batches=run(0.055, seed=2 * pair)), result(batches=run(0.05, seed=2 * pair + 1)), slower_below=0.1
        )
        .findings[0]
        .outcome
        for pair in range(400)
    ]

    assert called.count(Outcome.FAIL) / 400 == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 400))


def test_a_regression_fails_the_test_and_does_not_become_what_later_runs_are_compared_with(tmp_path: Path):
    accepted, profile = AcceptedRuns(tmp_path), validate_profile({"rate": 100})
    accept(result(), accepted)

    slower = with_last_accepted(result(batches=run(0.07, seed=2)), profile, accepted)
    accept(slower, accepted)

    assert slower.outcome is Outcome.FAIL
    assert slower.reason.startswith("regression: mean latency ")
    assert accepted.last("s") == result()
    assert accepted.last("another") is None


@pytest.mark.parametrize(("holds", "found"), [(475.0, 475), (90.0, 90), (5000.0, 1000)])
def test_the_staircase_ends_within_a_tenth_below_what_the_service_carries(holds: float, found: float):
    tried = []

    def carried(rate: float) -> ValidationResult:
        tried.append(rate)
        return result(outcome=Outcome.PASS if rate <= holds else Outcome.FAIL)

    capacity = find_capacity(carried, start=100, ceiling=1000)

    assert capacity.rate is not None
    assert found * 0.88 <= capacity.rate <= found
    assert max(tried) <= 1000
    assert len(tried) <= 12


def test_a_generator_that_is_late_is_not_taken_for_the_services_capacity():
    capacity = find_capacity(lambda _: result(outcome=Outcome.FAIL, lateness_p99_ms=900.0), start=100, ceiling=1000)

    assert capacity.rate is None
    assert "generator" in capacity.bounded_by


def test_the_interval_of_no_errors_is_the_rule_of_three():
    assert ratio_interval(0, 3000) == (0.0, pytest.approx(3 / 3000, rel=0.01))


def test_errors_in_bursts_widen_the_interval():
    bursts = [0] * 29 + [30]

    phi = dispersion(bursts, [100] * 30)

    assert phi > 10
    assert dispersion([1] * 30, [100] * 30) == 1
    assert ratio_interval(30, 3000, phi)[1] > 2 * ratio_interval(30, 3000)[1]


def test_a_quantiles_interval_covers_it_as_often_as_promised():
    """Both ends at 95 %: 90 % together; three standard errors of 300 draws, and the buckets' 1 % below them."""
    draw, covered = np.random.default_rng(4), 0
    for _ in range(300):
        histogram, window = Histogram(), Window(0)
        for value in draw.exponential(0.05, 1000):
            histogram.add(value)
            window.record(value, failed=False)
        interval = quantile_interval(histogram, 0.95, batches([window]))
        assert interval is not None
        covered += interval[0] * 0.99 <= 0.05 * np.log(20) <= interval[1] * 1.01

    assert covered / 300 >= 0.9 - 3 * np.sqrt(0.9 * 0.1 / 300)


def test_a_run_accepted_by_an_older_version_is_still_compared_with_and_its_machine_is_unknown(tmp_path: Path):
    newer = {"machine", "raised", "refused"}
    old = result().model_dump(mode="json", exclude=newer)
    old["total"].pop("client_errors")
    (tmp_path / "s.json").write_text(json.dumps(old))

    compared_with = with_last_accepted(
        result(machine="ci-7"), validate_profile({"rate": 100}), AcceptedRuns(tmp_path)
    ).comparison

    assert compared_with is not None
    assert compared_with.outcome is Outcome.PASS
    assert "another machine (one that is not on record)" in comparison_note(compared_with)


def test_the_last_accepted_run_says_when_it_was_made_on_another_machine():
    elsewhere = compare_runs(result(machine="ci-7"), result(machine="ci-8"), slower_below=0.1)
    here = compare_runs(result(machine="ci-7"), result(machine="ci-7"), slower_below=0.1)

    assert "made on another machine (ci-8)" in comparison_note(elsewhere)
    assert "another machine" not in comparison_note(here)
