"""The rules of Flagger, Argo Rollouts and Kayenta, replayed on a series of values, one an interval.

What they would have done, for counterfactuals and benchmarks. Read from their sources in 2026 (Flagger 1.44,
Argo Rollouts 1.9, Kayenta's NetflixACAJudge-v1.0); the facts are restated here, no code is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from analysis.offline.mann_whitney import shift_between

Values = npt.NDArray[np.float64]


class Ending(StrEnum):
    """What a peer's rule came to."""

    ROLLED_BACK = "rolled back"
    PROMOTED = "promoted"
    PAUSED = "paused"
    RUNNING = "running"
    """The series ended first."""


@dataclass(frozen=True, slots=True)
class Replay:
    """What a peer's rule came to, and at which tick (0 is the first one; the series' length when it only ran out)."""

    ending: Ending
    tick: int


def flagger(passed: Iterable[bool], *, threshold: int = 5, advances: int | None = None) -> Replay:
    """Return what Flagger does with the checks of a canary that has traffic.

    A check that fails, or that has no value, is counted; the count never goes down. It is looked at before a tick's
    own check, so that the rollback comes one interval after the last failure that it took.

    Parameters
    ----------
    passed
        Whether all metrics had a value inside their limits, tick by tick.
    threshold
        Failed checks that end the canary: 5 in Flagger's Istio tutorial.
    advances
        Checks passed that promote it (maxWeight / stepWeight); None replays a canary that is watched on.
    """
    failures = passes = tick = 0
    for tick, good in enumerate(passed):
        if failures >= threshold:
            return Replay(Ending.ROLLED_BACK, tick)
        failures, passes = failures + (not good), passes + good
        if passes == advances:
            return Replay(Ending.PROMOTED, tick)
    return Replay(Ending.RUNNING, tick + 1)


class Measurement(StrEnum):
    """How one measurement of an Argo Rollouts analysis run came out."""

    SUCCESSFUL = "successful"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"
    """Both conditions were given and neither was met."""
    ERROR = "error"
    """The provider gave no value: it was down, or the vector was empty."""


def argo(
    measurements: Iterable[Measurement],
    *,
    failure_limit: int = 0,
    inconclusive_limit: int = 0,
    consecutive_error_limit: int = 4,
    count: int | None = None,
) -> Replay:
    """Return what an Argo Rollouts analysis run comes to: failures are counted for good, errors in a row only.

    Parameters
    ----------
    measurements
        In the order in which they are taken; after an error the next one is taken 10 s later.
    failure_limit, inconclusive_limit, consecutive_error_limit
        How many of each are borne; the defaults are Argo's.
    count
        Measurements (errors do not count) after which the run has succeeded; None for a run without end.
    """
    failed = inconclusive = errors = taken = tick = 0
    for tick, measurement in enumerate(measurements):
        errors = errors + 1 if measurement is Measurement.ERROR else 0
        failed += measurement is Measurement.FAILED
        inconclusive += measurement is Measurement.INCONCLUSIVE
        taken += measurement is not Measurement.ERROR
        if failed > failure_limit or errors > consecutive_error_limit:
            return Replay(Ending.ROLLED_BACK, tick)
        if inconclusive > inconclusive_limit:
            return Replay(Ending.PAUSED, tick)
        if taken == count:
            return Replay(Ending.PROMOTED, tick)
    return Replay(Ending.RUNNING, tick + 1)


class Classification(StrEnum):
    """What Kayenta says of one metric."""

    PASS = "pass"
    HIGH = "high"
    LOW = "low"
    NO_DATA = "no data"


KAYENTA_TOLERANCE = 0.25
KAYENTA_CONFIDENCE = 0.98


def classify(
    control: Values,
    experiment: Values,
    *,
    increase: bool = True,
    decrease: bool = False,
    replace_missing: bool = False,
    seed: int = 0,
) -> Classification:
    """Return how Kayenta's default judge classifies one metric.

    The bound is a quarter of the shift's own estimate, not of the control's level.

    Parameters
    ----------
    control, experiment
        One value an interval, NaN where there was none.
    increase, decrease
        Which directions are bad.
    replace_missing
        Take a missing value for 0, rather than leave it out.
    seed
        Of the noise that is added when both sides are constant.
    """
    control, experiment = (_without_missing(side, replace_missing) for side in (control, experiment))
    if not len(control) or not len(experiment):
        return Classification.PASS if replace_missing else Classification.NO_DATA
    if _same(control, experiment):
        return Classification.PASS
    if np.ptp(control) == 0 and np.ptp(experiment) == 0:
        noise = np.random.default_rng(seed)
        control, experiment = (side + noise.normal(0, abs(side) * 1e-5) for side in (control, experiment))
    shift = shift_between(experiment, control, confidence=KAYENTA_CONFIDENCE)
    bound = KAYENTA_TOLERANCE * abs(shift.estimate)
    effect = _mean_ratio(experiment, control)
    if increase and shift.low > bound and not effect < 1:
        return Classification.HIGH
    if decrease and shift.high < -bound and not effect > 1:
        return Classification.LOW
    return Classification.PASS


def _without_missing(values: Values, replace: bool) -> Values:
    return np.nan_to_num(values, nan=0.0) if replace else values[~np.isnan(values)]


def _same(control: Values, experiment: Values) -> bool:
    return np.array_equal(np.sort(control), np.sort(experiment)) or len(np.union1d(control, experiment)) == 1


def _mean_ratio(experiment: Values, control: Values) -> float:
    """Return the ratio of the means; NaN, which no effect limit excludes, when either is 0."""
    above, below = float(experiment.mean()), float(control.mean())
    return above / below if above and below else float("nan")


def kayenta_score(groups: Mapping[str, Sequence[Classification]], weights: Mapping[str, float] | None = None) -> float:
    """Return Kayenta's score, 0 to 100: the share of metrics that pass, group by group.

    Parameters
    ----------
    groups
        The classifications of each group's metrics.
    weights
        Percent of each group that has one; the others share what is left to 100.
    """
    weight_of = dict(weights or {})
    classes = [each for group in groups.values() for each in group]
    if 2 * classes.count(Classification.NO_DATA) >= len(classes):
        return 0.0
    unweighted = [name for name in groups if name not in weight_of]
    share_left = (100 - sum(weight_of.values())) / len(unweighted) if unweighted else 0.0
    return round(sum(_group_score(group) * weight_of.get(name, share_left) / 100 for name, group in groups.items()), 2)


def _group_score(group: Sequence[Classification]) -> float:
    judged = [each for each in group if each is not Classification.NO_DATA]
    return 100 * judged.count(Classification.PASS) / len(judged) if judged else 100.0


def kayenta(scores: Iterable[float], *, passing: float = 95, marginal: float = 75) -> Replay:
    """Return what a canary analysis of several judgements comes to.

    Parameters
    ----------
    scores
        One a judgement, each over all points since the start; floor(lifetime / interval) of them.
    passing
        What the last score has to reach.
    marginal
        A score at or below it ends the analysis at once.
    """
    score, tick = 100.0, -1
    for tick, score in enumerate(scores):
        if score <= marginal:
            return Replay(Ending.ROLLED_BACK, tick)
    if tick < 0:
        return Replay(Ending.RUNNING, 0)
    return Replay(Ending.PROMOTED if score >= passing else Ending.ROLLED_BACK, tick)


def histogram_quantile(q: float, edges: Values, counts: Values) -> float:
    """Return a quantile as PromQL's `histogram_quantile` interpolates it; NaN when nothing was counted.

    Parameters
    ----------
    q
        Share of the observations below it, 0-1.
    edges
        Upper edges of the buckets, growing, the last one infinite; shape (B,).
    counts
        Observations in each bucket (not cumulative); shape (B,).
    """
    cumulative = np.cumsum(counts)
    if len(edges) < 2 or not cumulative[-1] > 0:
        return float("nan")
    rank = q * cumulative[-1]
    bucket = int(np.searchsorted(cumulative, rank))
    if bucket == len(edges) - 1:
        return float(edges[-2])
    low = float(edges[bucket - 1]) if bucket else 0.0
    below = float(cumulative[bucket - 1]) if bucket else 0.0
    return float(low + (edges[bucket] - low) * (rank - below) / counts[bucket])
