"""How soon any test could find a fault, on average, with stable's law unknown.

Lorden (1971), Ann. Math. Statist. 42, 1897: the delay is at least log(1 / alpha) over the information a second. Of one
request the information is J = min over P0 of w KL(Pc || P0) + (1 - w) KL(Ps || P0), reached at P0 = w Pc + (1 - w) Ps.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from benchmarks.simulated.families import Family
from benchmarks.simulated.simulator import configured_share, expected_laws, scrape_times

Floats = npt.NDArray[np.float64]


def information(canary: Floats, stable: Floats, share: Floats) -> Floats:
    """Return J in nats a request.

    Parameters
    ----------
    canary, stable
        Probabilities of the outcomes of a request, shape (..., B).
    share
        The canary's share of the requests, shape (...).
    """
    w = share[..., None]
    mixed = w * canary + (1 - w) * stable
    return np.asarray((w * _relative(canary, mixed) + (1 - w) * _relative(stable, mixed)).sum(-1))


def _relative(p: Floats, q: Floats) -> Floats:
    ratio = np.divide(p, q, out=np.ones_like(p), where=(p > 0) & (q > 0))
    return p * np.log(ratio)


def information_a_second(family: Family) -> Floats:
    """Return the nats a second that a family's fault gives, scrape by scrape, (T,); whatever its weather."""
    time = scrape_times(family)
    errors, latency = expected_laws(family, time)
    share = configured_share(family, time)
    nats = [information(law[:, 0], law[:, 1], share) for law in (errors, latency)]
    return np.asarray(family.rps * (nats[0] + nats[1]))


def bound_seconds(family: Family, *, alpha: float) -> float:
    """Return the least mean delay from a fault's onset to its finding; infinite when it never can be found."""
    nats = np.cumsum(information_a_second(family)) * family.scrape
    needed = math.log(1 / alpha)
    if nats[-1] < needed:
        return math.inf
    at = int(np.searchsorted(nats, needed))
    before = nats[at - 1] if at else 0.0
    return float((at + (needed - before) / (nats[at] - before)) * family.scrape - family.fault.onset)
