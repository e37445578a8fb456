"""What a plan can see before it is run: how soon faults are found, and how soon a healthy canary is promotable.

The judge itself is run over simulated rollouts of the service's own traffic: no formula stands between what is
promised here and what will happen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from analysis.judge import Judge, JudgeState
from analysis.samples import STABLE, Scrapes
from rollout.plan import Step

Floats = npt.NDArray[np.float64]

ISTIO_EDGES = (
    0.5, 1.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10_000.0, 30_000.0, 60_000.0,
    300_000.0, 600_000.0, 1_800_000.0, 3_600_000.0, math.inf,
)  # fmt: skip
"""Istio's bucket edges in ms."""
HISTORY_SECONDS = 3600.0
MOST_SCRAPES = 720
"""A longer step is simulated with wider scrapes: a plan has to be answered in seconds."""
LOWEST_RATE, HIGHEST_RATE = 0.1, 5000.0
LIKELY = 0.9
"""The share of healthy canaries that a sufficient bake time lets pass."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a service gets and how it answers, both tracks together."""

    rps: float
    error_ratio: float
    edges: tuple[float, ...]
    law: tuple[float, ...]
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


@dataclass(frozen=True, slots=True)
class Detection:
    """How soon an effect is found, in seconds from the canary's first traffic; None when not in half of the runs."""

    effect: str
    median: float | None
    p90: float | None
    found: float
    """The share of the runs in which it is found before the last step's bake is over."""


@dataclass(frozen=True, slots=True)
class StepPower:
    """How soon a healthy canary passes a step, in seconds from the step's beginning."""

    step: str
    share: float
    bake: float
    deadline: float
    median: float | None
    """Until the evidence allows promotion; None when not before the deadline."""
    p90: float | None
    passed: float
    """The share of healthy canaries that could pass when the bake is over."""
    rate_needed: float | None
    """Requests a second, both tracks together, at which nine of ten could; None when 5000 are not enough."""

    def top_up(self, rps: float) -> float | None:
        """Return the requests a second that a load generator would have to add to `rps`."""
        return None if self.rate_needed is None else max(self.rate_needed - rps, 0.0)


@dataclass(frozen=True, slots=True)
class Power:
    """What a plan can see at this traffic."""

    traffic: Traffic
    detections: tuple[Detection, ...]
    steps: tuple[StepPower, ...]
    alpha: float
    """The chance of a false rollback over the whole rollout is at most this."""
    false_rollbacks: int
    """Healthy canaries that were rolled back in the simulation."""
    runs: int

    @property
    def promoted_after(self) -> float | None:
        """Seconds until a healthy canary is through all steps (median), None when a step's deadline passes first."""
        waits = [None if step.median is None else max(step.bake, step.median) for step in self.steps]
        return None if None in waits else sum(wait for wait in waits if wait is not None)


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
    law = np.diff(ndtr((np.log(ISTIO_EDGES) - math.log(median_ms)) / sigma), prepend=0.0)
    mean = median_ms * math.exp(sigma**2 / 2)
    return Traffic(rps, error_ratio, ISTIO_EDGES, tuple(law.tolist()), mean)


def measured_traffic(scrapes: Scrapes) -> Traffic:
    """Return the traffic of a service from what was counted of stable.

    Raises
    ------
    ValueError
        Nothing was counted.
    """
    requests, errors = (float(each[:, STABLE].sum()) for each in (scrapes.requests, scrapes.errors))
    histogram = scrapes.latency[:, STABLE].sum(axis=0)
    if not requests or not histogram.sum():
        raise ValueError("no requests of stable with latencies were counted")
    mean = float(scrapes.sums[:, STABLE].sum() / histogram.sum())
    law = tuple((histogram / histogram.sum()).tolist())
    return Traffic(requests / float(scrapes.span.sum()), errors / requests, scrapes.edges, law, mean)


def plan_power(
    judge: Judge,
    traffic: Traffic,
    *,
    learnt: JudgeState | None = None,
    effects: Sequence[Effect] = EFFECTS,
    runs: int = 30,
    seed: int = 0,
) -> Power:
    """Return what the judge's plan can see at this traffic.

    Parameters
    ----------
    judge
        The judge of the plan.
    traffic
        Assumed or measured.
    learnt
        The judge's state after the service's real history; without it, an hour of the traffic is simulated.
    effects
        What to look for.
    runs
        Simulated rollouts of each.
    seed
        Of the random numbers.
    """
    start = learnt or _history(judge, traffic, seed)
    healthy = [_walk(judge, start, traffic, HEALTHY, np.random.default_rng([seed, run])) for run in range(runs)]
    return Power(
        traffic=traffic,
        detections=tuple(_detection(judge, start, traffic, effect, runs, seed) for effect in effects),
        steps=tuple(_step_power(judge, traffic, number, healthy, seed) for number in range(len(judge.plan.steps))),
        alpha=judge.limits.alpha,
        false_rollbacks=sum(walk.rollback_at < math.inf for walk in healthy),
        runs=runs,
    )


@dataclass(frozen=True, slots=True)
class _Walk:
    """One simulated rollout; seconds, infinite for never."""

    rollback_at: float
    passed_after: tuple[float, ...]
    """From each step's beginning."""
    states: tuple[JudgeState, ...]
    """At each step's beginning."""


def _walk(judge: Judge, state: JudgeState, traffic: Traffic, effect: Effect, rng: np.random.Generator) -> _Walk:
    """Return a rollout whose steps end when they have baked, or with its rollback when it is sick."""
    began, passed, states, rollback_at = 0.0, [], [], math.inf
    for step in judge.plan.steps:
        states.append(state)
        watched = step.bake if effect is not HEALTHY else step.deadline
        scrapes = _scrapes(rng, traffic, effect, step, began, watched.total_seconds(), judge)
        state, said = judge.replay(state, scrapes, np.full(len(scrapes), step.canary / 100))
        rollback_at = min(rollback_at, _first(said.time, said.fails))
        passed.append(_first(said.time, said.passes) - began)
        began = float(scrapes.time[-1])
        if rollback_at < math.inf and effect is not HEALTHY:
            break
    return _Walk(rollback_at, tuple(passed), tuple(states))


def _first(time: Floats, holds: npt.NDArray[np.bool_]) -> float:
    return float(time[holds.argmax()]) if holds.any() else math.inf


def _scrapes(
    rng: np.random.Generator, traffic: Traffic, effect: Effect, step: Step, began: float, seconds: float, judge: Judge
) -> Scrapes:
    """Return what the scrapes of a step would count."""
    span = max(judge.plan.scrape.total_seconds(), seconds / MOST_SCRAPES)
    return simulated(rng, traffic, effect, share=step.canary / 100, began=began, span=span, count=round(seconds / span))


def simulated(
    rng: np.random.Generator, traffic: Traffic, effect: Effect, *, share: float, began: float, span: float, count: int
) -> Scrapes:
    """Return simulated scrapes of Poisson traffic.

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
    law = np.array(traffic.law)
    laws = np.stack([slowed(traffic.law, traffic.edges, effect.slowdown), law])
    rates = traffic.rps * span * np.array([share, 1 - share])
    latency = rng.poisson(rates[:, None] * laws, (count, *laws.shape)).astype(np.float64)
    requests = latency.sum(axis=-1)
    sick = traffic.error_ratio * effect.error_factor if effect.error_ratio is None else effect.error_ratio
    errors = rng.binomial(requests.astype(np.int64), np.minimum([sick, traffic.error_ratio], 1.0)).astype(np.float64)
    low, high = _bounds(traffic.edges)
    middles = np.sqrt(low * high)
    return Scrapes(
        time=np.asarray(began + span * np.arange(1, count + 1), dtype=np.float64),
        span=np.full(count, span),
        requests=requests,
        errors=errors,
        sums=latency @ middles * (traffic.latency_ms / float(law @ middles)),
        latency=latency,
        pods=np.zeros((count, 2, 0, 2)),
        extra=np.zeros((count, 2, 0)),
        edges=traffic.edges,
    )


def slowed(law: Sequence[float], edges: Sequence[float], factor: float) -> Floats:
    """Return the shares of the buckets (B,) when every request takes `factor` times as long.

    Inside a bucket latencies are taken to be spread evenly on a log scale.

    >>> slowed((0.0, 1.0, 0.0), (10.0, 20.0, math.inf), 2**0.5).round(2)
    array([0. , 0.5, 0.5])
    """
    low, high = _bounds(edges)
    below = np.interp(np.log(high[:-1] / factor), np.log(np.append(low, high[-1])), np.cumsum(np.append(0.0, law)))
    return np.diff(below, prepend=0.0, append=1.0)


def _bounds(edges: Sequence[float]) -> tuple[Floats, Floats]:
    """Return the lower and upper ends of the buckets, the open ones closed at a factor of 4."""
    finite = np.array(edges[:-1] if len(edges) > 1 else (1.0,))
    return np.append(finite[0] / 4, finite)[-len(edges) :], np.append(finite, finite[-1] * 4)[-len(edges) :]


def _history(judge: Judge, traffic: Traffic, seed: int) -> JudgeState:
    span = judge.plan.scrape.total_seconds()
    count = max(int(HISTORY_SECONDS / span), 1)
    rng = np.random.default_rng([seed, 2**20])
    scrapes = simulated(rng, traffic, HEALTHY, share=0.0, began=-count * span, span=span, count=count)
    return judge.learn_scrapes(judge.begin(), scrapes)


def _detection(judge: Judge, start: JudgeState, traffic: Traffic, effect: Effect, runs: int, seed: int) -> Detection:
    delays = [
        _walk(judge, start, traffic, effect, np.random.default_rng([seed, run])).rollback_at for run in range(runs)
    ]
    found = sum(delay < math.inf for delay in delays) / runs
    return Detection(effect.name, _quantile(delays, 0.5), _quantile(delays, LIKELY), found)


def _quantile(values: Sequence[float], q: float) -> float | None:
    value = float(np.quantile(values, q, method="higher"))
    return value if value < math.inf else None


def _step_power(judge: Judge, traffic: Traffic, number: int, healthy: Sequence[_Walk], seed: int) -> StepPower:
    step, times = judge.plan.steps[number], [walk.passed_after[number] for walk in healthy]
    bake = step.bake.total_seconds()
    states = [walk.states[number] for walk in healthy[:20]]
    return StepPower(
        step=step.name,
        share=step.canary / 100,
        bake=bake,
        deadline=step.deadline.total_seconds(),
        median=_quantile(times, 0.5),
        p90=_quantile(times, LIKELY),
        passed=sum(time <= bake for time in times) / len(times),
        rate_needed=_rate_needed(judge, traffic, step, states, seed),
    )


def _rate_needed(judge: Judge, traffic: Traffic, step: Step, states: Sequence[JudgeState], seed: int) -> float | None:
    """Return the least rate at which nine of ten healthy canaries could pass when the bake is over, within 5 %."""

    def enough(rps: float) -> bool:
        passed = [
            _passes(judge, replace(traffic, rps=rps), step, state, seed + run) for run, state in enumerate(states)
        ]
        return sum(passed) >= LIKELY * len(passed)

    high = traffic.rps
    while not enough(high):
        if high >= HIGHEST_RATE:
            return None
        high = min(2 * high, HIGHEST_RATE)
    low = high / 2
    while low > LOWEST_RATE and enough(low):
        low, high = low / 2, low
    while high / low > 1.05:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _passes(judge: Judge, traffic: Traffic, step: Step, state: JudgeState, seed: int) -> bool:
    rng = np.random.default_rng([seed, 2**21])
    scrapes = _scrapes(rng, traffic, HEALTHY, step, 0.0, step.bake.total_seconds(), judge)
    _, said = judge.replay(state, scrapes, np.full(len(scrapes), step.canary / 100))
    return bool(said.passes.any())
