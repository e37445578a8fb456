"""Whether the traffic is split as asked, at all times: a sequential test over blocks of a minute, with bounded memory.

An e-process begins with every block. A share that leaves its interval late in a step is seen by those that began
about then, however long the split was right before; one that was never right is seen by the step's own. Each asks
whether the canary's requests are binomial with any share within the tolerance of the one asked for. Counts are
divided by how much more than binomial they scatter, so that clients that stay on one track are no alarm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from scipy.special import xlog1py, xlogy

from analysis.evidence.sequential import share_log_ratio
from analysis.evidence.share_dispersion import Spread, overdispersion, with_block

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

BLOCK_SECONDS = 60.0
TOLERANCE = 0.05
"""Part of the smaller share by which the true one may differ from the one asked for."""
NEEDED = math.log(1 / 0.001)
"""Log evidence of a wrong split: a right one is called wrong once in 1,000 steps at most."""
SUSPICIOUS = 0.0
"""Log evidence from which on nothing is learnt of the scatter."""
RIGHT_NEEDED = math.log(20)
"""Log evidence for the share asked for, against the one that was seen, at which a wrong split is right again."""
RIGHT_BLOCKS = 3
"""Blocks that it has to last."""
BLOCK_CLIENTS = 600.0
"""Requests of one block that count at most: the share of a minute's traffic scatters by itself, however much it is."""
SETTLED_SPANS = 2.5
"""Scrapes after a new weight that are not counted: the gateway's flush and the scrape each lag behind it."""
_HAZARD = math.log(1 / 1440)
"""Log of the prior mass of a change in a block that comes: one a day."""
_EACH_AGE = 2
"""E-processes that are kept of each power of two of blocks of age."""


@dataclass(frozen=True, slots=True)
class Since:
    """What was counted since a block began: one e-process."""

    mass: float
    """Log of its prior mass."""
    blocks: int = 0
    canary: float = 0.0
    stable: float = 0.0
    canary_counted: float = 0.0
    """The same, divided by the overdispersion."""
    stable_counted: float = 0.0

    def with_block(self, canary: float, stable: float, phi: float) -> Since:
        """Return it with a block added."""
        return Since(
            self.mass,
            self.blocks + 1,
            self.canary + canary,
            self.stable + stable,
            self.canary_counted + canary / phi,
            self.stable_counted + stable / phi,
        )

    @property
    def share(self) -> float:
        """The canary's share of all requests."""
        return self.canary / max(self.canary + self.stable, 1.0)


_BEGUN = Since(math.log(0.5))
"""The one that begins with the step has half of the prior mass: most wrong splits are wrong from there."""


@dataclass(frozen=True, slots=True)
class SplitWatch:
    """All that is kept from scrape to scrape."""

    asked: float = math.nan
    """The share of the step, 0-1."""
    age: float = 0.0
    """Seconds since it was asked for."""
    block: float = math.nan
    """Number of the block under way."""
    canary: float = 0.0
    """Requests in it; likewise stable's."""
    stable: float = 0.0
    closed: int = 0
    """Blocks before it, since the watch began anew."""
    starts: tuple[Since, ...] = (_BEGUN,)
    wrong: Since | None = None
    """What was counted since the split has been wrong, while it is."""
    wrong_share: float = 0.0
    """The share when it was called wrong; likewise the log evidence."""
    wrong_evidence: float = 0.0
    right: float = 0.0
    """Log evidence that it is right again; likewise the blocks."""
    right_blocks: int = 0
    spread: Spread = field(default_factory=Spread)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A split that is not the one asked for."""

    observed: float
    asked: float
    requests: float
    log_evidence: float


def watched(watch: SplitWatch, time: Floats, span: Floats, requests: Floats, asked: Floats) -> tuple[SplitWatch, Bools]:
    """Return the watch after some scrapes, however they are cut, and during which the split was known to be wrong (T,).

    Parameters
    ----------
    watch
        As it was.
    time, span
        (T,) the end of each scrape, and the seconds that it covers.
    requests
        (T, 2) canary and stable.
    asked
        (T,) the canary's share of both, 0-1.
    """
    wrong = np.zeros(len(time), dtype=bool)
    for first, last in _runs(asked):
        part = slice(first, last)
        watch = _within_step(watch, time[part], span[part], requests[part], float(asked[first]), wrong[part])
    return watch, wrong


def begun_anew(watch: SplitWatch) -> SplitWatch:
    """Return the watch with all begun again but what is known of the scatter."""
    return SplitWatch(spread=watch.spread.cut())


def mismatch(watch: SplitWatch) -> Mismatch | None:
    """Return how the split is wrong now; None while nothing shows that it is."""
    if not 0 < watch.asked < 1:
        return None
    now = _with_open(watch)
    if watch.wrong is not None:
        return _mismatch(watch, now.wrong or watch.wrong, watch.wrong_evidence)
    evidence, first = _evidence(now)
    return _mismatch(watch, first, evidence) if evidence >= NEEDED else None


def _mismatch(watch: SplitWatch, since: Since, evidence: float) -> Mismatch:
    return Mismatch(since.share, watch.asked, since.canary + since.stable, evidence)


def _within_step(
    watch: SplitWatch, time: Floats, span: Floats, requests: Floats, asked: float, wrong: Bools
) -> SplitWatch:
    """Return the watch after scrapes of one step, and mark in `wrong` those at which the split was known to be it."""
    if asked != watch.asked:
        watch = SplitWatch(asked=asked, spread=watch.spread.cut())
    if not 0 < asked < 1:
        return watch
    age = watch.age + np.cumsum(span)
    counted = requests * (age > SETTLED_SPANS * span)[:, None]
    number = np.asarray(time // BLOCK_SECONDS)
    for first, last in _runs(number):
        if number[first] != watch.block:
            watch = replace(_closed(watch), block=float(number[first]), canary=0.0, stable=0.0)
        wrong[first:last] = watch.wrong is not None
        canary, stable = counted[first:last].sum(axis=0).tolist()
        watch = replace(watch, canary=watch.canary + canary, stable=watch.stable + stable)
    return replace(watch, age=float(age[-1]))


def _runs(values: Floats) -> list[tuple[int, int]]:
    """Return where each run of equal values begins and ends."""
    cuts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(pairwise(cuts)) if len(values) else []


def _closed(watch: SplitWatch) -> SplitWatch:
    """Return the watch with the block under way taken as a whole, and what follows from it."""
    if watch.canary + watch.stable == 0:
        return watch
    now = _with_open(watch)
    if now.wrong is not None:
        return _right_again(watch, now)
    evidence, first = _evidence(now)
    if evidence >= NEEDED:
        return replace(now, starts=(), wrong=first, wrong_share=first.share, wrong_evidence=evidence)
    new = Since(math.log(0.5) + _HAZARD + now.closed * math.log1p(-math.exp(_HAZARD)))
    # A share that changes must not pass for scatter: it would hide itself.
    is_quiet = evidence < SUSPICIOUS
    spread = with_block(now.spread, watch.canary, watch.stable, watch.asked) if is_quiet else now.spread.cut()
    return replace(now, starts=_pruned((*now.starts, new)), spread=spread)


def _right_again(watch: SplitWatch, now: SplitWatch) -> SplitWatch:
    """Return the watch begun anew once the split has been right for some blocks, as against what it was."""
    phi = _phi(watch)
    canary, stable, asked = watch.canary / phi, watch.stable / phi, watch.asked
    nearest = min(max(canary / (canary + stable), _low(asked)), _high(asked))
    as_asked, as_wrong = (_log_likelihood(canary, stable, share) for share in (nearest, now.wrong_share))
    right = max(now.right + as_asked - as_wrong, 0.0)
    is_right = right > 0 and share_log_ratio(canary, stable, asked, tolerance=TOLERANCE * min(asked, 1 - asked)) <= 0
    blocks = now.right_blocks + 1 if is_right else 0
    if right >= RIGHT_NEEDED and blocks >= RIGHT_BLOCKS:
        return SplitWatch(asked=asked, age=now.age, spread=now.spread.cut())
    return replace(now, right=right if is_right else 0.0, right_blocks=blocks)


def _with_open(watch: SplitWatch) -> SplitWatch:
    """Return the watch with the block under way counted."""
    if watch.canary + watch.stable == 0:
        return watch
    phi = _phi(watch)
    wrong = watch.wrong.with_block(watch.canary, watch.stable, phi) if watch.wrong else None
    starts = tuple(since.with_block(watch.canary, watch.stable, phi) for since in watch.starts)
    return replace(watch, starts=starts, wrong=wrong, closed=watch.closed + 1)


def _phi(watch: SplitWatch) -> float:
    return overdispersion(watch.spread) + (watch.canary + watch.stable) / BLOCK_CLIENTS


def _evidence(watch: SplitWatch) -> tuple[float, Since]:
    """Return the log of the sum of all e-processes, and the one that has most of it."""
    tolerance = TOLERANCE * min(watch.asked, 1 - watch.asked)
    logs = [
        since.mass + share_log_ratio(since.canary_counted, since.stable_counted, watch.asked, tolerance=tolerance)
        for since in watch.starts
    ]
    return float(np.logaddexp.reduce(logs)), watch.starts[int(np.argmax(logs))]


def _pruned(starts: tuple[Since, ...]) -> tuple[Since, ...]:
    """Return few e-processes of each order of age, and the step's own; which they are depends on their age alone."""
    kept = [starts[0]]
    ages: dict[int, int] = {}
    for since in reversed(starts[1:]):
        order = since.blocks.bit_length()
        ages[order] = ages.get(order, 0) + 1
        if ages[order] <= _EACH_AGE:
            kept.insert(1, since)
    return tuple(kept)


def _log_likelihood(canary: float, stable: float, share: float) -> float:
    return float(xlogy(canary, share) + xlog1py(stable, -share))


def _low(asked: float) -> float:
    return asked - TOLERANCE * min(asked, 1 - asked)


def _high(asked: float) -> float:
    return asked + TOLERANCE * min(asked, 1 - asked)
