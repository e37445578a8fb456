"""A canary on a margin is promoted at most once in twenty, and one well inside it nearly always.

Each criterion is an e-process against a null whose edge is the margin, so by Ville's inequality a canary that is just
on it reaches 20 : 1 at any scrape of a step with a chance of at most 5 %. The traffic is drawn with the margin of the
design (errors 1.5 times stable's, slow answers 1.25 times, the plan's limits), not with that of the code.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analysis.evidence import kernel
from analysis.evidence.blocks import CANARY, STABLE, Block
from analysis.evidence.non_inferiority import PROMOTION, tail_choice
from analysis.judge import Judge
from analysis.scrapes.increments import GROUPS
from rollout.plan import parse_plan

JUDGE = Judge.for_plan(parse_plan(Path("rollout.yaml").read_text(encoding="utf-8"))).without_ratios()
LIMITS = JUDGE.limits
RUNS, SCRAPES = 1500, 60
EDGES = (50.0, 100.0, 1000.0, math.inf)
USUAL = np.array([0.6, 0.3, 0.1, 0.0])
"""Stable's latency: one answer in ten takes longer than 100 ms."""
SHARE = 0.5
AT_MOST = 0.05 + 3 * math.sqrt(0.05 * 0.95 / RUNS)


def reached(
    seed: int,
    *,
    errors: tuple[float, float] = (0.0, 0.0),
    latency: np.ndarray = USUAL,
    means: tuple[float, float, float, float] = (25.0, 75.0, 150.0, 2000.0),
    requests: float = 1000.0,
) -> dict[str, float]:
    """Return the part of simulated canaries that ever reach 20 : 1, by criterion; ratios are the canary's, stable's."""
    rng = np.random.default_rng(seed)
    rates = requests * np.stack([latency, USUAL])
    learnt = block_of(rng, rates * [[0.0], [1.0]], (0.0, errors[1]), means, share=0.0, began=-300.0)
    state = kernel.learn(kernel.blank(RUNS, EDGES), learnt)
    _, path = kernel.advance(LIMITS, state, block_of(rng, rates, errors, means, share=SHARE, began=0.0))
    return dict(zip(PROMOTION, (path.promotion >= math.log(20)).any(axis=0).mean(axis=0), strict=True))


def block_of(
    rng: np.random.Generator,
    rates: np.ndarray,
    errors: tuple[float, float],
    means: tuple[float, float, float, float],
    *,
    share: float,
    began: float,
) -> Block:
    counts = rng.poisson(np.broadcast_to(rates, (SCRAPES, RUNS, 2, len(EDGES)))).astype(float)
    requests = counts.sum(axis=-1)
    failed = np.stack(
        [rng.binomial(requests[..., row].astype(int), errors[row]) for row in (CANARY, STABLE)], axis=-1
    ).astype(float)
    return Block(
        time=began + 5.0 * np.arange(1, SCRAPES + 1),
        span=np.full(SCRAPES, 5.0),
        requests=requests,
        events=failed[:, :, None],
        totals=requests[:, :, None],
        pods=np.zeros((SCRAPES, RUNS, 2, 0, 2)),
        groups=np.zeros((SCRAPES, RUNS, GROUPS, 3)),
        latency=counts,
        sums=counts @ np.array(means),
        weight=np.full((SCRAPES, RUNS), share),
        edges=EDGES,
    )


def test_a_canary_with_one_and_a_half_times_the_errors_of_stable_is_promoted_at_most_once_in_twenty() -> None:
    parts = reached(1, errors=(0.03, 0.02))

    assert parts["errors"] <= AT_MOST


def test_a_canary_with_the_errors_of_stable_is_promoted_by_the_ratio() -> None:
    parts = reached(2, errors=(0.02, 0.02))

    assert parts["errors"] > 0.9


def test_a_canary_on_the_healthy_limit_of_errors_is_promoted_at_most_once_in_twenty() -> None:
    """0.1 %, and stable with so few that its ratio says nothing for the canary."""
    assert reached(3, errors=(0.001, 0.0001))["errors"] <= AT_MOST
    assert reached(4, errors=(0.0001, 0.0001))["errors"] > 0.9


def test_a_canary_on_the_limit_of_successes_is_promoted_at_most_once_in_twenty() -> None:
    """Successes above 99.5 %."""
    assert reached(5, errors=(0.005, 0.0005))["success"] <= AT_MOST
    assert reached(6, errors=(0.0005, 0.0005))["success"] > 0.9


@pytest.mark.parametrize("seed", range(2))
def test_a_canary_with_a_quarter_more_slow_answers_than_stable_is_promoted_at_most_once_in_twenty(seed: int) -> None:
    """Conditional on the traffic: 1.25 times as many above 100 ms in as many requests."""
    slower = np.array([0.6 - 0.0125, 0.3 - 0.0125, 0.125, 0.0])

    assert reached(seed, latency=slower)["latency ratio"] <= AT_MOST
    assert reached(seed)["latency ratio"] > 0.9


def test_a_canary_whose_mean_is_the_healthy_limit_is_promoted_at_most_once_in_twenty() -> None:
    """200 ms on average, half of the answers instant; no answer takes as long as the timeout."""
    at_limit = np.array([0.5, 0.0, 0.5, 0.0])

    parts = reached(8, latency=at_limit, means=(0.0, 75.0, 400.0, 2000.0))

    assert parts["latency"] <= AT_MOST
    assert reached(9)["latency"] > 0.9


@pytest.mark.parametrize(("effect", "margin"), [(0.0, 1.25), (0.1, None), (1.0, 2.0)])
def test_the_margin_of_slow_answers_is_what_the_minimum_effect_does_to_them_within_bounds(
    effect: float, margin: float | None
) -> None:
    """For a lognormal latency held against scipy: P(X (1 + effect) > edge) / P(X > edge), from 1.25 to 2."""
    law = stats.lognorm(s=0.8, scale=100.0)
    edges = np.array([25.0, 50.0, 100.0, 200.0, 275.0, 400.0, 800.0])
    histogram = 1e6 * np.diff(law.cdf(np.append(edges, np.inf)), prepend=0.0)

    bucket, chosen = tail_choice(histogram[None], (*edges, np.inf), effect)[0]

    assert edges[int(bucket)] == 275.0  # 10.3 % of the answers are above it
    exact = law.sf(275.0 / (1 + effect)) / law.sf(275.0)
    assert chosen == pytest.approx(margin if margin is not None else max(exact, 1.25), rel=0.01)


def test_the_evidence_for_errors_and_slow_answers_is_a_mixture_of_binomial_ratios_against_the_margins() -> None:
    """One scrape, held against scipy's binomials: q(r) = r w / (r w + 1 - w) of all errors are the canary's.

    Ratios of 0.3, 0.7 and 1.0 are bet on alike against 1.5, with a weight of 0.1; the other 0.9 are on the healthy
    limit, of which a first scrape says nothing yet. Of slow answers all is bet against 1.25.
    """
    requests, failed, slow = (2000.0, 3000.0), (30.0, 70.0), (150.0, 300.0)
    histogram = np.array([[0.0, n - k, k, 0.0] for n, k in zip(requests, slow, strict=True)])
    block = Block(
        time=np.array([5.0]),
        span=np.array([5.0]),
        requests=np.array([[requests]]),
        events=np.array([[[failed]]]),
        totals=np.array([[[requests]]]),
        pods=np.zeros((1, 1, 2, 0, 2)),
        groups=np.zeros((1, 1, GROUPS, 3)),
        latency=histogram[None, None],
        sums=histogram[None, None] @ np.array([25.0, 75.0, 150.0, 2000.0]),
        weight=np.full((1, 1), 0.4),
        edges=EDGES,
    )
    state = kernel.blank(1, EDGES)
    state = replace(state, stable_histogram=1e4 * USUAL[None])

    _, path = kernel.advance(replace(LIMITS, warm_up=0.0, minimum_effect=0.0), state, block)

    errors, _, tail, _ = path.promotion[0, 0]
    assert errors == pytest.approx(np.logaddexp(math.log(0.1) + mixture(30, 100, 1.5), math.log(0.9)))
    assert tail == pytest.approx(mixture(150, 450, 1.25))


def mixture(canary: int, both: int, margin: float, share: float = 0.4) -> float:
    def log_pmf(ratio: float) -> float:
        return float(stats.binom.logpmf(canary, both, ratio * share / (ratio * share + 1 - share)))

    return math.log(np.mean([math.exp(log_pmf(ratio) - log_pmf(margin)) for ratio in (0.3, 0.7, 1.0)]))
