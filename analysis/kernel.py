"""The judge's arithmetic: a block of T scrapes of N services in, their evidence out.

One code path for everything: a live tick is T = 1 and N = 1, a recorded day T = 86,400, a fleet N = 1000. Arrays have
the axes time, service, and then what they hold; tables have the canary in row 0 and stable in row 1. All evidence is
in natural logs. What is added at a scrape depends on it and on earlier ones only, and the state carries all that the
next scrape needs, so that cutting a block anywhere changes nothing.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
from scipy.special import betaincinv

from analysis import dispersion, latency
from analysis.dispersion import Scatter, capped
from analysis.latency import Edges
from analysis.sequential import (
    change_point_path,
    decayed_sums,
    histogram_log_ratio,
    limit_log_ratio,
    log_sum,
    margin_log_ratio,
    mean_log_ratio,
    split_log_ratio,
)

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CANARY, STABLE = 0, 1

ODDS = np.array([1.5, 2.2, 8.0, 40.0])
ODDS_PRIOR = np.log([0.1, 0.3, 0.3, 0.3])
"""How many times as likely an error may be on the canary: as few as leave none between without a close neighbour."""
WORSE = np.array([2.0, 5.0, 20.0])
"""How far above an absolute limit an error ratio may be, as a factor."""
EPOCH = 300.0
"""Seconds after which the overdispersion is looked at anew."""
CAP = 6.0
"""Nats that one scrape may add at most: none decides alone."""
START, LATE, LATE_SCALE = 0.9, 2.0, 60.0
"""Prior of when a fault begins: this part with the canary, the rest with a hazard of 1 / (LATE (age + LATE_SCALE))."""
STEP_START = 0.25
"""The part of what is left that begins with each later step."""
MEMORY, MEMORY_REQUESTS = 60.0, 5000.0
"""Half-life of the guess of stable's law: in seconds, or in requests where that takes longer."""
GATE_MEMORY = np.array([15.0, 60.0, 300.0])
"""Half-lives, in seconds, over which the canary's slowness is measured against the minimum effect."""
WEIGHTS = np.log([0.62, 0.36, 0.01, 0.01])
"""Errors, latency, error limit, latency limit in the rollback mixture."""
ALONE = 0.02
"""Stable's part of the canary's traffic below which there is nothing to compare with."""
ERROR_MARGIN, BY_RATIO, BY_LIMIT = 1.5, np.log(0.1), np.log(0.9)
"""Promotion on errors: by the ratio to stable, or by the healthy limit, with these weights."""
BETTER = np.array([0.0, 0.2, 0.5])
BETTER_PRIOR = np.log([0.5, 0.1, 0.4])
"""Error ratios that a healthy canary may have, as parts of the limit, and their weights."""
EQUAL = np.array([0.3, 0.7, 1.0])
"""Ratios to stable that a healthy canary may have."""
TAIL = 0.1
"""The part of stable's answers above the edge at which latencies are compared for promotion."""
TAIL_MARGIN = 1.25
SKIP_SIGMA = 3.0


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
    alpha: float
    beta: float


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
    """(T, N, K, 2) events of each ratio; the first is errors."""
    totals: Floats
    """(T, N, K, 2) what each ratio is taken of; for errors the requests."""
    pods: Floats
    """(T, N, 2, P, 2) errors and requests of each pod by its own count; P may be 0."""
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
    left: Floats
    """(N,) prior mass of faults that have not begun yet."""
    begun: Floats
    """(N,) the part of it that begins with the next scrape because a step does."""
    ratio_law: Floats
    """(N, K, 2) decayed events and totals of stable."""
    latency_law: Floats
    """(N, B) decayed requests a bucket of stable."""
    slowness: Floats
    """(N, W, 2, 3) decayed requests, ms and ms squared of both tracks, an entry a half-life."""
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
    fine: Bools
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
    reference: Floats
    """(N, B) stable's latency when the step began: its shape inside the buckets is that of the alternatives."""
    tail: Floats
    """(N, 2) the bucket above which latencies are compared in this step, and the margin of the comparison."""
    frozen: Floats
    """(N, 2) upper limits of stable's error ratio and tail, kept for when it has no traffic; NaN before."""
    scatter: Scatter
    """How stable's counts scatter."""
    scatter_tail: Floats
    """(N,) the bucket above which its latencies are watched for scatter; NaN while too little is known."""
    epoch: Floats
    """(N,) number of the stretch of `EPOCH` seconds for which the next three were chosen; NaN before."""
    cap: Floats
    """(N,) how many errors of one pod may count in a scrape."""
    phi: Floats
    """(N, K + 1) overdispersion of the errors under that cap, of each further ratio, and of latency."""
    raw_phi: Floats
    """(N, K + 1) the same for all errors, as far as it has been seen."""


@dataclass(frozen=True, slots=True)
class Path:
    """The evidence after each scrape, (T, N) unless said."""

    rollback: Floats
    parts: Floats
    """(T, N, 4) errors, latency, error limit, latency limit, each as it enters the mixture, without its weight."""
    ratios: Floats
    """(T, N, K) log evidence of each ratio alone."""
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


PROMOTION = ("errors", "success", "latency ratio", "latency")
"""What each promotion criterion is called."""
_BY_RATIO, _BY_LIMIT, _SUCCESS, _TAIL, _MEAN = (
    slice(0, 3),
    slice(3, 6),
    slice(6, 9),
    slice(9, 12),
    slice(12, 15),
)
_PARTS = 15
_NEVER = -np.inf
_RATIO_GUESS = np.array([0.2, 200.0])
"""Events and requests that the guess of stable's event ratio starts from."""
_SHAPE_REQUESTS = 200.0
"""Requests after which stable's latency is known well enough to choose an edge."""
_LATENCY_GUESS = 0.1
"""Requests in each bucket that the guess of stable's latency starts from."""


def blank(services: int, edges: Edges, ratios: int = 1) -> Evidence:
    """Return the evidence before anything was seen."""
    n, bins = services, len(edges)
    zeros = np.zeros
    return Evidence(
        age=zeros(n),
        step_age=zeros(n),
        weight=zeros(n),
        left=np.ones(n),
        begun=zeros(n),
        ratio_law=zeros((n, ratios, 2)),
        latency_law=zeros((n, bins)),
        slowness=zeros((n, len(GATE_MEMORY), 2, 3)),
        ratio_path=np.full((n, ratios, len(ODDS)), _NEVER),
        latency_path=np.full((n, len(latency.SHIFTS) + len(latency.TAILS)), _NEVER),
        error_limit_path=np.full((n, len(WORSE)), _NEVER),
        latency_limit_path=np.full((n, 3), _NEVER),
        promotion=zeros((n, _PARTS)),
        pending=zeros((n, _PARTS)),
        fine=np.ones((n, 2, 2), dtype=bool),
        step_requests=zeros((n, 2)),
        step_errors=zeros((n, 2)),
        step_sums=zeros((n, 2)),
        step_latency=zeros((n, 2, bins)),
        total_requests=zeros((n, 2)),
        total_errors=zeros((n, 2)),
        reference=zeros((n, bins)),
        tail=np.tile([0.0, TAIL_MARGIN], (n, 1)),
        frozen=np.full((n, 2), np.nan),
        scatter=dispersion.blank(n, len(dispersion.CAPS) + ratios),
        scatter_tail=np.full(n, np.nan),
        epoch=np.full(n, np.nan),
        cap=np.full(n, dispersion.UNKNOWN_CAP),
        phi=np.full((n, ratios + 1), dispersion.UNKNOWN_PHI),
        raw_phi=np.ones((n, ratios + 1)),
    )


def advance(limits: Limits, state: Evidence, block: Block) -> tuple[Evidence, Path]:
    """Return the evidence after a block of scrapes, and on the way there.

    Parameters
    ----------
    limits
        What the plan asks.
    state
        The evidence before the block.
    block
        One scrape or more.
    """
    paths = []
    for part in _steps(block):
        state = _refresh(_begin_step(limits, state, part), part)
        state, path = _advance(limits, state, part)
        paths.append(path)
    if len(paths) == 1:
        return state, paths[0]
    return state, Path(**{f.name: np.concatenate([getattr(path, f.name) for path in paths]) for f in fields(Path)})


def learn(state: Evidence, block: Block) -> Evidence:
    """Return the evidence after a block in which stable was alone: its law is learnt, nothing is judged."""
    ratio_law, latency_law = _laws(state, block, block.events[..., STABLE])
    scatter, tail = _scattered(state, block, latency_law)
    return replace(state, ratio_law=ratio_law[-1], latency_law=latency_law[-1], scatter=scatter, scatter_tail=tail)


def _steps(block: Block) -> list[Block]:
    """Return the block cut where a configured share changes, and where the overdispersion is looked at anew."""
    changes = (np.diff(block.weight, axis=0) != 0).any(axis=1) | (np.diff(block.time // EPOCH) != 0)
    cuts = [0, *(np.flatnonzero(changes) + 1).tolist(), len(block.time)]
    return [block[start:end] for start, end in itertools.pairwise(cuts)]


def _begin_step(limits: Limits, state: Evidence, block: Block) -> Evidence:
    """Return the state with a new step begun for each service whose configured share is new."""
    new = block.weight[0] != state.weight
    if not new.any():
        return state

    def fresh(old: Floats, start: Floats | float = 0.0) -> Floats:
        chosen: Floats = np.where(new.reshape(-1, *[1] * (old.ndim - 1)), start, old)
        return chosen

    tail = _tail_choice(state.latency_law, block.edges, limits.minimum_effect)
    atom = np.where(new & (state.age > 0), STEP_START, 0.0)
    return replace(
        state,
        weight=np.where(new, block.weight[0], state.weight),
        begun=np.where(new, atom, state.begun),
        epoch=fresh(state.epoch, np.nan),
        frozen=fresh(state.frozen, _frozen_limits(state)),
        reference=fresh(state.reference, state.latency_law),
        tail=fresh(state.tail, tail),
        step_age=fresh(state.step_age),
        promotion=fresh(state.promotion),
        pending=fresh(state.pending),
        step_requests=fresh(state.step_requests),
        step_errors=fresh(state.step_errors),
        step_sums=fresh(state.step_sums),
        step_latency=fresh(state.step_latency),
    )


def _frozen_limits(state: Evidence) -> Floats:
    """Return the upper 95 % limits of stable's error ratio and tail as the step before showed them (N, 2)."""
    has = state.step_requests[:, STABLE] > 0
    errors = np.where(has, state.step_errors[:, STABLE], state.ratio_law[:, 0, 0])
    requests = np.where(has, state.step_requests[:, STABLE], state.ratio_law[:, 0, 1])
    histogram = np.where(has[:, None], state.step_latency[:, STABLE], state.latency_law)
    counted = histogram.sum(axis=-1)
    above = _above(histogram[:, None, :], state.tail[:, 0])[:, 0]
    upper = [
        np.where(n > 0, betaincinv(k + 1, np.maximum(n - k, 1e-9), 0.95), np.nan)
        for k, n in ((errors, requests), (above, counted))
    ]
    return np.stack(upper, axis=-1)


def _tail_choice(law: Floats, edges: Edges, minimum_effect: float) -> Floats:
    """Return the bucket above which latencies are best compared, and the margin there (N, 2)."""
    if len(edges) < 2:
        return np.tile([0.0, TAIL_MARGIN], (len(law), 1))
    guess = law + _LATENCY_GUESS
    survival = _survival(guess)
    moved = _survival((guess[:, None] @ latency.shifted(edges, guess, 1 + minimum_effect))[:, 0])
    bucket, row = _tail_bucket(law), np.arange(len(law))
    margin = np.clip(moved[row, bucket] / survival[row, bucket], TAIL_MARGIN, 2.0)
    return np.stack([bucket, margin], axis=-1)


def _tail_bucket(law: Floats) -> npt.NDArray[np.int64]:
    """Return the bucket (N,) whose upper edge about one request in ten is above."""
    if law.shape[-1] < 2:
        return np.zeros(len(law), dtype=np.int64)
    return np.asarray(np.abs(np.log(_survival(law + _LATENCY_GUESS) / TAIL)).argmin(axis=-1))


def _survival(law: Floats) -> Floats:
    """Return the part of the requests above each finite edge."""
    return np.asarray(1 - np.cumsum(law, axis=-1)[..., :-1] / law.sum(axis=-1, keepdims=True))


def _above(counts: Floats, bucket: Floats) -> Floats:
    """Return how many requests (..., N, 2) of the histograms (..., N, 2, B) are above the bucket (N,)."""
    chosen = np.arange(counts.shape[-1]) > bucket[:, None, None]
    return np.asarray((counts * chosen).sum(axis=-1))


def _refresh(state: Evidence, block: Block) -> Evidence:
    """Return the state with cap and overdispersion as stable has shown them so far."""
    epoch = block.time[0] // EPOCH
    if (state.epoch == epoch).all():
        return state
    cap, errors, errors_uncapped = dispersion.choose(state.scatter, block.weight[0])
    others = dispersion.fano(state.scatter)[:, len(dispersion.CAPS) :]
    untimed = np.isnan(state.scatter_tail) | (state.scatter.events[:, -1] < dispersion.FEW)
    cautious = others.copy()
    cautious[:, -1] = np.where(untimed, dispersion.UNKNOWN_PHI, others[:, -1])
    return replace(
        state,
        epoch=np.full_like(state.epoch, epoch),
        cap=cap,
        phi=np.concatenate([errors[:, None], cautious], axis=-1),
        raw_phi=np.concatenate([errors_uncapped[:, None], others], axis=-1),
    )


def _scattered(state: Evidence, block: Block, latency_law: Floats) -> tuple[Scatter, Floats]:
    """Return stable's scatter with the block added, and the bucket above which its latencies are watched."""
    tail, watched = _watched_tail(state, latency_law)
    counts = block.latency[..., STABLE, :]
    above = (counts * (np.arange(counts.shape[-1]) > tail[:, None])).sum(axis=-1)
    slow = np.where(watched[..., None], np.stack([above, counts.sum(axis=-1)], axis=-1), 0.0)
    errors, pods = block.events[:, :, 0, STABLE], block.pods[..., STABLE, :, 0]
    total = block.totals[:, :, 0, STABLE]
    under = [np.stack([capped(errors, pods, cap), total], axis=-1) for cap in dispersion.CAPS]
    others = np.stack([block.events[:, :, 1:, STABLE], block.totals[:, :, 1:, STABLE]], axis=-1)
    series = np.concatenate([np.stack(under, axis=2), others, slow[:, :, None]], axis=2)
    units = np.maximum((block.pods[..., STABLE, :, 1] > 0).sum(axis=-1), 1).astype(np.float64)
    return dispersion.learn(state.scatter, block.time, series, units), tail


def _watched_tail(state: Evidence, latency_law: Floats) -> tuple[Floats, Bools]:
    """Return the bucket (N,) above which latencies are watched, and from which scrape on (T, N)."""
    known = ~np.isnan(state.scatter_tail)
    size = len(latency_law) - 1
    if known.all():
        return state.scatter_tail, np.ones((size, len(known)), dtype=bool)
    enough = latency_law.sum(axis=-1) >= _SHAPE_REQUESTS
    first = enough.argmax(axis=0)
    chosen = _tail_bucket(latency_law[first, np.arange(len(first))])
    tail = np.where(known, state.scatter_tail, np.where(enough.any(axis=0), chosen, np.nan))
    return tail, known | (enough.any(axis=0) & (np.arange(size)[:, None] >= first))


def _counted_errors(state: Evidence, block: Block) -> Floats:
    """Return the errors that count when no pod counts for more than the cap (T, N, 2).

    Stable's pods may count for as much more as they have more traffic: a cap that bends stable's counts more than the
    canary's would be evidence of its own making.
    """
    errors = block.events[:, :, 0]
    if np.isinf(state.cap).all():
        return errors
    pods = block.pods
    units = np.maximum((pods[..., 1] > 0).sum(axis=-1), 1)
    each = block.totals[:, :, 0] / units
    more = np.maximum(each[..., STABLE] / np.maximum(each[..., CANARY], 1.0), 1.0)
    caps = np.stack([np.broadcast_to(state.cap, more.shape), state.cap * more], axis=-1)
    return capped(errors, pods[..., 0], caps)


def _laws(state: Evidence, block: Block, events: Floats) -> tuple[Floats, Floats]:
    """Return the decayed counts of stable, before the block and after each scrape (T + 1, ...)."""
    counted = block.requests[..., STABLE]
    keep = np.exp2(-np.minimum(block.span[:, None] / MEMORY, counted / MEMORY_REQUESTS))
    ratios = np.stack([events, block.totals[..., STABLE]], axis=-1)
    ratio_law = decayed_sums(ratios, keep[..., None, None], state.ratio_law)
    latency_law = decayed_sums(block.latency[..., STABLE, :], keep[..., None], state.latency_law)
    return np.concatenate([state.ratio_law[None], ratio_law]), np.concatenate([state.latency_law[None], latency_law])


def _advance(limits: Limits, state: Evidence, block: Block) -> tuple[Evidence, Path]:
    """Return the evidence after a block within one step."""
    span = block.span[:, None]
    started = (state.age > 0) | (np.cumsum(block.requests[..., CANARY], axis=0) > 0)
    age = state.age + np.cumsum(span * started, axis=0)
    step_age = state.step_age + np.cumsum(span * started, axis=0)
    entering, left = _entering(state, started, step_age)
    events = np.concatenate([_counted_errors(state, block)[:, :, None], block.events[:, :, 1:]], axis=2)
    ratio_law, latency_law = _laws(state, block, events[..., STABLE])
    scatter, scatter_tail = _scattered(state, block, latency_law)
    slowness = _slowness(state, block)
    alone: Bools = np.asarray(
        (block.weight >= 1 - ALONE) | (slowness[..., 0, STABLE, 0] < ALONE * slowness[..., 0, CANARY, 0])
    )
    warm = step_age > limits.warm_up
    paths = _rollback_paths(limits, state, block, events, entering, warm, ratio_law[:-1], latency_law[:-1])
    slow = _is_slow(limits, slowness, age)
    path_parts = _combined(paths, slow, alone)
    promotion, pending, fine = _promotion(limits, state, block, warm)
    shown = _shown(promotion)
    common = ~_fine(block, limits.error_rollback, limits.latency_rollback).all(axis=-1)
    path = Path(*path_parts, slow, alone, *shown, np.asarray(common))
    after = replace(
        state,
        age=age[-1],
        step_age=step_age[-1],
        left=left[-1],
        begun=np.zeros_like(state.begun),
        ratio_law=ratio_law[-1],
        latency_law=latency_law[-1],
        scatter=scatter,
        scatter_tail=scatter_tail,
        slowness=slowness[-1],
        ratio_path=paths[0][-1],
        latency_path=paths[1][-1],
        error_limit_path=paths[2][-1],
        latency_limit_path=paths[3][-1],
        promotion=promotion[-1],
        pending=pending,
        fine=fine,
        step_requests=state.step_requests + block.requests.sum(axis=0),
        step_errors=state.step_errors + block.events[:, :, 0].sum(axis=0),
        step_sums=state.step_sums + block.sums.sum(axis=0),
        step_latency=state.step_latency + block.latency.sum(axis=0),
        total_requests=state.total_requests + block.requests.sum(axis=0) * started[-1][:, None],
        total_errors=state.total_errors + block.events[:, :, 0].sum(axis=0) * started[-1][:, None],
    )
    return after, path


def _entering(state: Evidence, started: Bools, step_age: Floats) -> tuple[Floats, Floats]:
    """Return the prior mass of faults that begin at each scrape, and what is left after it (T, N)."""
    before = np.concatenate([state.step_age[None], step_age[:-1]])
    stays = np.where(started, ((1 + step_age / LATE_SCALE) / (1 + before / LATE_SCALE)) ** (-1 / LATE), 1.0)
    first = started & ~np.concatenate([(state.age > 0)[None], started[:-1]])
    stays = stays * np.where(first, 1 - START, 1.0)
    stays[0] *= 1 - state.begun
    left = state.left * np.cumprod(stays, axis=0)
    return np.concatenate([state.left[None], left[:-1]]) - left, left


def _slowness(state: Evidence, block: Block) -> Floats:
    """Return decayed requests, ms and ms squared of both tracks (T, N, W, 2, 3)."""
    middles = latency.middles(block.edges)
    counted = block.latency.sum(axis=-1)
    squares = block.latency @ middles**2
    sums = np.where(block.sums > 0, block.sums, block.latency @ middles)
    moments = np.stack([counted, sums, squares], axis=-1)[:, :, None]
    keep = np.exp2(-block.span[:, None, None] / GATE_MEMORY)[..., None, None]
    return decayed_sums(moments, keep, state.slowness)


def _is_slow(limits: Limits, slowness: Floats, age: Floats) -> Bools:
    """Return whether the canary's mean latency is above stable's by at least the minimum effect (T, N).

    A gate, not a test: it can only take rollbacks away. It asks more the more often there was occasion to be wrong.
    """
    n, s, q = (np.maximum(slowness[..., k], 1e-9) for k in range(3))
    spread = np.maximum(q * n / s**2 - 1, 0.0) / (2 * n)
    excess = np.log((s / n)[..., CANARY] / (s / n)[..., STABLE]) - np.log1p(limits.minimum_effect)
    sigmas = np.sqrt(2 * np.log(np.maximum(age[..., None] / (8 * GATE_MEMORY), 1.0)))
    there = (slowness[..., 0] > 0).all(axis=-1)
    return np.asarray((there & (excess > sigmas * np.sqrt(spread.sum(axis=-1)))).any(axis=-1))


def _rollback_paths(
    limits: Limits,
    state: Evidence,
    block: Block,
    events: Floats,
    entering: Floats,
    warm: Bools,
    ratio_law: Floats,
    latency_law: Floats,
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the log evidence of each alternative of ratios, latency and both limits after each scrape."""
    with np.errstate(divide="ignore"):
        mass = np.log(entering)[..., None]
    phi = state.phi
    guess = ratio_law + _RATIO_GUESS
    ratios = split_log_ratio(events, block.totals, ODDS, guess[..., 0] / guess[..., 1])
    law = latency_law + _LATENCY_GUESS
    shifts = _shifts(block.edges, state.reference)
    slower = histogram_log_ratio(block.latency, law / law.sum(axis=-1, keepdims=True), shifts)
    slower = np.where(warm[..., None], slower, 0.0)
    fine = _fine(block, limits.error_rollback, limits.latency_rollback)
    over = limit_log_ratio(
        block.events[:, :, 0, CANARY],
        block.totals[:, :, 0, CANARY],
        np.minimum(WORSE * limits.error_rollback, 0.9),
        np.array(limits.error_rollback),
    )
    bets = latency.mean_bets(block.edges, limits.latency_rollback, limits.timeout, below=False)
    late = mean_log_ratio(block.latency[..., CANARY, :], block.sums[..., CANARY], bets.payoff, bets.slope, bets.edges)
    over = np.where(fine[..., :1], over, 0.0)
    late = np.where(fine[..., 1:], late, 0.0)
    return (
        _mixed(ratios, mass[..., None, :] + ODDS_PRIOR, state.ratio_path, phi[:, :-1, None]),
        _mixed(slower, mass + _even(slower), state.latency_path, phi[:, -1:]),
        _mixed(over, mass + _even(over), state.error_limit_path, np.maximum(phi, state.raw_phi)[:, :1]),
        _mixed(late, mass + _even(late), state.latency_limit_path, phi[:, -1:]),
    )


def _shifts(edges: Edges, reference: Floats) -> Floats:
    """Return the matrices of the latency alternatives (N, B, G, B); they change with a step only, so they are kept."""
    key = (edges, reference.shape, reference.tobytes())
    if key not in _KEPT:
        if len(_KEPT) >= 8:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key] = latency.alternatives(edges, reference + _LATENCY_GUESS)
    return _KEPT[key]


_KEPT: dict[tuple[Edges, tuple[int, ...], bytes], Floats] = {}


def _mixed(log_ratios: Floats, mass: Floats, start: Floats, phi: Floats) -> Floats:
    return change_point_path(np.minimum(log_ratios, CAP) / phi, mass + np.zeros_like(log_ratios), start)


def _even(logs: Floats) -> float:
    """Return the log weight of each of several alternatives that are equally likely."""
    return -float(np.log(logs.shape[-1]))


def _combined(
    paths: tuple[Floats, Floats, Floats, Floats], slow: Bools, alone: Bools
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return the rollback mixture, its parts, each ratio's evidence, and latency's before the gate."""
    ratios, raw, over, late = (log_sum(path) for path in paths)
    errors = log_sum(ratios) - np.log(ratios.shape[-1])
    suspected = np.log(1 / 0.05)
    parts = np.stack(
        [
            errors,
            np.where(slow, raw, _NEVER),
            np.where(alone | (ratios[..., 0] >= suspected), over, _NEVER),
            np.where(alone | (slow & (raw >= suspected)), late, _NEVER),
        ],
        axis=-1,
    )
    return log_sum(parts + WEIGHTS), parts, ratios, raw


def _fine(block: Block, error_limit: float, latency_limit: float) -> Bools:
    """Return whether stable keeps its limits on errors and on latency in each scrape (T, N, 2)."""
    k, n = block.events[:, :, 0, STABLE], block.totals[:, :, 0, STABLE]
    expected = n * error_limit
    counted = block.latency[..., STABLE, :].sum(axis=-1)
    mean = block.sums[..., STABLE] / np.where(counted > 0, counted, 1.0)
    return np.stack([k <= expected + SKIP_SIGMA * np.sqrt(expected) + 1, mean <= latency_limit], axis=-1)


def _promotion(limits: Limits, state: Evidence, block: Block, warm: Bools) -> tuple[Floats, Floats, Bools]:
    """Return the promotion sums after each scrape (T, N, P), what is pending, and whether stable was well.

    A scrape counts for the absolute criteria when stable kept its limits in it and in both its neighbours: a choice
    made on stable's counts alone, so the canary's evidence stays valid. It is therefore one scrape late.
    """
    k, n = block.events[:, :, 0], block.totals[:, :, 0]
    total = n.sum(axis=-1)
    share = n[..., CANARY] / np.where(total > 0, total, 1.0)
    above = _above(block.latency, state.tail[:, 0])
    counted = block.latency.sum(axis=-1)
    known = block.weight < 1 - ALONE
    by_ratio = np.where(
        known[..., None],
        margin_log_ratio(k, share, EQUAL, np.array(ERROR_MARGIN)),
        _against_frozen(k[..., CANARY], n[..., CANARY], state.frozen[:, :1], np.array(ERROR_MARGIN)),
    )
    margin = state.tail[:, 1:]
    tail = np.where(
        known[..., None],
        margin_log_ratio(above, share, EQUAL, margin),
        _against_frozen(above[..., CANARY], counted[..., CANARY], state.frozen[:, 1:], margin),
    )
    tail = np.where(warm[..., None], tail, 0.0)
    unhealthy = 1 - limits.success_healthy
    by_limit, success = (
        limit_log_ratio(k[..., CANARY], n[..., CANARY], BETTER * limit, np.array(limit))
        for limit in (limits.error_healthy, unhealthy)
    )
    bets = latency.mean_bets(block.edges, limits.latency_healthy, limits.timeout, below=True)
    mean = mean_log_ratio(block.latency[..., CANARY, :], block.sums[..., CANARY], bets.payoff, bets.slope, bets.edges)
    ready = np.concatenate([by_ratio, np.zeros_like(by_limit), np.zeros_like(success), tail, np.zeros_like(mean)], -1)
    absolute = np.concatenate([np.zeros_like(by_ratio), by_limit, success, np.zeros_like(tail), mean], axis=-1)
    fine = np.concatenate([np.moveaxis(state.fine, 1, 0), _fine(block, limits.error_healthy, limits.latency_healthy)])
    calm = fine[:-2] & fine[1:-1] & fine[2:]
    counts = np.repeat(calm, [9, 6], axis=-1)
    late = np.concatenate([state.pending[None], absolute])
    phi = np.repeat(state.raw_phi[:, [0, -1]], [9, 6], axis=-1)
    added = (ready + np.where(counts, late[:-1], 0.0)) / phi
    return state.promotion + np.cumsum(added, axis=0), late[-1], np.moveaxis(fine[-2:], 0, 1)


def _against_frozen(events: Floats, requests: Floats, frozen: Floats, margin: Floats) -> Floats:
    """Return the evidence that one track keeps below a margin over limits that stable left behind."""
    level = np.clip(np.nan_to_num(frozen), 1e-9, 0.9 / margin)
    logs = limit_log_ratio(events, requests, EQUAL * level, margin * level)
    return np.where(np.isnan(frozen), 0.0, logs)


def _shown(promotion: Floats) -> tuple[Floats, Bools]:
    """Return the four promotion criteria (T, N, 4), and whether errors rest on the limit."""
    equal = np.full(3, -np.log(3.0))
    by_ratio = log_sum(promotion[..., _BY_RATIO] + BY_RATIO + equal)
    by_limit = log_sum(promotion[..., _BY_LIMIT] + BY_LIMIT + BETTER_PRIOR)
    success = log_sum(promotion[..., _SUCCESS] + BETTER_PRIOR)
    tail, mean = (log_sum(promotion[..., part] + equal) for part in (_TAIL, _MEAN))
    return np.stack([np.logaddexp(by_ratio, by_limit), success, tail, mean], axis=-1), by_limit > by_ratio


def promotion_alternatives(state: Evidence, name: str) -> list[tuple[float, float]]:
    """Return the log prior and log evidence of each alternative behind a promotion criterion, of the first service."""
    equal = np.full(3, -np.log(3.0))
    groups = {
        "errors": [(BY_RATIO + equal, _BY_RATIO), (BY_LIMIT + BETTER_PRIOR, _BY_LIMIT)],
        "success": [(BETTER_PRIOR, _SUCCESS)],
        "latency ratio": [(equal, _TAIL)],
        "latency": [(equal, _MEAN)],
    }
    return [
        (float(prior), float(log))
        for priors, part in groups[name]
        for prior, log in zip(priors, state.promotion[0, part], strict=True)
    ]
