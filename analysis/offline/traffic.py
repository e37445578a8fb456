"""A service's traffic to simulate: assumed or measured, with a healthy canary or a faulty one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from analysis.scrapes.increments import GROUPS, STABLE, Scrapes
from rollout.answers import COMPARED

Floats = npt.NDArray[np.float64]

ISTIO_EDGES = (
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0, 60_000.0,
    300_000.0, 600_000.0, 1_800_000.0, 3_600_000.0, math.inf,
)  # fmt: skip
"""Istio's bucket edges in ms."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a service gets and how it answers, both tracks together."""

    rps: float
    error_ratio: float
    edges: tuple[float, ...]
    distribution: tuple[float, ...]
    """The share of the requests in each bucket."""
    latency_ms: float
    """The mean."""


@dataclass(frozen=True, slots=True)
class Effect:
    """Something wrong with a canary."""

    name: str
    error_factor: float = 1.0
    error_ratio: float | None = None
    slowdown: float = 1.0

    def ratio(self, error_ratio: float) -> float:
        """Return the canary's error ratio, given stable's."""
        return error_ratio * self.error_factor if self.error_ratio is None else self.error_ratio


HEALTHY = Effect("healthy")
EFFECTS = (
    Effect("errors x2", error_factor=2),
    Effect("errors x5", error_factor=5),
    Effect("errors x10", error_factor=10),
    Effect("errors 1 %", error_ratio=0.01),
    Effect("errors 5 %", error_ratio=0.05),
    Effect("latency +20 %", slowdown=1.2),
    Effect("latency +50 %", slowdown=1.5),
)


def assumed_traffic(rps: float, *, error_ratio: float = 0.0005, median_ms: float = 40.0, sigma: float = 0.8) -> Traffic:
    """Return traffic of which only the rate is known: few errors, and lognormal latencies in Istio's buckets.

    Parameters
    ----------
    rps
        Requests a second, both tracks together.
    error_ratio
        0-1.
    median_ms, sigma
        Of the lognormal distribution.
    """
    distribution = np.diff(ndtr((np.log(ISTIO_EDGES) - math.log(median_ms)) / sigma), prepend=0.0)
    mean = median_ms * math.exp(sigma**2 / 2)
    return Traffic(rps, error_ratio, ISTIO_EDGES, tuple(distribution.tolist()), mean)


def measured_traffic(scrapes: Scrapes) -> Traffic:
    """Return the traffic of a service from what was counted of stable.

    Raises
    ------
    ValueError
        Nothing was counted.
    """
    requests, errors = (float(counts[:, STABLE].sum()) for counts in (scrapes.requests, scrapes.errors))
    both = float(scrapes.requests.sum())
    histogram = scrapes.latency[:, STABLE].sum(axis=0)
    if not requests or not histogram.sum():
        raise ValueError("no requests of stable with latencies were counted")
    mean = float(scrapes.sums[:, STABLE].sum() / histogram.sum())
    distribution = tuple((histogram / histogram.sum()).tolist())
    return Traffic(both / float(scrapes.span.sum()), errors / requests, scrapes.edges, distribution, mean)


@dataclass(frozen=True, slots=True)
class SimulatedCounts:
    """What T simulated scrapes of N rollouts counted; row 0 is the canary, row 1 stable."""

    requests: Floats
    """(T, N, 2)"""
    errors: Floats
    """(T, N, 2)"""
    sums: Floats
    """(T, N, 2) ms."""
    latency: Floats
    """(T, N, 2, B) requests a bucket."""


def draw_counts(
    rng: np.random.Generator, traffic: Traffic, effects: Sequence[Effect], rps: Floats, *, share: float, spans: Floats
) -> SimulatedCounts:
    """Return simulated scrapes of Poisson traffic.

    Parameters
    ----------
    rng
        The source of chance.
    traffic
        How stable behaves; its rate is not used.
    effects, rps
        What is wrong with each of N canaries, and the requests a second of both tracks.
    share
        The canaries', 0-1.
    spans
        (T,) seconds that each scrape covers.
    """
    distribution = np.array(traffic.distribution)
    distributions = np.array(
        [[slowed(traffic.distribution, traffic.edges, effect.slowdown), distribution] for effect in effects]
    )
    rates = spans[:, None, None] * rps[:, None] * np.array([share, 1 - share])
    latency = rng.poisson(rates[..., None] * distributions).astype(np.float64)
    requests = latency.sum(axis=-1)
    ratios = np.array([[effect.ratio(traffic.error_ratio), traffic.error_ratio] for effect in effects])
    errors = rng.binomial(requests.astype(np.int64), np.minimum(ratios, 1.0)).astype(np.float64)
    low, high = _bounds(traffic.edges)
    midpoints = np.sqrt(low * high)
    return SimulatedCounts(
        requests, errors, latency @ midpoints * (traffic.latency_ms / float(distribution @ midpoints)), latency
    )


def simulate_scrapes(
    rng: np.random.Generator, traffic: Traffic, effect: Effect, *, share: float, began: float, span: float, count: int
) -> Scrapes:
    """Return the simulated scrapes of one rollout.

    Parameters
    ----------
    rng
        The source of chance.
    traffic, effect
        Stable's behaviour, and what is wrong with the canary.
    share
        The canary's, 0-1.
    began, span, count
        Seconds at which the first scrape begins, seconds each one covers, and how many there are.
    """
    spans = np.full(count, span)
    counted = draw_counts(rng, traffic, (effect,), np.array([traffic.rps]), share=share, spans=spans)
    return Scrapes(
        time=np.asarray(began + np.cumsum(spans), dtype=np.float64),
        span=spans,
        requests=counted.requests[:, 0],
        errors=counted.errors[:, 0],
        sums=counted.sums[:, 0],
        latency=counted.latency[:, 0],
        answers=np.zeros((count, 2, len(COMPARED) + 1)),
        pods=np.zeros((count, 2, 0, 2)),
        groups=np.zeros((count, GROUPS, 3)),
        extra=np.zeros((count, 2, 0)),
        edges=traffic.edges,
    )


def slowed(distribution: Sequence[float], edges: Sequence[float], factor: float) -> Floats:
    """Return the shares of the buckets (B,) when every request takes `factor` times as long.

    Inside a bucket latencies are taken to be spread evenly on a log scale.

    >>> slowed((0.0, 1.0, 0.0), (10.0, 20.0, math.inf), 2**0.5).round(2)
    array([0. , 0.5, 0.5])
    """
    low, high = _bounds(edges)
    below = np.interp(
        np.log(high[:-1] / factor), np.log(np.append(low, high[-1])), np.cumsum(np.append(0.0, distribution))
    )
    return np.diff(below, prepend=0.0, append=1.0)


def _bounds(edges: Sequence[float]) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of the buckets, the open ones closed at a factor of 4."""
    finite = np.array(edges[:-1] if len(edges) > 1 else (1.0,))
    return np.append(finite[0] / 4, finite)[-len(edges) :], np.append(finite, finite[-1] * 4)[-len(edges) :]
