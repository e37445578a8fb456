"""Numbers that the peers' own users and documents quote."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.offline.mann_whitney import rank_sum_z, shift_between, zero
from analysis.offline.peer_rules import (
    Classification,
    Ending,
    Measurement,
    Replay,
    argo,
    classify,
    flagger,
    histogram_quantile,
    kayenta,
    kayenta_score,
)

PASS, HIGH, LOW, NO_DATA = Classification


def values(*numbers: float) -> np.ndarray:
    return np.array(numbers, dtype=float)


def bad_of_ten(count: int) -> np.ndarray:
    return values(*[100.0] * count, *[1.0] * (10 - count))


def test_the_shift_has_the_internals_that_a_user_of_kayenta_posted():
    """spinnaker/spinnaker#6278: lower end 6.825022991538781E-5, estimate 98.99992904170193, upper end 99.0."""
    shift = shift_between(bad_of_ten(7), np.ones(10), confidence=0.98)

    assert shift.low == pytest.approx(6.825022991538781e-05, rel=1e-12)
    assert shift.estimate == pytest.approx(98.99992904170193, rel=1e-15)
    assert shift.high == 99.0


def test_kayenta_passes_seven_bad_points_of_ten_and_not_eight():
    """spinnaker/spinnaker#6278: "it doesn't fail until I change that 8th value"."""
    assert classify(np.ones(10), bad_of_ten(7)) is PASS
    assert classify(np.ones(10), bad_of_ten(8)) is HIGH


def test_kayenta_passes_rare_errors_over_a_baseline_without_any():
    """spinnaker/kayenta#426: experiment 0 1 2 1 0 0 over six zeros is classified as Pass."""
    assert classify(np.zeros(6), values(0, 1, 2, 1, 0, 0)) is PASS


def test_kayenta_sees_a_plain_shift_in_the_direction_asked_for():
    control = np.arange(10.0, 20.0)

    assert classify(control, control + 30) is HIGH
    assert classify(control + 30, control) is PASS
    assert classify(control + 30, control, increase=False, decrease=True) is LOW


def test_kayenta_passes_equal_samples_and_has_no_data_without_points():
    control = values(1, 2, 3)

    assert classify(control, values(3, 2, 1)) is PASS
    assert classify(np.ones(3), np.ones(5)) is PASS
    assert classify(control, values(np.nan)) is NO_DATA
    assert classify(control, values(), replace_missing=True) is PASS


def test_two_different_constants_are_told_apart():
    assert classify(np.ones(10), np.full(10, 2.0)) is HIGH


def test_the_rank_sum_agrees_with_scipy():
    draw = np.random.default_rng(3)
    x, y = draw.poisson(4, 30).astype(float), draw.poisson(5, 40).astype(float)
    p = stats.mannwhitneyu(x, y, method="asymptotic", use_continuity=True).pvalue

    assert 2 * stats.norm.sf(abs(rank_sum_z(x, y))) == pytest.approx(p, rel=1e-12)


def test_the_root_finder_finds_a_root_between_its_ends():
    assert zero(lambda x: x**3 - 2 * x - 5, 2.0, 3.0, tolerance=1e-12) == pytest.approx(2.0945514815423265)


def test_kayenta_scores_the_share_of_metrics_that_pass():
    assert kayenta_score({"all": [PASS, PASS, PASS, HIGH]}) == 75.0
    assert kayenta_score({"all": [PASS, NO_DATA, PASS]}) == 100.0
    assert kayenta_score({"errors": [HIGH], "latency": [PASS, PASS]}, {"errors": 60}) == 40.0
    assert kayenta_score({"errors": [HIGH], "latency": [PASS], "cpu": [PASS]}) == 66.67


def test_kayenta_gives_nothing_when_half_of_the_metrics_have_no_data():
    assert kayenta_score({"all": [PASS, NO_DATA]}) == 0.0


def test_a_score_at_the_marginal_limit_ends_a_kayenta_analysis_at_once():
    assert kayenta([100, 75, 100]) == Replay(Ending.ROLLED_BACK, 1)
    assert kayenta([100, 80, 100]) == Replay(Ending.PROMOTED, 2)
    assert kayenta([100, 100, 90]) == Replay(Ending.ROLLED_BACK, 2)
    assert kayenta([]) == Replay(Ending.RUNNING, 0)


def test_flagger_rolls_back_one_interval_after_the_last_failure_that_it_took():
    """Flagger's documentation: time to rollback = interval x threshold, from the first failed check."""
    assert flagger([False] * 10, threshold=5) == Replay(Ending.ROLLED_BACK, 5)
    assert flagger([False] * 5, threshold=5) == Replay(Ending.RUNNING, 5)


def test_flagger_never_forgets_a_failed_check():
    one_in_three = [i % 3 != 0 for i in range(30)]

    assert flagger(one_in_three, threshold=5) == Replay(Ending.ROLLED_BACK, 13)


def test_flagger_promotes_after_max_weight_over_step_weight_checks():
    """Flagger's documentation: fastest promotion = interval x (maxWeight / stepWeight)."""
    assert flagger([True] * 10, advances=5) == Replay(Ending.PROMOTED, 4)


def test_argo_fails_a_run_above_its_failure_limit():
    bad = [Measurement.FAILED] * 9

    assert argo(bad) == Replay(Ending.ROLLED_BACK, 0)
    assert argo(bad, failure_limit=3) == Replay(Ending.ROLLED_BACK, 3)


def test_argo_fails_a_run_at_the_fifth_error_in_a_row_only():
    error, good = Measurement.ERROR, Measurement.SUCCESSFUL

    assert argo([error] * 9) == Replay(Ending.ROLLED_BACK, 4)
    assert argo([error, error, error, error, good] * 3) == Replay(Ending.RUNNING, 15)


def test_argo_pauses_when_neither_condition_is_met_and_succeeds_after_its_count():
    good = Measurement.SUCCESSFUL

    assert argo([good, Measurement.INCONCLUSIVE]) == Replay(Ending.PAUSED, 1)
    assert argo([good, Measurement.ERROR, good, good], count=3) == Replay(Ending.PROMOTED, 3)


def test_a_quantile_is_interpolated_as_promql_does():
    """Every request at 110 ms between the edges 100 and 250 reads as a P99 of 248.5 ms."""
    edges = values(50, 100, 250, 500, np.inf)

    assert histogram_quantile(0.99, edges, values(0, 0, 1000, 0, 0)) == pytest.approx(248.5)
    assert histogram_quantile(0.5, edges, values(10, 0, 0, 0, 0)) == pytest.approx(25)
    assert histogram_quantile(0.99, edges, values(0, 0, 0, 0, 5)) == 500
    assert np.isnan(histogram_quantile(0.99, edges, np.zeros(5)))
