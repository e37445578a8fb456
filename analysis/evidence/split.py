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
from analysis.evidence.share_dispersion import ShareDispersion, overdispersion, with_block

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
class EProcess:
    """What was counted since a block began: one e-process."""

    mass: float
    """Log of its prior mass."""
    blocks: int = 0
    canary: float = 0.0
    stable: float = 0.0
    canary_counted: float = 0.0
    """The same, divided by the overdispersion."""
    stable_counted: float = 0.0

    def with_block(self, canary: float, stable: float, phi: float) -> EProcess:
        """Return it with a block added."""
        return EProcess(
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


_STEP_PROCESS = EProcess(math.log(0.5))
"""The one that begins with the step has half of the prior mass: most wrong splits are wrong from there."""


@dataclass(frozen=True, slots=True)
class SplitMonitor:
    """All that is kept from scrape to scrape."""

    configured: float = math.nan
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
    processes: tuple[EProcess, ...] = (_STEP_PROCESS,)
    wrong: EProcess | None = None
    """What was counted since the split has been wrong, while it is."""
    wrong_share: float = 0.0
    """The share when it was called wrong; likewise the log evidence."""
    wrong_evidence: float = 0.0
    right: float = 0.0
    """Log evidence that it is right again; likewise the blocks."""
    right_blocks: int = 0
    dispersion: ShareDispersion = field(default_factory=ShareDispersion)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A split that is not the one asked for."""

    observed: float
    configured: float
    requests: float
    log_evidence: float


def observe_split(
    monitor: SplitMonitor, time: Floats, span: Floats, requests: Floats, configured: Floats
) -> tuple[SplitMonitor, Bools]:
    """Return the watch after some scrapes, however they are cut, and during which the split was known to be wrong (T,).

    Parameters
    ----------
    monitor
        As it was.
    time, span
        (T,) the end of each scrape, and the seconds that it covers.
    requests
        (T, 2) canary and stable.
    configured
        (T,) the canary's share of both, 0-1.
    """
    wrong = np.zeros(len(time), dtype=bool)
    for first, last in _runs(configured):
        part = slice(first, last)
        monitor = _within_step(monitor, time[part], span[part], requests[part], float(configured[first]), wrong[part])
    return monitor, wrong


def restarted_monitor(monitor: SplitMonitor) -> SplitMonitor:
    """Return the watch with all begun again but what is known of the scatter."""
    return SplitMonitor(dispersion=monitor.dispersion.cut())


def mismatch(monitor: SplitMonitor) -> Mismatch | None:
    """Return how the split is wrong now; None while nothing shows that it is."""
    if not 0 < monitor.configured < 1:
        return None
    now = _with_open(monitor)
    if monitor.wrong is not None:
        return _mismatch(monitor, now.wrong or monitor.wrong, monitor.wrong_evidence)
    evidence, first = _evidence(now)
    return _mismatch(monitor, first, evidence) if evidence >= NEEDED else None


def _mismatch(monitor: SplitMonitor, process: EProcess, evidence: float) -> Mismatch:
    return Mismatch(process.share, monitor.configured, process.canary + process.stable, evidence)


def _within_step(
    monitor: SplitMonitor, time: Floats, span: Floats, requests: Floats, configured: float, wrong: Bools
) -> SplitMonitor:
    """Return the watch after scrapes of one step, and mark in `wrong` those at which the split was known to be it."""
    if configured != monitor.configured:
        monitor = SplitMonitor(configured=configured, dispersion=monitor.dispersion.cut())
    if not 0 < configured < 1:
        return monitor
    age = monitor.age + np.cumsum(span)
    counted = requests * (age > SETTLED_SPANS * span)[:, None]
    number = np.asarray(time // BLOCK_SECONDS)
    for first, last in _runs(number):
        if number[first] != monitor.block:
            monitor = replace(_closed(monitor), block=float(number[first]), canary=0.0, stable=0.0)
        wrong[first:last] = monitor.wrong is not None
        canary, stable = counted[first:last].sum(axis=0).tolist()
        monitor = replace(monitor, canary=monitor.canary + canary, stable=monitor.stable + stable)
    return replace(monitor, age=float(age[-1]))


def _runs(values: Floats) -> list[tuple[int, int]]:
    """Return where each run of equal values begins and ends."""
    cuts = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    return list(pairwise(cuts)) if len(values) else []


def _closed(monitor: SplitMonitor) -> SplitMonitor:
    """Return the watch with the block under way taken as a whole, and what follows from it."""
    if monitor.canary + monitor.stable == 0:
        return monitor
    now = _with_open(monitor)
    if now.wrong is not None:
        return _right_again(monitor, now)
    evidence, first = _evidence(now)
    if evidence >= NEEDED:
        return replace(now, processes=(), wrong=first, wrong_share=first.share, wrong_evidence=evidence)
    new = EProcess(math.log(0.5) + _HAZARD + now.closed * math.log1p(-math.exp(_HAZARD)))
    # A share that changes must not pass for scatter: it would hide itself.
    is_quiet = evidence < SUSPICIOUS
    dispersion = (
        with_block(now.dispersion, monitor.canary, monitor.stable, monitor.configured)
        if is_quiet
        else now.dispersion.cut()
    )
    return replace(now, processes=_pruned((*now.processes, new)), dispersion=dispersion)


def _right_again(monitor: SplitMonitor, now: SplitMonitor) -> SplitMonitor:
    """Return the watch begun anew once the split has been right for some blocks, as against what it was."""
    phi = _phi(monitor)
    canary, stable, configured = monitor.canary / phi, monitor.stable / phi, monitor.configured
    nearest = min(max(canary / (canary + stable), _low(configured)), _high(configured))
    as_asked, as_wrong = (_log_likelihood(canary, stable, share) for share in (nearest, now.wrong_share))
    right = max(now.right + as_asked - as_wrong, 0.0)
    is_right = (
        right > 0
        and share_log_ratio(canary, stable, configured, tolerance=TOLERANCE * min(configured, 1 - configured)) <= 0
    )
    blocks = now.right_blocks + 1 if is_right else 0
    if right >= RIGHT_NEEDED and blocks >= RIGHT_BLOCKS:
        return SplitMonitor(configured=configured, age=now.age, dispersion=now.dispersion.cut())
    return replace(now, right=right if is_right else 0.0, right_blocks=blocks)


def _with_open(monitor: SplitMonitor) -> SplitMonitor:
    """Return the watch with the block under way counted."""
    if monitor.canary + monitor.stable == 0:
        return monitor
    phi = _phi(monitor)
    wrong = monitor.wrong.with_block(monitor.canary, monitor.stable, phi) if monitor.wrong else None
    processes = tuple(process.with_block(monitor.canary, monitor.stable, phi) for process in monitor.processes)
    return replace(monitor, processes=processes, wrong=wrong, closed=monitor.closed + 1)


def _phi(monitor: SplitMonitor) -> float:
    return overdispersion(monitor.dispersion) + (monitor.canary + monitor.stable) / BLOCK_CLIENTS


def _evidence(monitor: SplitMonitor) -> tuple[float, EProcess]:
    """Return the log of the sum of all e-processes, and the one that has most of it."""
    tolerance = TOLERANCE * min(monitor.configured, 1 - monitor.configured)
    logs = [
        process.mass
        + share_log_ratio(process.canary_counted, process.stable_counted, monitor.configured, tolerance=tolerance)
        for process in monitor.processes
    ]
    return float(np.logaddexp.reduce(logs)), monitor.processes[int(np.argmax(logs))]


def _pruned(processes: tuple[EProcess, ...]) -> tuple[EProcess, ...]:
    """Return few e-processes of each order of age, and the step's own; which they are depends on their age alone."""
    remaining = [processes[0]]
    ages: dict[int, int] = {}
    for process in reversed(processes[1:]):
        order = process.blocks.bit_length()
        ages[order] = ages.get(order, 0) + 1
        if ages[order] <= _EACH_AGE:
            remaining.insert(1, process)
    return tuple(remaining)


def _log_likelihood(canary: float, stable: float, share: float) -> float:
    return float(xlogy(canary, share) + xlog1py(stable, -share))


def _low(configured: float) -> float:
    return configured - TOLERANCE * min(configured, 1 - configured)


def _high(configured: float) -> float:
    return configured + TOLERANCE * min(configured, 1 - configured)
