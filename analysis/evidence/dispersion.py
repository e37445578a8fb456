"""How much more stable's counts scatter than independent requests would, and how far one pod may be believed.

Errors come in clumps: a pod that hiccups spoils many requests at once. Two things keep a clump on the canary from
passing for a fault. No pod counts for more than `cap` errors a scrape, on either track; and what is left is divided by
the Fano factor phi of stable's own counts under the same cap, taken at several time scales from differences of
neighbouring blocks, so that trends do not count. Of all caps the one is taken that leaves the most evidence a scrape.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import gammaincc

Floats = npt.NDArray[np.float64]

CAPS = np.array([1.0, 2.0, 4.0, 8.0, np.inf])
"""How many errors of one pod may count in a scrape."""
UNCAPPED = len(CAPS) - 1
SCALES = np.array([0.0, 15.0, 60.0, 300.0])
"""Lengths of the blocks in seconds; 0 is one scrape."""
SIGNIFICANT = 2.5
"""Standard errors by which phi has to exceed 1 to be taken for real."""
FEW = 12.0
"""Events of stable below which its dispersion counts as unknown."""
UNKNOWN_PHI, UNKNOWN_CAP = 1.25, 4.0
"""What is assumed then, for rollback."""
YOUNG, YOUNG_ROOM = 120.0, 3.0
"""Scrapes of stable before which a pod's burst may have failed to show; until then the cap is the least that is
this many times the errors that a pod of the canary should have in a scrape under it."""
GUARD = 1.5
"""Phi's excess over 1 is raised by this factor, as it is itself an estimate."""
STABLE_GUARD = 0.3
"""The same for stable's own clumps, which can only ever speak for the canary: a full measure of them is not needed."""
REFERENCE = 3.0
"""The canary whose evidence the choice of the cap looks at fails this many times as often as stable."""
INCIDENT = 4
"""Jumps of the errors that promotion forgives, the largest ones: one outage comes and goes, scatter comes back."""
_FULLEST = 0.02
_OUTLIER = 25.0
"""A jump of the latency this far above the expected one, squared, is an incident and no scatter."""


@dataclass(frozen=True, slots=True)
class DispersionSums:
    """Sums over blocks of each length S, for each of M series of N services; the last axis is events and total."""

    block: Floats
    """(N, S) number of the block that is open; NaN before the first."""
    open: Floats
    """(N, S, M, 2) what it has counted so far."""
    closed: Floats
    """(N, S, M, 2) the block before it; total 0 before there is one."""
    jumps: Floats
    """(N, S, M) squared differences of neighbours."""
    expected: Floats
    """(N, S, M) the same as expected of independent requests."""
    pairs: Floats
    """(N, S) how many neighbours."""
    worst: Floats
    """(N, S, INCIDENT, 2) the largest jumps of the errors without a cap, and what was expected of them."""
    events: Floats
    """(N, M) events in all."""
    scrapes: Floats
    """(N,) scrapes in all."""
    units: Floats
    """(N,) pods seen, summed over scrapes."""
    requests: Floats
    """(N,) requests in all."""


def blank(services: int, series: int) -> DispersionSums:
    """Return the sums before anything was seen."""
    n, s, zeros = services, len(SCALES), np.zeros
    return DispersionSums(
        block=np.full((n, s), np.nan),
        open=zeros((n, s, series, 2)),
        closed=zeros((n, s, series, 2)),
        jumps=zeros((n, s, series)),
        expected=zeros((n, s, series)),
        pairs=zeros((n, s)),
        worst=zeros((n, s, INCIDENT, 2)),
        events=zeros((n, series)),
        scrapes=zeros(n),
        units=zeros(n),
        requests=zeros(n),
    )


def capped(errors: Floats, pods: Floats, caps: Floats) -> Floats:
    """Return how many errors count when no pod counts for more than its track's cap.

    Parameters
    ----------
    errors
        (..., ) errors as the verdict's counters have them.
    pods
        (..., P) errors of each pod by its own count; P may be 0. What no pod has counted, such as an answer of the
        gateway for a dead pod, is taken together as one more.
    caps
        (...) or broadcastable.
    """
    unattributed = np.maximum(errors - pods.sum(axis=-1), 0.0)
    counted = np.minimum(unattributed, caps)
    if pods.shape[-1]:
        counted = counted + np.minimum(pods, np.asarray(caps)[..., None]).sum(axis=-1)
    return np.asarray(np.minimum(counted, errors))


def learn(sums: DispersionSums, time: Floats, series: Floats, units: Floats) -> DispersionSums:
    """Return the sums with a block of scrapes added.

    Parameters
    ----------
    sums
        So far.
    time
        (T,) each scrape's end in seconds.
    series
        (T, N, M, 2) events and total of each series of stable.
    units
        (T, N) how many pods had traffic.
    """
    parts = [_learn_scale(sums, scale, time, series) for scale in range(len(SCALES))]
    block, opened, closed, jumps, expected, pairs, worst = (
        np.stack(column, axis=1) for column in zip(*parts, strict=True)
    )
    return replace(
        sums,
        block=block,
        open=opened,
        closed=closed,
        jumps=sums.jumps + jumps,
        expected=sums.expected + expected,
        pairs=sums.pairs + pairs,
        worst=worst,
        events=sums.events + series[..., 0].sum(axis=0),
        scrapes=sums.scrapes + len(time),
        units=sums.units + units.sum(axis=0),
        requests=sums.requests + series[:, :, 0, 1].sum(axis=0),
    )


def _learn_scale(sums: DispersionSums, scale: int, time: Floats, series: Floats) -> tuple[Floats, ...]:
    """Return one scale's open block, its predecessor, and what the neighbours that were closed add."""
    length = SCALES[scale]
    number = np.ceil(time / length) if length else time
    if len(time) == 1 and sums.block[0, scale] == number[0]:
        nothing = np.zeros(series.shape[1:3])
        added = sums.open[:, scale] + series[0]
        unchanged = sums.closed[:, scale], nothing, nothing, nothing[:, 0], sums.worst[:, scale]
        return sums.block[:, scale], added, *unchanged
    starts = np.flatnonzero(np.append(True, np.diff(number) != 0))
    totals = series if len(starts) == len(series) else np.add.reduceat(series, starts, axis=0)
    goes_on = sums.block[0, scale] == number[0]
    before = sums.open[None, :, scale]
    totals = np.concatenate([before + totals[:1], totals[1:]] if goes_on else [before, totals])
    chain = np.concatenate([sums.closed[None, :, scale], totals])
    jumps, expected = _neighbours(chain[:-1])
    pairs = (chain[:-2, :, 0, 1] > 0) & (chain[1:-1, :, 0, 1] > 0)
    services = len(sums.block)
    return (
        np.full(services, number[-1]),
        chain[-1],
        chain[-2],
        jumps.sum(axis=0),
        expected.sum(axis=0),
        pairs.sum(axis=0).astype(np.float64),
        _worst(sums.worst[:, scale], jumps[..., UNCAPPED], expected[..., UNCAPPED]),
    )


def _worst(known: Floats, jumps: Floats, expected: Floats) -> Floats:
    """Return the jumps (N, INCIDENT, 2) that stand out most among the known ones and the new ones (P, N)."""
    if not (jumps - expected > (known[..., 0] - known[..., 1]).min(axis=1)).any():
        return known  # the usual tick: nothing new stands out
    all_of_them = np.concatenate([np.moveaxis(known, 1, 0), np.stack([jumps, expected], axis=-1)])
    order = np.argsort(all_of_them[..., 1] - all_of_them[..., 0], axis=0, kind="stable")[:INCIDENT]
    return np.moveaxis(np.take_along_axis(all_of_them, order[..., None], axis=0), 0, 1)


def _neighbours(blocks: Floats) -> tuple[Floats, Floats]:
    """Return squared differences of neighbouring blocks' ratios and their expectation, weighted by the traffic."""
    (y, n), (y_next, n_next) = (np.moveaxis(part, -1, 0) for part in (blocks[:-1], blocks[1:]))
    both = (n > 0) & (n_next > 0)
    jump = np.divide((y * n_next - y_next * n) ** 2, n * n_next, out=np.zeros_like(y), where=both)
    ratio = np.divide(y + y_next, n + n_next, out=np.zeros_like(y), where=both)
    expected = np.where(both, (y + y_next) * (1 - np.minimum(ratio, 1.0)), 0.0)
    # The last series is latency: a jump of it far beyond scatter is an incident of the past.
    jump[..., -1] = np.minimum(jump[..., -1], _OUTLIER * expected[..., -1])
    return jump, expected


def fano(sums: DispersionSums, *, guard: float = GUARD) -> Floats:
    """Return phi of each series (N, M): the largest over the time scales that is surely above 1, else 1.

    Parameters
    ----------
    sums
        What stable has shown.
    guard
        By how much the excess over 1 is raised.
    """
    ratio = np.divide(sums.jumps, sums.expected, out=np.ones_like(sums.jumps), where=sums.expected > 0)
    pairs = np.maximum(sums.pairs, 1.0)[..., None]
    events = np.maximum(sums.events, 1.0)[:, None]
    # Differences share blocks, hence 3 and not 2; rare events have heavy tails, hence the second term.
    error = np.sqrt(3 / pairs + 0.75 / events)
    # Under a cap a busy series is full and scatters less than Poisson; how long it stays full still has to show.
    is_capped = np.arange(ratio.shape[-1]) < np.isfinite(CAPS).sum()
    ratio = np.where(is_capped, ratio / np.clip(ratio[:, :1], _FULLEST, 1.0), ratio)
    sure = (ratio - 1 > SIGNIFICANT * error) & (sums.pairs[..., None] >= 8)
    return np.asarray(np.where(sure, 1 + guard * (ratio - 1), 1.0).max(axis=1))


def lasting_phi(sums: DispersionSums) -> Floats:
    """Return phi (N,) of the errors without a cap, leaving out the `INCIDENT` largest jumps.

    An outage that came and went would else count as scatter for ever, and hold back every promotion after it; what
    bursts again and again still counts.
    """
    jumps, expected = (
        total[..., UNCAPPED] - sums.worst[..., part].sum(axis=-1)
        for part, total in enumerate((sums.jumps, sums.expected))
    )
    ratio = np.divide(jumps, expected, out=np.ones_like(jumps), where=expected > 0)
    pairs, events = sums.pairs - INCIDENT, np.maximum(sums.events[:, [UNCAPPED]], 1.0)
    error = np.sqrt(3 / np.maximum(pairs, 1.0) + 0.75 / events)
    sure = (ratio - 1 > SIGNIFICANT * error) & (pairs >= 8)
    return np.asarray(np.where(sure, 1 + GUARD * (ratio - 1), 1.0).max(axis=1))


def choose(sums: DispersionSums, share: Floats) -> tuple[Floats, Floats, Floats]:
    """Return the cap of each service, its phi, and phi without a cap (N,) each.

    Parameters
    ----------
    sums
        What stable has shown; its first series are the errors under each of `CAPS`.
    share
        (N,) the canary's share of the requests.
    """
    scrapes = np.maximum(sums.scrapes, 1.0)
    has_pods = sums.units > 1.5 * scrapes
    part = np.where(has_pods, scrapes / np.maximum(sums.units, 1.0), share)
    more = np.where(has_pods, 1.0, np.maximum(1 / np.maximum(share, 1e-3) - 1, 1.0))
    phi, raw = _phi_of_both(sums, share, more)
    events = sums.events[:, len(CAPS) - 1]
    worth = _capped_mean((REFERENCE * events / scrapes * part)[:, None], CAPS) / phi
    # With nothing to gain the last cap, which is none, is the simplest.
    best = np.where(raw <= 1.0, len(CAPS) - 1, worth.argmax(axis=-1))
    young = has_pods & (sums.scrapes < YOUNG)
    usual = np.take_along_axis(sums.events, _stables_column(more), axis=1) / scrapes[:, None] * part[:, None]
    best = np.where(young, (YOUNG_ROOM * usual <= CAPS).argmax(axis=-1), best)
    cap, phi, unknown = CAPS[best], phi[np.arange(len(phi)), best], events < FEW
    cap = np.where(unknown & ~young, UNKNOWN_CAP, cap)
    return cap, np.where(unknown & ~young, UNKNOWN_PHI, phi), raw


def _phi_of_both(sums: DispersionSums, share: Floats, more: Floats) -> tuple[Floats, Floats]:
    """Return phi of the comparison under each cap (N, C), and without any (N,).

    The comparison weighs the canary's scatter by stable's share and stable's by the canary's; stable's pods, or stable
    as a whole where no pods are recorded, may count for `more` times the cap.
    """
    canary, stable = (fano(sums, guard=guard)[:, : len(CAPS)] for guard in (GUARD, STABLE_GUARD))
    w = share[:, None]
    return (1 - w) * canary + w * np.take_along_axis(stable, _stables_column(more), axis=1), canary[:, -1]


def _stables_column(more: Floats) -> npt.NDArray[np.int64]:
    """Return which of `CAPS` (N, C) stable's pods have when the canary's have each of them."""
    return np.minimum(np.searchsorted(CAPS, CAPS * more[:, None] * (1 - 1e-9)), len(CAPS) - 1)


def _capped_mean(mean: Floats, caps: Floats) -> Floats:
    """Return E min(X, cap) for Poisson X: the sum of P(X >= j) for j up to the cap."""
    finite = caps[np.isfinite(caps)]
    j = np.arange(1, finite.max() + 1)
    above = np.cumsum(1 - gammaincc(j, np.maximum(mean, 1e-12)), axis=-1)
    some = above[..., (finite - 1).astype(int)]
    return np.concatenate([some, np.broadcast_to(mean, (*some.shape[:-1], 1))], axis=-1)
