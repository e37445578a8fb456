"""Simulates many rollouts of a family at once: what each scrape would have counted, seeded.

Requests arrive as a Poisson process; latency is lognormal (median 40 ms, sigma 0.8) and seen through Istio's buckets.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr

from analysis.scrapes.increments import GROUPS, Scrapes
from benchmarks.simulated.families import Family, Weather
from rollout.answers import COMPARED

Floats = npt.NDArray[np.float64]

ISTIO_EDGES_MS = np.array(
    [0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 3e5, 6e5, 1.8e6, 3.6e6, np.inf]
)
MEDIAN_MS, SIGMA = 40.0, 0.8
CANARY, STABLE = 0, 1
BURST_SECONDS, BURST_ERRORS, BURST_PODS = 10.0, 0.3, 10
OUTAGE_ERRORS, OUTAGE_SCALE = 0.2, 3.0
DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Runs:
    """R simulated rollouts of T scrapes; on the axis of length 2, 0 is the canary and 1 stable."""

    family: Family
    time: Floats
    """Seconds at each scrape's end, (T,); 0 is when the canary gets traffic."""
    share: Floats
    """The canary's configured share, (T,)."""
    requests: Floats
    """(R, T, 2)"""
    errors: Floats
    """(R, T, 2)"""
    sums: Floats
    """Milliseconds, (R, T, 2)."""
    latency: Floats
    """Requests a bucket of `ISTIO_EDGES_MS`, (R, T, 2, 20)."""
    pods: Floats
    """Errors and requests of each pod, (R, T, 2, P, 2)."""
    present: npt.NDArray[np.bool_]
    """Whether a track's scrape was taken, (R, T, 2)."""

    def __len__(self) -> int:
        return len(self.requests)


def simulate(family: Family, *, runs: int, seed: int, history: float = 6 * 3600.0) -> Runs:
    """Return simulated rollouts; the same family, runs, seed and history give the same ones.

    Parameters
    ----------
    family
        What to simulate.
    runs
        How many rollouts.
    seed
        Of the random numbers; each family draws its own from it.
    history
        Seconds of stable alone before the canary's first traffic.
    """
    rng = np.random.default_rng([seed, zlib.crc32(family.name.encode())])
    dt = family.scrape
    time = scrape_times(family, history)
    share = configured_share(family, time)
    sky = _sky(rng, family, time, runs)
    rate = sky.swing * family.rps * dt * _split(family, share)
    probability, mean, variance = _buckets(family, _scales(rng, family, time, sky), _tails(family, time))
    latency = rng.poisson(rate[..., None] * probability).astype(np.float64)
    requests = latency.sum(-1)
    errors, pods = _errors(rng, family, share, requests, _error_ratios(family, time, sky))
    noise = rng.standard_normal(requests.shape) * np.sqrt((latency * variance).sum(-1))
    present = rng.random(requests.shape) >= family.weather.lost
    present[:, [0, -1]] = True
    sums = np.maximum((latency * mean).sum(-1) + noise, 0.0)
    return Runs(family, time, share, requests, errors, sums, latency, pods, present)


@dataclass(frozen=True, slots=True)
class _Sky:
    """What happens to both tracks: factors on the rate (R or 1, T, 1), and where the outage is."""

    swing: Floats
    errors: Floats
    scale: Floats
    outage: Floats


def scrape_times(family: Family, history: float = 0.0) -> Floats:
    """Return the end of each scrape in seconds, (T,)."""
    scrapes = np.arange(round(-history / family.scrape), round(family.duration / family.scrape)) + 1
    return np.asarray(scrapes * family.scrape, dtype=np.float64)


def configured_share(family: Family, time: Floats) -> Floats:
    """Return the canary's configured share during each scrape, (T,)."""
    share = np.zeros_like(time)
    for start, value in family.steps:
        share[time - family.scrape >= start] = value
    return share


def _split(family: Family, share: Floats) -> Floats:
    canary = share * (1 - family.weather.mismatch)
    return np.stack([canary, 1 - canary], axis=-1)


def _sky(rng: np.random.Generator, family: Family, time: Floats, runs: int) -> _Sky:
    weather = family.weather
    phase = rng.uniform(0, 2 * np.pi, (runs, 1, 1))
    wave = weather.diurnal * np.sin(2 * np.pi * time[:, None] / DAY + phase)
    start = rng.uniform(60, max(61, family.duration - 60 - weather.outage), (runs, 1))
    outage = (time > start) & (time - family.scrape < start + weather.outage) & (weather.outage > 0)
    return _Sky(1 + wave, 1 + wave / 2, 1 + wave / 4, outage[..., None].astype(np.float64))


def _ill(family: Family, time: Floats) -> npt.NDArray[np.bool_]:
    """Return at which scrapes the canary has its fault, (T,)."""
    return time - family.scrape >= family.fault.onset


def _scales(rng: np.random.Generator, family: Family, time: Floats, sky: _Sky) -> Floats:
    """Return what multiplies the latency, (R, T, 2)."""
    minutes = np.maximum(time - family.fault.onset, 0) / 60
    canary = np.where(_ill(family, time), family.fault.scale * (1 + family.fault.leak) ** minutes, 1.0)
    scale = sky.scale * np.where(sky.outage > 0, OUTAGE_SCALE, 1.0)
    scale = scale * np.stack([canary, np.ones_like(canary)], axis=-1)
    if family.weather.jitter:
        scale = scale * np.exp(family.weather.jitter * rng.standard_normal(scale.shape))
    return scale if _differ(scale) else np.asarray(scale[:1])


def _differ(arrays: Floats) -> bool:
    return bool((arrays != arrays[:1]).any())


def _tails(family: Family, time: Floats) -> Floats:
    """Return the share of slower requests, (T, 2)."""
    canary = np.where(_ill(family, time), family.fault.tail[0], 0.0)
    return np.stack([canary, np.zeros_like(canary)], axis=-1) if canary.any() else np.zeros((1, 2))


def lognormal_buckets(scale: Floats) -> tuple[Floats, Floats, Floats]:
    """Return each bucket's probability and its part of the first two moments, for latencies scaled by `scale`.

    Shapes: `scale` any, the results that plus (20,); the moments in ms and ms squared.
    """
    with np.errstate(divide="ignore"):
        standard = (np.log(ISTIO_EDGES_MS) - np.log(MEDIAN_MS * scale)[..., None]) / SIGMA
    median = (MEDIAN_MS * scale)[..., None]
    parts = [
        median**k * np.exp(k * k * SIGMA**2 / 2) * np.diff(ndtr(standard - k * SIGMA), axis=-1, prepend=0.0)
        for k in (0, 1, 2)
    ]
    return parts[0], parts[1], parts[2]


def _buckets(family: Family, scale: Floats, tail: Floats) -> tuple[Floats, Floats, Floats]:
    """Return probability, mean and variance of each bucket, (R or 1, T, 2, 20)."""
    probability, first, second = lognormal_buckets(scale)
    if tail.any():
        slow, part = lognormal_buckets(scale * family.fault.tail[1]), tail[..., None]
        probability, first, second = (
            (1 - part) * a + part * b for a, b in zip((probability, first, second), slow, strict=True)
        )
    some = probability > 1e-12
    mean, square = (np.divide(moment, probability, out=np.zeros_like(moment), where=some) for moment in (first, second))
    return probability, mean, np.maximum(square - mean**2, 0.0)


def _error_ratios(family: Family, time: Floats, sky: _Sky) -> Floats:
    """Return the expected error ratio, (R, T, 2)."""
    fault, stable = family.fault, family.error_ratio * sky.errors[..., 0]
    bad = np.full_like(stable, fault.error_ratio) if fault.error_ratio is not None else stable * fault.error_factor
    canary = np.where(_ill(family, time), np.minimum(bad, 1.0), stable)
    return np.asarray(np.maximum(np.stack([canary, stable], axis=-1), OUTAGE_ERRORS * sky.outage))


def expected_laws(family: Family, time: Floats) -> tuple[Floats, Floats]:
    """Return the laws of errors (T, 2, 2) and of latency (T, 2, 20) without any weather; canary first."""
    calm = replace(family, weather=Weather())
    sky = _sky(np.random.default_rng(0), calm, time, 1)
    ratio = _error_ratios(calm, time, sky)[0]
    scales = _scales(np.random.default_rng(0), calm, time, sky)
    return np.stack([ratio, 1 - ratio], axis=-1), _buckets(calm, scales, _tails(calm, time))[0][0]


def _errors(
    rng: np.random.Generator, family: Family, share: Floats, requests: Floats, ratio: Floats
) -> tuple[Floats, Floats]:
    """Return the errors of each track (R, T, 2), and errors and requests of each pod (R, T, 2, P, 2)."""
    if rho := family.weather.rho:
        ratio = rng.beta(ratio * (1 / rho - 1), (1 - ratio) * (1 / rho - 1))
    if not family.pods:
        return rng.binomial(requests.astype(np.int64), ratio).astype(np.float64), np.zeros((*requests.shape, 0, 2))
    at_pods = rng.multinomial(requests.astype(np.int64), _pod_weights(family, share))
    spoilt = _bursts(rng, family, at_pods.shape)
    errors = rng.binomial(at_pods, np.maximum(ratio[..., None], BURST_ERRORS * spoilt)).astype(np.float64)
    return errors.sum(-1), np.stack([errors, at_pods.astype(np.float64)], axis=-1)


def canary_pods(family: Family, share: float) -> int:
    """Return how many pods the canary has at a share, so that each carries as much as one of stable's."""
    equal = np.ceil(family.pods * share / (1 - share)) if share < 1 else family.pods
    return int(min(max(equal, 1), family.pods))


def _pod_weights(family: Family, share: Floats) -> Floats:
    """Return how a track's requests fall on its pods, (T, 2, P)."""
    counts = np.array([canary_pods(family, each) for each in share])
    canary = (np.arange(family.pods) < counts[:, None]) / counts[:, None]
    return np.stack([canary, np.full_like(canary, 1 / family.pods)], axis=1)


def _bursts(rng: np.random.Generator, family: Family, shape: tuple[int, ...]) -> Floats:
    """Return what part of each scrape a pod spends in a burst, (R, T, 2, P)."""
    chance = family.weather.bursts_a_minute / 60 / BURST_PODS * family.scrape
    starts = rng.poisson(chance, shape).astype(np.float64)
    spoilt = np.zeros(shape)
    for later, part in enumerate(_burst_parts(family.scrape)):
        spoilt[:, later:] += part * starts[:, : shape[1] - later]
    return np.minimum(spoilt, 1.0)


def _burst_parts(scrape: float) -> list[float]:
    whole, rest = divmod(BURST_SECONDS, scrape)
    return [1.0] * int(whole) + ([rest / scrape] if rest else [])


def scrapes_of(runs: Runs, index: int) -> Scrapes:
    """Return one run as the judge reads it: a scrape that only one track has is merged into the next of both."""
    kept = np.flatnonzero(runs.present[index].all(-1))
    starts = np.append(0, kept[:-1] + 1)

    def merged(increments: Floats) -> Floats:
        return np.asarray(np.add.reduceat(increments[index, : kept[-1] + 1], starts, axis=0))

    time = runs.time[kept]
    return Scrapes(
        time=time,
        span=np.diff(time, prepend=runs.time[0] - runs.family.scrape),
        requests=merged(runs.requests),
        errors=merged(runs.errors),
        sums=merged(runs.sums),
        latency=merged(runs.latency),
        answers=np.zeros((len(kept), 2, len(COMPARED) + 1)),
        pods=merged(runs.pods),
        groups=np.zeros((len(kept), GROUPS, 3)),
        extra=np.zeros((len(kept), 2, 0)),
        edges=tuple(ISTIO_EDGES_MS),
    )
