"""By how much counters grew: the one place where a counter becomes a number of requests.

Growth is taken a series at a time, and only then may proxies be added up. A series that ends adds nothing more. A
fall is a reset, and its new value is the growth, unless the lateness of a scrape explains it. The first sample of a
series is its baseline, unless it is known to have begun since: its target was scraped before without it, or the
target's process started under our eyes. So nothing is ever counted that did not happen while we watched; what is lost
is at most what a proxy counted after its last scrape.

A scrape shows all that a target exposes, and its samples have one time: what is not there then does not exist. But a
target's series need not come from the same scrapes: a querier may mix those of two replicas, and cAdvisor gives each
container times of its own. So a series is only held against others that have a sample at its very moment.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.scrapes.counter_rows import SCRAPE_TIMEOUT, Last, Rows, Sample, grown, latest, new_rows
from analysis.scrapes.replicas import MergedCounter, counted_once, last_counters, shared_targets
from analysis.scrapes.samples import Bools, Floats, Ints, Samples, Series

FORGOTTEN = 3600.0
"""Seconds after which a target that is scraped no more is forgotten."""
SETTLED = 120.0
"""Seconds after which a target has shown all its series: each has a sample in two scrapes of the slowest."""
AWAY = 4.0
"""Times its own interval after which a series, whose target was scraped all the while, has begun again."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is known of one scrape target."""

    proxy: str
    first: float
    """When it was first scraped."""
    last: float
    """When it was last scraped."""
    restarted: float = -np.inf
    """When it was first scraped after its last restart: what it counted before then is gone."""
    started: float = -np.inf
    """When its process started, where that is known."""


@dataclass(frozen=True, slots=True)
class CounterState:
    """What was read so far: what makes reading on the same as reading all at once."""

    began: float = np.inf
    """Of a process that started later all was counted under our eyes."""
    time: float = -np.inf
    """The last sample's time; kept when the rest is lost with the process, which reads those samples once more."""
    whole_since: float = -np.inf
    """Since when samples were read without a gap."""
    moments: tuple[float, ...] = ()
    """When another process, that read before this one, last read each target."""
    last: Mapping[Series, Sample] = field(default_factory=dict)
    targets: Mapping[str, Target] = field(default_factory=dict)
    merged: Mapping[Series, MergedCounter] = field(default_factory=dict)
    """The counters of proxies that have several targets, each without its target."""

    @property
    def lasting(self) -> CounterState:
        """What outlives the process. Processes that started before it may have been counted already."""
        if self.time == -np.inf:
            return self
        moments = {*self.moments, *(target.last for target in self.targets.values())}
        return CounterState(
            self.time, self.time, moments=tuple(sorted(at for at in moments if self.time - at <= FORGOTTEN))
        )


@dataclass(frozen=True, slots=True)
class Growth:
    """What new samples added, (G,) each; a baseline is there too, and adds 0."""

    column: Ints
    """Which of the samples' series."""
    time: Floats
    amount: Floats


@dataclass(frozen=True, slots=True)
class _Targets:
    """The targets of some samples, (N,) each."""

    names: tuple[str, ...]
    proxies: tuple[str, ...]
    of: Ints
    """(S,) which target each series belongs to."""
    first: Floats
    last: Floats
    restarted: Floats

    @property
    def proxy_of(self) -> Mapping[str, str]:
        """The proxy of each target."""
        return dict(zip(self.names, self.proxies, strict=True))

    @classmethod
    def of_samples(cls, known: CounterState, series: tuple[Series, ...]) -> _Targets:
        proxies: dict[str, str] = {}
        places: dict[str, int] = {}
        for name in series:
            if name.target not in proxies:
                proxies[name.target], places[name.target] = name.proxy or name.target, len(places)
        seen = [known.targets.get(name) for name in proxies]
        return cls(
            names=tuple(proxies),
            proxies=tuple(proxies.values()),
            of=np.array([places[name.target] for name in series], dtype=np.int64),
            first=np.array([target.first if target else np.inf for target in seen]),
            last=np.array([target.last if target else -np.inf for target in seen]),
            restarted=np.array([target.restarted if target else -np.inf for target in seen]),
        )


def increase(known: CounterState, samples: Samples) -> tuple[Growth, CounterState]:
    """Return by how much each counter grew at each new sample, and what is known then.

    Samples that were read before are dropped, in whatever order they come. So are those that cannot be true: negative,
    not a number, or more than any proxy could have counted.

    Parameters
    ----------
    known
        What was read before.
    samples
        Counters only; a gauge may fall without a reset.

    Examples
    --------
    >>> gateway = Series("canary", "", "requests_total", target="10.0.0.1")
    >>> growth, known = increase(CounterState(), Samples.of([(gateway, [0, 5, 10], [900, 910, 4])]))
    >>> growth.amount.tolist()
    [0.0, 10.0, 4.0]
    """
    series, targets = samples.series, _Targets.of_samples(known, samples.series)
    rows, last = new_rows(known.last, known.moments, samples)
    if not (last.time > -np.inf).any() and not len(rows.time):
        return Growth(rows.column, rows.time, rows.value), known
    target, shared = targets.of[rows.column], _shared(known, targets)
    merged = _merged_counters(known, shared, series, last)
    restarts = _restarts(rows, target, targets.last)
    again = _began_again(rows, target, targets.restarted, restarts) | _was_away(rows, target, samples.since)
    amount, after = grown(rows, last, again)
    later = _after(known, samples, targets, rows, after, restarts)
    is_born, scraped = _born(known, later, samples, targets, rows)
    rows = replace(rows, since=np.where(is_born, scraped, rows.since))
    amount = np.where(is_born, rows.value, amount)
    amount, merged = counted_once(merged, shared, series, rows, amount, again, is_born)
    amount = np.where((rows.since < samples.gap) & (rows.time >= samples.gap), 0.0, amount)
    return Growth(rows.column, rows.time, amount), replace(later, merged=merged)


def _restarts(rows: Rows, target: Ints, read: Floats) -> dict[int, list[float]]:
    """Return when targets were seen to have restarted.

    After a restart a small counter may soon stand higher than before, and one that is not there yet comes back later:
    alone, neither shows a reset.
    """
    fell = rows.value < rows.before
    restarts: dict[int, list[float]] = {}
    for place in np.unique(target[fell]).tolist():
        of_target = target == place
        moments = np.append(read[place], np.unique(rows.time[of_target]))
        for at in np.unique(rows.time[of_target & fell]).tolist():
            last = moments[moments < at].max(initial=-np.inf)
            if _is_restart(rows.where(of_target & (rows.time == at) & ~rows.is_first), last):
                restarts.setdefault(place, []).append(at)
    return restarts


def _is_restart(scrape: Rows, last: float) -> bool:
    """Return whether all that a scrape and the one before it have fell together, and not all by a step back.

    One that fell alone may have been dropped by its proxy.
    """
    both = (scrape.since >= last) & (scrape.before > 0)
    fell = (scrape.value < scrape.before)[both]
    return bool(both.sum() > 1 and fell.all() and not scrape.may_be_step_back[both].all())


def _began_again(rows: Rows, target: Ints, restarted: Floats, restarts: Mapping[int, Iterable[float]]) -> Bools:
    """Return which rows are the first of their series after a restart of its target.

    Not those of a series that fell just before: another replica's scrape of the same restart may have a later time.
    """
    again = (rows.since < restarted[target]) & (rows.time >= restarted[target])
    is_just_before = rows.since > restarted[target] - SCRAPE_TIMEOUT
    for place, times in restarts.items():
        for at in times:
            is_first = (target == place) & (rows.since < at) & (rows.time >= at)
            again |= is_first
            is_just_before = np.where(is_first, rows.since > at - SCRAPE_TIMEOUT, is_just_before)
    return again & ~rows.is_first & ~((rows.before < rows.before_two) & is_just_before)


def _was_away(rows: Rows, target: Ints, requested_since: float) -> Bools:
    """Return which rows are the first of their series after scrapes of its target that were without it.

    A proxy drops counters that nobody uses, and begins them anew. A scrape or two prove nothing: Thanos, that goes over
    to another replica's samples, leaves out up to twice the time between the last two.
    """
    before = np.where(np.isneginf(rows.since_two), np.nan, rows.since)
    is_long = rows.time - before > AWAY * (before - rows.since_two)
    if not is_long.any():
        return is_long
    return np.asarray(is_long & (np.maximum(rows.since, requested_since) < latest(rows, target, rows.since_two)))


def _born(
    known: CounterState, later: CounterState, samples: Samples, targets: _Targets, rows: Rows
) -> tuple[Bools, Floats]:
    """Return which rows are the first of series that began at 0 while we watched, and the time since when (M,)."""
    is_born, since = np.zeros(len(rows.time), dtype=bool), np.full(len(rows.time), -np.inf)
    first = np.flatnonzero(rows.is_first)
    if not len(first):
        return is_born, since
    target = targets.of[rows.column]
    scraped = latest(rows, target, rows.since)[first]
    scraped[scraped <= samples.since] = -np.inf  # the series may have been there then, and come later than this one
    first_seen = {name: known_target.first for name, known_target in later.targets.items()}
    begun = np.array([first_seen.get(name, np.inf) for name in targets.names])
    began, at = begun[target[first]], rows.time[first]
    is_late = at <= targets.last[target[first]]
    scraped[is_late] = -np.inf
    settled = (at - np.maximum(began, later.whole_since) > SETTLED) & ~is_late
    started = np.array([_started(known, later, samples, name) for name in targets.names])[target[first]]
    fresh = (started > -np.inf) & (started < at) & (at == began)
    is_born[first] = (scraped > -np.inf) | settled | fresh
    since[first] = np.where(scraped > -np.inf, scraped, np.where(settled, began, started))
    return is_born, since


def _started(known: CounterState, later: CounterState, samples: Samples, name: str) -> float:
    """Return when a new target's process started, if all that it counted was under our eyes; else minus infinity.

    It may be one that was there before by another name: one that came when this one started, or later.
    """
    started = samples.started.get(name, -np.inf)
    if name in known.targets or name not in later.targets or not started >= max(later.began, later.time - FORGOTTEN):
        return -np.inf
    others = (other for other_name, other in later.targets.items() if other_name != name)
    may_be_known = any(
        max(other.first, other.restarted) >= started
        and other.started in (started, -np.inf)
        and other.proxy != later.targets[name].proxy
        for other in others
    )
    return -np.inf if may_be_known else started


def _last(series: tuple[Series, ...], read: Last) -> dict[Series, Sample]:
    """Return the last sample of each series that has one."""
    return {name: sample for name, sample in zip(series, read.samples(), strict=True) if sample.time > -np.inf}


def _after(
    known: CounterState,
    samples: Samples,
    targets: _Targets,
    rows: Rows,
    read: Last,
    restarts: Mapping[int, list[float]],
) -> CounterState:
    """Return what is known after the rows; targets that were not scraped for long are forgotten with their series."""
    last = {**known.last, **_last(samples.series, read)}
    seen, first = targets.last.copy(), targets.first.copy()
    np.maximum.at(seen, targets.of, read.time)
    at = samples.times if np.isinf(first).any() else rows.time
    np.minimum.at(first, targets.of[samples.columns if np.isinf(first).any() else rows.column], at)
    scraped = dict(known.targets)
    for place, name in enumerate(targets.names):
        if seen[place] == -np.inf:
            continue
        fallen = restarts.get(place, ())
        begun = known.targets[name].started if name in known.targets else samples.started.get(name, -np.inf)
        scraped[name] = Target(
            proxy=targets.proxies[place],
            first=float(first[place]),
            last=float(seen[place]),
            restarted=fallen[-1] if fallen else float(targets.restarted[place]),
            started=-np.inf if fallen else begun,
        )
    newest = max(known.time, float(read.time.max()))
    began = min(known.began, float(samples.times.min())) if known.began == np.inf else known.began
    if any(newest - target.last > FORGOTTEN for target in scraped.values()):
        scraped = {name: target for name, target in scraped.items() if newest - target.last <= FORGOTTEN}
        last = {series: sample for series, sample in last.items() if series.target in scraped}
    whole_since = samples.since if samples.since > known.time else known.whole_since
    return replace(known, began=began, time=newest, whole_since=whole_since, last=last, targets=scraped)


def _shared(known: CounterState, targets: _Targets) -> frozenset[str]:
    """Return the targets that are not their proxy's only one."""
    return shared_targets({name: target.proxy for name, target in known.targets.items()} | dict(targets.proxy_of))


def _merged_counters(
    known: CounterState, shared: frozenset[str], series: tuple[Series, ...], read: Last
) -> dict[Series, MergedCounter]:
    """Return what is known of the counters that several targets show."""
    if not shared:
        return {}
    last = {**known.last, **_last(series, read)}
    singly = ((name, at, value) for name, (at, value, *_) in last.items() if name.target in shared)
    return last_counters(singly) | dict(known.merged)
