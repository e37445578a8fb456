"""Anytime-valid tests, as logs of e-values: one function a test.

An e-value has an expectation of at most 1 under its null, given all that came before; the running product of such
values is an e-process, and the chance that it ever reaches 1/alpha is at most alpha (Ville 1939), however often one
looks. Arrays have time first: (T, ...), one line a scrape.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
import numpy.typing as npt
from scipy.special import betaln, xlog1py, xlogy

Floats = npt.NDArray[np.float64]

_SPLIT_REQUESTS = 100.0


def decayed_sums(values: Floats, decay: Floats, start: Floats) -> Floats:
    """Return S_1..S_T of S_i = decay_i S_{i-1} + values_i with S_0 = `start`.

    Parameters
    ----------
    values
        (T, ...).
    decay
        (T, ...), the part of the sum so far that stays, 0-1; broadcasts against `values`.
    start
        (...), the sum so far.

    >>> decayed_sums(np.array([1.0, 1.0, 1.0]), np.full(3, 0.5), np.array(2.0))
    array([2., 2., 2.])
    """
    sums: Floats = values + np.zeros_like(decay)
    if not len(sums):
        return sums
    sums[0] += decay[0] * start
    factor, step = decay.copy(), 1
    while step < len(sums):  # a doubling scan: log2(T) passes over whole arrays instead of T small steps
        sums[step:] += factor[step:] * sums[:-step]
        factor[step:] *= factor[:-step]
        step *= 2
    return sums


def change_point_path(log_ratios: Floats, log_entering: Floats, start: Floats) -> Floats:
    """Return log R_1..R_T of R_i = (R_{i-1} + entering_i) exp(log_ratio_i).

    The mixture over the moment at which an alternative begins to hold: a Shiryaev-Roberts sum with a proper prior,
    so that it stays an e-process however long it runs.

    Parameters
    ----------
    log_ratios
        (T, ..., G) log e-values of each scrape.
    log_entering
        (T, ..., G) log of the prior mass that begins at each scrape, fixed before the scrape is seen.
    start
        (..., G) log R_0.

    References
    ----------
    Shin, Ramdas, Rinaldo, E-detectors, arXiv 2203.03532, sections 2.3 and 3.
    """
    if len(log_ratios) == 1:
        return np.asarray(np.logaddexp(start, log_entering[0]) + log_ratios[0])[None]
    total = np.cumsum(log_ratios, axis=0)
    path = np.concatenate([start[None], log_entering - (total - log_ratios)])
    return np.asarray(np.logaddexp.accumulate(path, axis=0)[1:] + total)


def split_log_ratio(events: Floats, requests: Floats, odds: Floats, p_stable: Floats) -> Floats:
    """Return log L of two tracks' event counts, for canary odds of `odds` times stable's against equal odds.

    L = prod (P_c/P_0)^h_c (P_s/P_0)^h_s with P_0 = w P_c + (1 - w) P_s and w the canary's share of this scrape's
    requests. E[L] <= 1 under any common distribution, whatever `p_stable` is: with u = E[P_c/P_0] and v = E[P_s/P_0],
    w u + (1 - w) v = 1, so E[L] = (u^w v^(1-w))^n <= 1. Under a canary with fewer events u is smaller still.

    Parameters
    ----------
    events, requests
        (..., 2), canary and stable.
    odds
        (G,) alternatives, above 1.
    p_stable
        (...) a guess of stable's event ratio made before these counts, inside (0, 1).

    Returns
    -------
    (..., G)

    References
    ----------
    Turner, Ly, Gruenwald (2024), arXiv 2106.02693, eq. 6; for rare events it becomes the conditional test of
    Lindon, Malek (2022), arXiv 2011.03567.
    """
    failed, sent = events[..., 0] + events[..., 1], requests[..., 0] + requests[..., 1]
    share = requests[..., 0] / np.where(sent > 0, sent, 1.0)
    # The alternatives come first in memory: numpy is slow along an axis of four.
    times = odds.reshape(-1, *[1] * p_stable.ndim)
    tilt = 1 + (times - 1) * p_stable  # P_c is times p / tilt and (1 - p) / tilt
    common = p_stable * (1 + share * (times / tilt - 1))
    own = failed * np.log(p_stable) + (sent - failed) * np.log1p(-p_stable)
    logs = events[..., 0] * np.log(times) - requests[..., 0] * np.log(tilt) + own
    logs -= failed * np.log(common)
    logs -= (sent - failed) * np.log1p(-common)
    return np.moveaxis(logs, 0, -1)


def histogram_log_ratio(counts: Floats, p_stable: Floats, shifts: Floats) -> Floats:
    """Return log L of two tracks' histograms, for a canary distributed as `p_stable @ shift` against a common one.

    The 2 x B form of `split_log_ratio`, with the same proof.

    Parameters
    ----------
    counts
        (T, N, 2, B), canary and stable.
    p_stable
        (T, N, B) a guess of stable's distribution made before these counts, nowhere 0.
    shifts
        (N, B, G, B) stochastic matrices, one an alternative, fixed before these counts.

    Returns
    -------
    (T, N, G)
    """
    services, bins, size, _ = shifts.shape
    both = counts[..., 0, :] + counts[..., 1, :]
    totals = counts.sum(axis=-1)
    total = totals[..., 0] + totals[..., 1]
    share = (totals[..., 0] / np.where(total > 0, total, 1.0))[..., None, None]
    moved = np.moveaxis(p_stable, 0, 1) @ shifts.reshape(services, bins, size * bins)
    canary = np.moveaxis(moved, 0, 1).reshape(*p_stable.shape[:-1], size, bins)
    common = canary - p_stable[..., None, :]
    common *= share
    common += p_stable[..., None, :]
    canary_part = np.einsum("tngb,tnb->tng", np.log(canary, out=canary), counts[..., 0, :])
    common_part = np.einsum("tngb,tnb->tng", np.log(common, out=common), both)
    stable_part = (counts[..., 1, :] * np.log(p_stable)).sum(axis=-1)
    return np.asarray(canary_part - common_part + stable_part[..., None])


def sum_log_ratio(counts: Floats, sums: Floats, ends: Floats, effect: float) -> Floats:
    """Return log L of two tracks' sums, for a canary whose mean is longer by `effect` against a common one.

    Under a common distribution the canary's requests are drawn from those of both tracks without replacement,
    whatever these are. So L = exp(theta (S_c - n_c m) - n_c v / b^2 (exp(theta b) - 1 - theta b)) is an e-value, with
    m the mean of all, v a bound of their variance and b one of how far any lies above m: both follow from the buckets
    and the sum. It sees what happens inside a bucket, and bets next to nothing where a rare long request could decide.

    Parameters
    ----------
    counts
        (T, N, 2, B), canary and stable.
    sums
        (T, N, 2) of the latencies; where they cannot be those of the buckets, there is no bet.
    ends
        (2, B) shortest and longest latency of each bucket.
    effect
        Above 0.

    Returns
    -------
    (T, N)

    References
    ----------
    Hoeffding (1963), JASA 58, theorem 4, for drawing without replacement; Bennett (1962), JASA 57, for the bound;
    Bhatia, Davis (2000), Am. Math. Mon. 107, for the variance of what lies between two ends.
    """
    low, high = ends
    both = counts[..., 0, :] + counts[..., 1, :]
    n, least, most = np.moveaxis(counts @ np.stack([np.ones_like(low), low, high], axis=1), -1, 0)
    total, whole = n[..., 0] + n[..., 1], sums[..., 0] + sums[..., 1]
    fits = ((least <= sums) & (sums <= most) & (n > 0)).all(axis=-1) & (whole > 0)
    total = np.where(fits, total, 1.0)
    mean = np.where(fits, whole / total, 1.0)
    # x^2 <= c x + max(low^2 - c low, high^2 - c high) for any c; the best c is that of the bucket of the mean or near.
    chords = low + high
    offsets = np.maximum(low**2 - chords[:, None] * low, high**2 - chords[:, None] * high)
    square = (both @ offsets.T + whole[..., None] * chords).min(axis=-1) / total
    variance = np.maximum(square - mean**2, (1e-3 * mean) ** 2)
    above = np.maximum((high * (both > 0)).max(axis=-1) - mean, 1e-3 * mean)
    share = np.where(fits, n[..., 0] / total, 0.0)
    theta = np.log1p(above * (1 - share) * effect * mean / variance) / above
    cost = variance / above**2 * (np.expm1(theta * above) - theta * above)
    return np.asarray(np.where(fits, theta * (sums[..., 0] - n[..., 0] * mean) - n[..., 0] * cost, 0.0))


def share_log_ratio(canary: float, stable: float, share: float, *, tolerance: float = 0.0) -> float:
    """Return the log Bayes factor that the requests are not split as configured.

    Against every split within `tolerance` of `share` stands a beta prior around it that is worth `_SPLIT_REQUESTS`
    requests; a martingale under `share` (without tolerance), below one under its neighbours, so it may be looked at
    after every request. With counts divided by a factor of 1 or more it still expects at most 1 (Jensen).

    References
    ----------
    Lindon, Malek (2022), arXiv 2011.03567, eq. 8, for two tracks.
    """
    a, b = _SPLIT_REQUESTS * share, _SPLIT_REQUESTS * (1 - share)
    observed = canary / (canary + stable) if canary + stable > 0 else share
    null = min(max(observed, share - tolerance), share + tolerance)
    return float(betaln(a + canary, b + stable) - betaln(a, b) - xlogy(canary, null) - xlogy(stable, 1 - null))


def limit_log_ratio(events: Floats, requests: Floats, alternative: Floats, limit: Floats) -> Floats:
    """Return log of Wald's likelihood ratio of one track's events, for `alternative` against `limit`.

    With an alternative above the limit it is an e-value for every ratio up to the limit, and the other way round.

    Parameters
    ----------
    events, requests
        (...).
    alternative
        (G,) event ratios in [0, 1].
    limit
        Event ratio in (0, 1); broadcasts against (..., G).

    Returns
    -------
    (..., G), minus infinity where the alternative is excluded.

    References
    ----------
    Wald (1945), Ann. Math. Statist. 16(2), section 5.3.

    >>> limit_log_ratio(np.array(0.0), np.array(3000.0), np.array([0.0]), np.array(0.001)).round(3)
    array([3.002])
    """
    k, n = events[..., None], requests[..., None]
    return np.asarray(xlogy(k, alternative) - xlogy(k, limit) + xlog1py(n - k, -alternative) - xlog1py(n - k, -limit))


def margin_log_ratio(events: Floats, share: Floats, alternative: Floats, margin: Floats) -> Floats:
    """Return log L of the canary's part of both tracks' rare events, for ratio `alternative` against `margin`.

    Given K events in all, the canary's part is binomial with q(r) = r w / (r w + 1 - w).

    Parameters
    ----------
    events
        (..., 2), canary and stable.
    share
        (...), the canary's share of the requests.
    alternative
        (G,) ratios of the canary's event ratio to stable's, below the margin.
    margin
        Ratio that is to be excluded; broadcasts against (..., G).

    Returns
    -------
    (..., G)

    References
    ----------
    Lindon, Malek (2022), arXiv 2011.03567, section 3.
    """
    w = share[..., None]
    both = events.sum(axis=-1)[..., None]
    return np.asarray(
        events[..., :1] * np.log(alternative / margin) - both * np.log((alternative * w + 1 - w) / (margin * w + 1 - w))
    )


def mean_log_ratio(counts: Floats, sums: Floats, payoff: Floats, slope: Floats, edges: Floats) -> Floats:
    """Return a lower bound of sum log f(x) over requests of which only the histogram and the sum are known.

    With f(x) = 1 + b (x - m) positive on the whole range, the product of f is an e-value for mean <= m (b > 0) or
    mean >= m (b < 0). log f is concave, so for any c the sum is at least sum_b h_b min(log f(x) - c x) + c S, the
    minimum taken at the ends of each bucket; c is the slope of log f at the scrape's own mean.

    Parameters
    ----------
    counts
        (..., B) requests a bucket.
    sums
        (...) their exact sum.
    payoff
        (G, B + 1) log f at each bucket edge, from 0 to the longest time possible.
    slope
        (G, 2) intercept and slope of f: f(x) = intercept + slope x.
    edges
        (B + 1,) the edges at which `payoff` is taken.

    References
    ----------
    Waudby-Smith, Ramdas (2024), JRSS-B 86(1), section 4, for the bet; the bound is concavity.
    """
    total = counts.sum(axis=-1)
    mean = np.clip(sums / np.where(total > 0, total, 1.0), edges[0], edges[-1])
    c = slope[:, 1] / (slope[:, 0] + slope[:, 1] * mean[..., None])
    tilted = payoff - c[..., None] * edges
    lowest = np.minimum(tilted[..., :-1], tilted[..., 1:])
    with_sum = (lowest * counts[..., None, :]).sum(axis=-1) + c * sums[..., None]
    without = counts @ np.minimum(payoff[:, :-1], payoff[:, 1:]).T
    return np.asarray(np.where(sums[..., None] > 0, np.maximum(with_sum, without), without))


def log_sum(logs: Floats) -> Floats:
    """Return the log of the sum of e-values along the last, short axis."""
    # Whole arrays at a time: numpy's own reductions are ten times slower along an axis of four.
    first = logs.transpose(-1, *range(logs.ndim - 1))
    top = reduce(np.maximum, first)
    top = np.where(np.isneginf(top), 0.0, top)
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(reduce(np.add, np.exp(first - top))) + top)
