"""What a plan can see before it is run: how soon faults are found, and how soon a healthy canary is promotable.

The judge itself is run over simulated rollouts of the service's own traffic: no formula stands between what is
promised here and what will happen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.evidence.blocks import Bools, Evidence, Floats
from analysis.judge import Judge, JudgeState
from analysis.offline.simulated_rollouts import Fleet, advance_fleet, lines_of, scrape_ends, stretches
from analysis.offline.traffic import EFFECTS, HEALTHY, Effect, Traffic, simulate_scrapes
from rollout.plan import Step

HISTORY_SECONDS = 3600.0
LOWEST_RATE, HIGHEST_RATE = 0.1, 5000.0
LIKELY = 0.9
"""The share of healthy canaries that a sufficient bake time lets pass."""
SEARCHES = (12, 7, 5)
"""Rates that are tried at once: over the whole range, then between the two that the round before left."""


@dataclass(frozen=True, slots=True)
class Detection:
    """How soon an effect is found, in seconds from the canary's first traffic; None when not in half of the runs."""

    effect: str
    median: float | None
    p90: float | None
    detected: float
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


def plan_power(
    judge: Judge,
    traffic: Traffic,
    *,
    learnt: JudgeState | None = None,
    effects: Sequence[Effect] = EFFECTS,
    runs: int = 60,
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
    judge = judge.without_ratios()
    start = (learnt or _history(judge, traffic, seed)).evidence
    detected = _detected_at(judge, start, traffic, [effect for effect in effects for _ in range(runs)], seed)
    walk = _walk(judge, start, traffic, runs, seed)
    return Power(
        traffic=traffic,
        detections=tuple(
            _detection(effect, times) for effect, times in zip(effects, detected.reshape(-1, runs), strict=True)
        ),
        steps=tuple(_step_power(judge, traffic, walk, number, seed) for number in range(len(judge.plan.steps))),
        alpha=judge.limits.alpha,
        false_rollbacks=int(walk.rolled_back.sum()),
        runs=runs,
    )


def _history(judge: Judge, traffic: Traffic, seed: int) -> JudgeState:
    span = judge.plan.scrape.total_seconds()
    count = max(int(HISTORY_SECONDS / span), 1)
    rng = np.random.default_rng([seed, 0])
    scrapes = simulate_scrapes(rng, traffic, HEALTHY, share=0.0, began=-count * span, span=span, count=count)
    return judge.learn_scrapes(judge.begin(), scrapes)


def _detected_at(judge: Judge, start: Evidence, traffic: Traffic, effects: Sequence[Effect], seed: int) -> Floats:
    """Return when each faulty canary is rolled back (N,), in rollouts whose steps end when they have baked."""
    rng, began = np.random.default_rng([seed, 1]), 0.0
    detected, left = np.full(len(effects), np.inf), np.arange(len(effects))
    fleet = Fleet.of(start, tuple(effects), np.full(len(effects), traffic.rps))
    for step in judge.plan.steps:
        step_ends = began + scrape_ends(step.bake.total_seconds(), judge.plan.scrape.total_seconds())
        for ends in stretches(step_ends, len(effects)):
            if not len(fleet):
                return detected
            fleet, stopped = advance_fleet(judge, fleet, traffic, rng, share=step.canary / 100, began=began, ends=ends)
            began, detected[left] = float(ends[-1]), stopped.rollback_at
            undetected = np.isinf(stopped.rollback_at)
            fleet, left = fleet[undetected], left[undetected]
    return detected


def _detection(effect: Effect, times: Floats) -> Detection:
    return Detection(effect.name, _quantile(times, 0.5), _quantile(times, LIKELY), float(np.isfinite(times).mean()))


def _quantile(values: Floats, q: float) -> float | None:
    value = float(np.quantile(values, q, method="higher"))
    return value if value < math.inf else None


@dataclass(frozen=True, slots=True)
class _Walk:
    """Healthy rollouts of the whole plan."""

    passed_after: tuple[Floats, ...]
    """(N,) for each step, in seconds from its beginning; infinite when not before its deadline."""
    starts: tuple[Evidence, ...]
    """At each step's beginning."""
    rolled_back: Bools


def _walk(judge: Judge, start: Evidence, traffic: Traffic, runs: int, seed: int) -> _Walk:
    """Return rollouts whose steps end when they have baked and all canaries could pass, or at the deadline."""
    rng, began = np.random.default_rng([seed, 2]), 0.0
    passed, starts = [], []
    fleet = Fleet.of(start, (HEALTHY,) * runs, np.full(runs, traffic.rps))
    for step in judge.plan.steps:
        starts.append(fleet.evidence)
        step_began, times = began, np.full(runs, np.inf)
        step_ends = began + scrape_ends(step.deadline.total_seconds(), judge.plan.scrape.total_seconds())
        for ends in stretches(step_ends, runs):
            if began - step_began >= step.bake.total_seconds() and np.isfinite(times).all():
                break
            fleet, stopped = advance_fleet(judge, fleet, traffic, rng, share=step.canary / 100, began=began, ends=ends)
            began, times = float(ends[-1]), np.minimum(times, stopped.promotable_at)
        passed.append(times - step_began)
    return _Walk(tuple(passed), tuple(starts), fleet.rolled_back)


def _step_power(judge: Judge, traffic: Traffic, walk: _Walk, number: int, seed: int) -> StepPower:
    step, times = judge.plan.steps[number], walk.passed_after[number]
    bake = step.bake.total_seconds()
    return StepPower(
        step=step.name,
        share=step.canary / 100,
        bake=bake,
        deadline=step.deadline.total_seconds(),
        median=_quantile(times, 0.5),
        p90=_quantile(times, LIKELY),
        passed=float((times <= bake).mean()),
        rate_needed=_rate_needed(judge, traffic, step, walk.starts[number], seed),
    )


def _rate_needed(judge: Judge, traffic: Traffic, step: Step, start: Evidence, seed: int) -> float | None:
    """Return the least rate at which nine of ten healthy canaries could pass when the bake is over, within 4 %."""
    grid = np.geomspace(LOWEST_RATE, HIGHEST_RATE, SEARCHES[0])
    rates = grid
    for number in range(len(SEARCHES)):
        rng = np.random.default_rng([seed, 3, number])
        enough = np.flatnonzero(_passing(judge, traffic, step, start, rates, rng) >= LIKELY)
        if number == 0 and not len(enough):
            return None
        if number == 0 and enough[0] == 0:
            return LOWEST_RATE
        first = int(enough[0]) + (number > 0) if len(enough) else len(grid) - 1
        if number + 1 < len(SEARCHES):
            grid = np.geomspace(grid[first - 1], grid[first], SEARCHES[number + 1] + 2)
            rates = grid[1:-1]
    return float(grid[first])


def _passing(
    judge: Judge, traffic: Traffic, step: Step, start: Evidence, rates: Floats, rng: np.random.Generator
) -> Floats:
    """Return for each rate the share of healthy canaries that could pass before the bake is over."""
    lines = np.tile(np.arange(min(len(start.age), 20)), len(rates))
    rps = np.repeat(rates, len(lines) // len(rates))
    fleet = Fleet.of(lines_of(start, lines), (HEALTHY,) * len(lines), rps)
    passed, left, began = np.zeros(len(lines)), np.arange(len(lines)), 0.0
    for ends in stretches(scrape_ends(step.bake.total_seconds(), judge.plan.scrape.total_seconds()), len(lines)):
        if not len(fleet):
            break
        fleet, stopped = advance_fleet(judge, fleet, traffic, rng, share=step.canary / 100, began=began, ends=ends)
        waiting = np.isinf(stopped.promotable_at)
        passed[left] = ~waiting
        began, fleet, left = float(ends[-1]), fleet[waiting], left[waiting]
    return np.asarray(passed.reshape(len(rates), -1).mean(axis=1))
