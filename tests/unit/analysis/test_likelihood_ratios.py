"""The bets are the likelihood ratios of their docstrings: held against scipy, or written out one request at a time."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.evidence.sequential import decayed_sums, histogram_log_ratio, split_log_ratio, sum_log_ratio


@pytest.mark.parametrize(("events", "requests"), [((3, 1), (40, 60)), ((0, 0), (20, 80)), ((5, 9), (5, 900))])
@pytest.mark.parametrize("odds", [1.5, 4.0])
def test_the_split_test_is_the_ratio_of_four_binomial_likelihoods(
    events: tuple[int, int], requests: tuple[int, int], odds: float
) -> None:
    p_stable, share = 0.02, requests[0] / sum(requests)
    p_canary = odds * p_stable / (1 - p_stable + odds * p_stable)
    common = share * p_canary + (1 - share) * p_stable
    apart = stats.binom.logpmf(events, requests, (p_canary, p_stable)).sum()
    alike = stats.binom.logpmf(events, requests, common).sum()

    log_ratio = split_log_ratio(
        np.array(events, float), np.array(requests, float), np.array([odds]), np.array(p_stable)
    )

    assert log_ratio == pytest.approx([float(apart - alike)])


def test_the_histogram_test_is_the_ratio_of_multinomial_likelihoods() -> None:
    stable, shift = np.array([0.6, 0.3, 0.1]), np.array([[0.5, 0.3, 0.2], [0.0, 0.4, 0.6], [0.0, 0.0, 1.0]])
    counts = np.array([[4, 6, 10], [30, 14, 6]])
    canary, share = stable @ shift, 20 / 70
    common = share * canary + (1 - share) * stable
    expected = float((counts[0] * np.log(canary / common)).sum() + (counts[1] * np.log(stable / common)).sum())

    log_ratio = histogram_log_ratio(counts[None, None].astype(float), stable[None, None], shift[None, :, None])

    assert log_ratio.item() == pytest.approx(expected)
    assert expected > 1


def test_where_every_request_took_as_long_as_its_bucket_allows_the_bet_on_sums_stands() -> None:
    ends = np.array([[0.0, 100.0], [100.0, 250.0]])
    counts = np.array([[[[20.0, 80.0], [80.0, 20.0]]]])
    longest = np.array([[[20 * 100.0 + 80 * 250.0, 80 * 100.0 + 20 * 250.0]]])
    shortest = np.array([[[80 * 100.0, 20 * 100.0]]])

    assert sum_log_ratio(counts, longest, ends, 0.2).item() > 0
    assert sum_log_ratio(counts, shortest, ends, 0.2).item() > 0


def test_no_scrapes_have_no_sums() -> None:
    assert decayed_sums(np.empty((0, 2)), np.empty((0, 2)), np.ones(2)).shape == (0, 2)
