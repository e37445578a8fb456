"""The tests against published figures, independent programs and exact enumeration."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from analysis.evidence import latency
from analysis.evidence.sequential import (
    change_point_path,
    decayed_sums,
    histogram_log_ratio,
    limit_log_ratio,
    log_sum,
    margin_log_ratio,
    mean_log_ratio,
    share_log_ratio,
    split_log_ratio,
    sum_log_ratio,
)
from analysis.verdict.counts import interval


def outcomes_of(sizes: tuple[int, int], ratios: tuple[float, float]) -> tuple[np.ndarray, np.ndarray]:
    """Return all pairs of event counts (M, 2), and how likely each is."""
    pairs = list(itertools.product(range(sizes[0] + 1), range(sizes[1] + 1)))
    chance = [math.prod(stats.binom.pmf(k, n, p) for k, n, p in zip(ks, sizes, ratios, strict=True)) for ks in pairs]
    return np.array(pairs, dtype=float), np.array(chance)


@pytest.mark.parametrize("sampled", [26, 50, 100])
def test_the_limit_test_draws_the_rejection_line_of_the_nist_handbook(sampled: int) -> None:
    """NIST/SEMATECH e-Handbook, 6.2.3: p1 = .01, p2 = .10, alpha = .05, beta = .10 give x_r = 1.2054 + .0397 n."""
    on_the_line = np.array(1.2054 + 0.03975 * sampled)

    log_ratio = limit_log_ratio(on_the_line, np.array(float(sampled)), np.array([0.10]), np.array(0.01))

    assert log_ratio[0] == pytest.approx(math.log(0.90 / 0.05), abs=0.002)


def test_no_failure_in_2995_shows_less_than_a_thousandth() -> None:
    """The rule of three: log(20) / 0.001 requests."""
    log_ratio = limit_log_ratio(np.array(0.0), np.array(2995.0), np.array([0.0]), np.array(0.001))

    assert log_ratio[0] == pytest.approx(math.log(20), abs=0.002)


@pytest.mark.parametrize(("canary", "stable", "share"), [(3, 10, 0.2), (0, 4, 0.5), (9, 2, 0.35)])
def test_the_margin_test_is_the_conditional_binomial_ratio(canary: int, stable: int, share: float) -> None:
    """Held against scipy's binomial: given all events, the canary's part has q(r) = r w / (r w + 1 - w)."""

    def log_pmf(ratio: float) -> float:
        return float(stats.binom.logpmf(canary, canary + stable, ratio * share / (ratio * share + 1 - share)))

    log_ratio = margin_log_ratio(np.array([canary, stable]), np.array(share), np.array([0.7]), np.array(1.5))

    assert log_ratio[0] == pytest.approx(log_pmf(0.7) - log_pmf(1.5))


@pytest.mark.parametrize("truth", [0.0, 0.001, 0.05, 0.4, 0.9])
@pytest.mark.parametrize("guess", [0.0005, 0.05, 0.5])
@pytest.mark.parametrize("sizes", [(3, 12), (8, 8), (10, 2)])
def test_the_split_test_expects_no_more_than_one_whatever_the_common_ratio(
    truth: float, guess: float, sizes: tuple[int, int]
) -> None:
    """Summed over all outcomes: an e-value under every common law, however wrong the guess of it."""
    odds = np.array([1.5, 8.0, 40.0])
    outcomes = list(itertools.product(range(sizes[0] + 1), range(sizes[1] + 1)))
    chance = np.array(
        [math.prod(stats.binom.pmf(k, n, truth) for k, n in zip(ks, sizes, strict=True)) for ks in outcomes]
    )

    logs = split_log_ratio(
        np.array(outcomes, dtype=float),
        np.full((len(outcomes), 2), sizes, dtype=float),
        odds,
        np.full(len(outcomes), guess),
    )

    assert (chance @ np.exp(logs) <= 1 + 1e-12).all()


def test_the_split_test_expects_no_more_than_one_of_a_better_canary() -> None:
    sizes, truths = (4, 9), (0.1, 0.3)
    outcomes, chance = outcomes_of(sizes, truths)

    logs = split_log_ratio(
        np.array(outcomes, dtype=float),
        np.full((len(outcomes), 2), sizes),
        np.array([3.0]),
        np.full(len(outcomes), 0.3),
    )

    assert float(np.array(chance) @ np.exp(logs[:, 0])) < 1


@pytest.mark.parametrize("truth", [(0.6, 0.3, 0.1), (0.1, 0.1, 0.8), (0.0, 0.5, 0.5)])
def test_the_histogram_test_expects_no_more_than_one_under_any_common_law(truth: tuple[float, ...]) -> None:
    edges = (50.0, 100.0, math.inf)
    guess = np.array([[0.5, 0.4, 0.1]])
    shifts = latency.alternatives(edges, guess)
    cells = [c for c in itertools.product(range(4), repeat=3) if sum(c) == 3]
    pairs = list(itertools.product(cells, cells))
    chance = np.array([math.prod(stats.multinomial.pmf(c, 3, truth) for c in pair) for pair in pairs])

    logs = histogram_log_ratio(np.array(pairs, dtype=float)[:, None], np.tile(guess, (len(pairs), 1, 1)), shifts)

    assert (chance @ np.exp(logs[:, 0]) <= 1 + 1e-9).all()


def test_the_share_test_expects_exactly_one_under_the_configured_split() -> None:
    sent, share = 60, 0.2

    expected = sum(
        stats.binom.pmf(k, sent, share) * math.exp(share_log_ratio(k, sent - k, share)) for k in range(sent + 1)
    )

    assert expected == pytest.approx(1.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(1, 14_000), min_size=1, max_size=30), st.booleans())
def test_the_mean_test_never_claims_more_than_the_latencies_themselves_would(times: list[float], below: bool) -> None:
    edges = (100.0, 250.0, 1000.0, math.inf)
    bets = latency.mean_bets(edges, 200.0, 15_000.0, below=below)
    counts = np.histogram(times, bins=[0.0, *edges])[0].astype(float)
    exact = np.log(bets.slope[:, 0] + bets.slope[:, 1] * np.array(times)[:, None]).sum(axis=0)

    bound = mean_log_ratio(counts, np.array(sum(times)), bets.payoff, bets.slope, bets.edges)

    assert (bound <= exact + 1e-9).all()


def test_the_change_point_path_is_its_recursion() -> None:
    rng = np.random.default_rng(1)
    logs, entering, start = rng.normal(size=(50, 3)), np.log(rng.random((50, 3))), np.full(3, -np.inf)

    path = change_point_path(logs, entering, start)

    r = np.zeros(3)
    for i in range(50):
        r = (r + np.exp(entering[i])) * np.exp(logs[i])
        np.testing.assert_allclose(path[i], np.log(r))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 40), st.integers(0, 9))
def test_decayed_sums_are_their_recursion(size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    values, keep, total = rng.random(size), rng.random(size), 3.0

    sums = decayed_sums(values, keep, np.array(3.0))

    for value, kept, seen in zip(values, keep, sums, strict=True):
        total = kept * total + value
        assert seen == pytest.approx(total)


def test_the_sum_of_no_evidence_is_none() -> None:
    assert log_sum(np.array([-np.inf, -np.inf])) == -np.inf
    assert log_sum(np.array([0.0, -np.inf, 0.0])) == pytest.approx(math.log(2))


@pytest.mark.parametrize(("events", "requests"), [(4, 20), (0, 50), (7, 7), (13, 4000)])
def test_the_interval_is_that_of_clopper_and_pearson(events: int, requests: int) -> None:
    """Held against scipy.stats.binomtest; 4 of 20 give 0.0573 to 0.4366, as in R's binom.test."""
    exact = stats.binomtest(events, requests).proportion_ci(method="exact")

    assert interval(events, requests) == pytest.approx((exact.low, exact.high))


def test_the_bet_on_sums_is_fair_for_every_way_to_draw_the_canary_from_both_tracks() -> None:
    """Enumerated: whatever the latencies are, the mean over all draws of the canary's requests is at most 1."""
    edges = np.array([50.0, 100.0, 250.0])
    ends = np.stack([np.append(0.0, edges[:-1]), edges])
    for seed in range(20):
        rng = np.random.default_rng(seed)
        times = rng.uniform(0, rng.choice(edges, 9))
        wins = []
        for drawn in itertools.combinations(range(9), 3):
            canary = np.isin(np.arange(9), drawn)
            tracks = [times[canary], times[~canary]]
            counts = np.array([np.bincount(np.searchsorted(edges, each), minlength=3) for each in tracks], dtype=float)
            sums = np.array([each.sum() for each in tracks])
            wins.append(np.exp(sum_log_ratio(counts[None, None], sums[None, None], ends, 0.2)[0, 0]))

        assert 0 < np.mean(wins) <= 1 + 1e-9


def test_the_bet_on_sums_sees_what_happens_inside_one_bucket() -> None:
    counts = np.array([[[[0.0, 100.0, 0.0], [0.0, 400.0, 0.0]]]])
    ends = np.array([[0.0, 100.0, 250.0], [100.0, 250.0, 1000.0]])

    alike, slower = (sum_log_ratio(counts, np.array([[[mean, 52_000.0]]]), ends, 0.2)[0, 0] for mean in (13e3, 15.6e3))

    assert alike < 0
    assert slower > 3


def test_there_is_no_bet_on_sums_that_cannot_be_those_of_the_buckets() -> None:
    counts, ends = np.full((1, 1, 2, 2), 10.0), np.array([[0.0, 100.0], [100.0, 250.0]])

    assert sum_log_ratio(counts, np.array([[[2.0, 2.0]]]), ends, 0.2)[0, 0] == 0


@pytest.mark.parametrize(("long_ms", "bucket"), [(100.0, 0), (1000.0, 1)])
@pytest.mark.parametrize("effect", [0.2, 0.5, 1.0])
def test_the_bet_on_sums_is_fair_and_loses_little_where_its_bounds_are_reached(
    long_ms: float, bucket: int, effect: float
) -> None:
    """Rare long answers among instant ones have the greatest variance that their buckets and their sum allow.

    Enumerated with scipy's hypergeometric distribution: 20,000 of 2,000,000 requests are the canary's, 2,000 take long.
    Bennett's inequality is then all but an equality (a Poisson count): a bound too small by a tenth would be unfair.
    """
    total, long, drawn = 2_000_000, 2_000, 20_000
    ends = np.array([[0.0, 100.0, 1000.0], [100.0, 1000.0, 5000.0]])
    hits = np.arange(100)
    tracks = np.stack([hits, long - hits], axis=-1)
    counts = np.zeros((len(hits), 1, 2, 3))
    counts[:, 0, :, 0] = np.array([drawn, total - drawn]) - tracks
    counts[:, 0, :, bucket] += tracks

    wins = np.exp(sum_log_ratio(counts, tracks[:, None] * long_ms, ends, effect)[:, 0])

    expected = float(stats.hypergeom.pmf(hits, total, long, drawn) @ wins)
    assert 0.85 < expected <= 1 + 1e-9


@pytest.mark.parametrize(("canary", "stable", "share"), [(30, 70, 0.2), (3, 4, 0.5), (0, 200, 0.2), (450, 9_550, 0.05)])
def test_the_share_test_is_a_beta_binomial_worth_a_hundred_requests(canary: int, stable: int, share: float) -> None:
    """Held against scipy's beta-binomial with the prior of the statistics page, Beta(100 w, 100 (1 - w))."""
    sent = canary + stable
    alternative = stats.betabinom.logpmf(canary, sent, 100 * share, 100 * (1 - share))

    log_ratio = share_log_ratio(canary, stable, share)

    assert log_ratio == pytest.approx(float(alternative - stats.binom.logpmf(canary, sent, share)))


@pytest.mark.parametrize(("canary", "stable"), [(30, 70), (10, 90), (20, 80), (21, 79)])
def test_the_share_test_grants_the_split_the_best_share_within_its_tolerance(canary: int, stable: int) -> None:
    """Held against the greatest of scipy's binomial likelihoods over a grid of the shares that are allowed."""
    allowed = np.linspace(0.18, 0.22, 4001)
    alternative = stats.betabinom.logpmf(canary, 100, 20, 80)
    null = stats.binom.logpmf(canary, 100, allowed).max()

    log_ratio = share_log_ratio(canary, stable, 0.2, tolerance=0.02)

    assert log_ratio == pytest.approx(float(alternative - null), abs=1e-6)
