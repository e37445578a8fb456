"""The kernel's values: what goes in, what is kept from scrape to scrape, and what comes out.

Arrays have the axes time T, service N, and then what they hold; tables have the canary in row 0 and stable in row 1.
All evidence is in natural logs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from analysis.evidence.dispersion import DispersionSums
from analysis.evidence.latency import Edges

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CANARY, STABLE = 0, 1
NEVER = -np.inf
"""The log of no evidence at all."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What the plan asks, as numbers: ratios 0-1, latencies in ms, times in seconds."""

    error_healthy: float
    error_rollback: float
    success_healthy: float
    latency_healthy: float
    latency_rollback: float
    timeout: float
    minimum_effect: float
    warm_up: float
    answers: int
    """How many of the ratios compare kinds of answers; they are the last ones."""
    answers_decide: bool
    """Whether they are part of the mixture."""
    alpha: float
    beta: float

    @property
    def rollback_needed(self) -> float:
        """The log evidence at which a canary is rolled back."""
        return float(-np.log(self.alpha))

    @property
    def promotion_needed(self) -> float:
        """The log evidence that every promotion criterion has to reach."""
        return float(-np.log(self.beta))


@dataclass(frozen=True, slots=True)
class Block:
    """T scrapes of N services."""

    time: Floats
    """(T,) seconds."""
    span: Floats
    """(T,) seconds that each covers."""
    requests: Floats
    """(T, N, 2)"""
    events: Floats
    """(T, N, K, 2) events of each ratio: errors, the user's own, kinds of answers."""
    totals: Floats
    """(T, N, K, 2) what each ratio is taken of; for errors the requests."""
    pods: Floats
    """(T, N, 2, P, 2) errors and requests of each pod by its own count; P may be 0."""
    groups: Floats
    """(T, N, G, 3) timed requests, ms and pods of each group of stable's pods."""
    latency: Floats
    """(T, N, 2, B) requests a bucket."""
    sums: Floats
    """(T, N, 2) ms."""
    weight: Floats
    """(T, N) the canary's configured share."""
    edges: Edges

    def __getitem__(self, part: slice) -> Block:
        """Return some of the scrapes."""
        return replace(self, **{f.name: getattr(self, f.name)[part] for f in fields(self) if f.name != "edges"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that is kept between scrapes, one line a service."""

    age: Floats
    """(N,) seconds since the canary first had traffic; 0 before."""
    step_age: Floats
    """(N,) seconds since the step began."""
    weight: Floats
    """(N,) the configured share of the last scrape."""
    mixture_weights: Floats
    """(N, K + 3) log weight of each ratio, latency, error limit and latency limit, fixed when the canary starts."""
    prior_left: Floats
    """(N,) prior mass of faults that have not begun yet."""
    step_prior: Floats
    """(N,) the part of it that begins with the next scrape because a step does."""
    stable_ratios: Floats
    """(N, K, 2) decayed events and totals of stable."""
    stable_histogram: Floats
    """(N, B) decayed requests a bucket of stable."""
    latency_moments: Floats
    """(N, W, 2, 3) decayed requests, ms and ms squared of both tracks, an entry a half-life."""
    group_latency: Floats
    """(N, W, G, 2) decayed requests and ms of each group of stable's pods, an entry a half-life."""
    group_variance: Floats
    """(N, W, 2) decayed squared log differences between those groups, and what one unit of them is."""
    ratio_path: Floats
    """(N, K, G)"""
    latency_path: Floats
    """(N, G)"""
    error_limit_path: Floats
    """(N, G)"""
    latency_limit_path: Floats
    """(N, G)"""
    promotion: Floats
    """(N, P) sums of log e-values since the step began."""
    pending: Floats
    """(N, P) what the last scrape would add once the next one shows that stable is well."""
    within_limits: Bools
    """(N, 2, 2) whether stable kept its limits on errors and latency, in the scrape before the last and in the last."""
    step_requests: Floats
    """(N, 2) since the step began; likewise the next three."""
    step_errors: Floats
    step_sums: Floats
    step_latency: Floats
    """(N, 2, B)"""
    total_requests: Floats
    """(N, 2) since the canary first had traffic."""
    total_errors: Floats
    total_ratios: Floats
    """(N, K, 2, 2) events and total of each ratio, by track."""
    reference: Floats
    """(N, B) stable's latency when the step began: its shape inside the buckets is that of the alternatives."""
    tail: Floats
    """(N, 2) the bucket above which latencies are compared in this step, and the margin of the comparison."""
    frozen: Floats
    """(N, 2) upper limits of stable's error ratio and tail, kept for when it has no traffic; NaN before."""
    dispersion_sums: DispersionSums
    """How stable's counts scatter."""
    dispersion_bucket: Floats
    """(N,) the bucket above which its latencies are watched for scatter; NaN while too little is known."""
    epoch: Floats
    """(N,) number of the stretch of `EPOCH` seconds for which the next three were chosen; NaN before."""
    cap: Floats
    """(N,) how many errors of one pod may count in a scrape."""
    phi: Floats
    """(N, K + 1) overdispersion of the errors under that cap, of each further ratio, and of latency."""
    raw_phi: Floats
    """(N, K + 1) the same for all errors, as far as it has been seen."""
    lasting_phi: Floats
    """(N,) the errors' again, without the worst incident: what promotion's evidence is divided by."""


@dataclass(frozen=True, slots=True)
class Path:
    """The evidence after each scrape, (T, N) unless said."""

    rollback: Floats
    parts: Floats
    """(T, N, K + 3) each ratio, latency, error limit, latency limit: as they enter the mixture, weighted."""
    raw_latency: Floats
    """Relative latency before the gate of the minimum effect."""
    slow: Bools
    """Whether the canary is slower by at least the minimum effect."""
    alone: Bools
    """Whether stable has too little traffic to compare with."""
    promotion: Floats
    """(T, N, 4) errors, success, latency against stable, latency limit."""
    by_limit: Bools
    """Whether the error criterion rests on the limit more than on the ratio."""
    common: Bools
    """Whether stable broke a rollback limit in this scrape."""
