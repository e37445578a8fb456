"""By how much counters grew: the one place where a counter becomes a number of requests.

Growth is taken a series at a time, and only then may proxies be added up. A series that ends adds nothing more. A fall
is a reset, and its new value is the growth. The first sample of a series is its baseline, unless it is known to have
begun since: its target was scraped before without it, or the target's process started under our eyes. So nothing is
ever counted that did not happen while we watched; what is lost is at most what a proxy counted after its last scrape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from analysis.samples import SUM, Bools, Floats, Ints, Samples, Series

FORGOTTEN = 3600.0
"""Seconds after which a target that is scraped no more is forgotten."""
SILENT = 120.0
"""Seconds without a sample after which another target of the same proxy is read instead."""
MOST, MOST_MS = 1e15, 1e19
"""What no counter of requests, or of milliseconds, can have reached."""
FASTEST, FASTEST_MS = 1e8, 1e12
"""By how much none can grow in a second."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is known of one scrape target."""

    proxy: str
    last: float
    """When it was last scraped."""
    restarted: float = -np.inf
    """When it was first scraped after its last restart: what it counted before then is gone."""


@dataclass(frozen=True, slots=True)
class Known:
    """What was read so far: what makes reading on the same as reading all at once."""

    began: float = np.inf
    """The first sample's time."""
    time: float = -np.inf
    """The last sample's time; kept when the rest is lost with the process, which reads those samples once more."""
    last: Mapping[Series, tuple[float, float]] = field(default_factory=dict)
    """Each series' last time and value."""
    targets: Mapping[str, Target] = field(default_factory=dict)
    chosen: Mapping[str, str] = field(default_factory=dict)
    """Which target each proxy is read by, where it has several."""

    @property
    def lasting(self) -> Known:
        """What outlives the process."""
        return Known(self.began, self.time)


@dataclass(frozen=True, slots=True)
class Growth:
    """What new samples added, (G,) each; a baseline is there too, and adds 0."""

    column: Ints
    """Which of the samples' series."""
    time: Floats
    amount: Floats


@dataclass(frozen=True, slots=True)
class _Rows:
    """Samples as they are read, (M,) each, and what each is held against."""

    column: Ints
    """Which series."""
    time: Floats
    value: Floats
    since: Floats
    """The time of the sample before it; NaN where it is a baseline."""
    before: Floats
    """That sample's value; NaN likewise."""

    def where(self, keep: Bools) -> _Rows:
        """Return some of the rows, not yet held against anything."""
        return _Rows(*(getattr(self, name)[keep] for name in ("column", "time", "value", "since", "before")))

    def held_against(self, time: Floats, value: Floats) -> _Rows:
        """Return the rows held against the sample before, or against where their series (S,) begins."""
        is_first = np.append(True, np.diff(self.column) != 0)[: len(self.column)]
        since = np.where(is_first, time[self.column], np.append(np.nan, self.time)[:-1])
        before = np.where(is_first, value[self.column], np.append(np.nan, self.value)[:-1])
        return replace(self, since=since, before=before)

    @property
    def grown(self) -> Floats:
        """By how much each grew; a fall is a reset."""
        return np.nan_to_num(np.where(self.value < self.before, self.value, self.value - self.before))


def increase(known: Known, samples: Samples) -> tuple[Growth, Known]:
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
    >>> growth, known = increase(Known(), Samples.of([(gateway, [0, 5, 10], [900, 910, 4])]))
    >>> growth.amount.tolist()
    [0.0, 10.0, 4.0]
    """
    rows = _rows(samples)
    if not len(rows.time):
        return Growth(rows.column, rows.time, rows.value), known
    time, value = _baselines(known, samples, rows)
    rows = _plausible(samples, rows.where(~(rows.time <= time[rows.column])), time, value)
    restarts = _restarts(known, samples.series, rows)
    amount = np.where(_began_again(samples.series, rows, restarts), rows.value, rows.grown)
    amount = np.where((rows.since < samples.gap) & (rows.time >= samples.gap), 0.0, amount)
    later = _after(known, samples.series, rows, (time, value), restarts)
    counted, later = _counted_once(known, later, samples.series, rows)
    return Growth(rows.column[counted], rows.time[counted], amount[counted]), later


def _rows(samples: Samples) -> _Rows:
    """Return the samples that can be true."""
    column, values = samples.columns, samples.values
    keep = (values >= 0) & (values < _limits(samples.series, MOST, MOST_MS)[column])
    nothing = np.full(len(values), np.nan)
    return _Rows(column, samples.times, values, nothing, nothing).where(keep)


def _limits(series: tuple[Series, ...], count: float, ms: float) -> Floats:
    return np.array([ms if one.metric == SUM else count for one in series])


def _plausible(samples: Samples, rows: _Rows, time: Floats, value: Floats) -> _Rows:
    """Return the rows held against those before, without such as grew faster than any proxy could count."""
    fastest = _limits(samples.series, FASTEST, FASTEST_MS)
    while True:
        rows = rows.held_against(time, value)
        jumps = rows.grown > fastest[rows.column] * np.maximum(rows.time - np.nan_to_num(rows.since), 1.0)
        if not jumps.any():
            return rows
        rows = rows.where(~jumps)


def _baselines(known: Known, samples: Samples, rows: _Rows) -> tuple[Floats, Floats]:
    """Return the time and value that each series (S,) grows from; NaN where its first sample is its baseline."""
    series = samples.series
    time, value = np.full((2, len(series)), np.nan)
    for index, one in enumerate(series):
        if (last := known.last.get(one)) is not None:
            time[index], value[index] = last
    is_new = np.isnan(time)
    if not is_new.any():
        return time, value
    targets = {target: index for index, target in enumerate(dict.fromkeys(one.target for one in series))}
    target = np.array([targets[one.target] for one in series])
    scraped, first = _scraped(known, list(targets), target[rows.column], rows.time)
    # A sample that was there when the target was read last, and came late: it is what the series grows from.
    late = is_new[rows.column] & (rows.time <= scraped[target][rows.column])
    time[rows.column[late]], value[rows.column[late]] = rows.time[late], rows.value[late]
    # A target that was scraped without the series: that began at 0 since.
    begins = np.full(len(series), np.inf)
    np.minimum.at(begins, rows.column, rows.time)
    since = np.where(np.isfinite(scraped), scraped, first)[target]
    is_born = np.isnan(time) & (begins > since)
    started = np.array([samples.started.get(name, -np.inf) for name in targets])[target]
    is_fresh = np.isnan(time) & ~is_born & (started >= known.began)
    time = np.where(is_born, since, np.where(is_fresh, np.minimum(started, begins - 1e-3), time))
    return time, np.where(is_born | is_fresh, 0.0, value)


def _scraped(known: Known, targets: list[str], target: Ints, time: Floats) -> tuple[Floats, Floats]:
    """Return until when each target has been read before, and the first of its samples that are given now."""
    read, first = np.full(len(targets), -np.inf), np.full(len(targets), np.inf)
    before = time <= known.time  # all that is left of what was read, where a process took over from another
    np.maximum.at(read, target[before], time[before])
    np.minimum.at(first, target, time)
    for index, name in enumerate(targets):
        if name in known.targets:
            read[index] = known.targets[name].last
    return read, first


def _restarts(known: Known, series: tuple[Series, ...], rows: _Rows) -> dict[str, tuple[float, ...]]:
    """Return when targets were seen to have restarted, the last time before these rows first.

    After a restart a small counter may soon stand higher than before, and one that is not there yet comes back later:
    alone, neither shows a reset.
    """
    restarts: dict[str, tuple[float, ...]] = {
        name: (target.restarted,) for name, target in known.targets.items() if target.restarted > -np.inf
    }
    fell = rows.value < rows.before
    for name in dict.fromkeys(series[index].target for index in np.unique(rows.column[fell]).tolist()):
        ours = np.array([one.target == name for one in series])[rows.column]
        times = (at for at in np.unique(rows.time[ours & fell]).tolist() if _is_restart(rows, ours & (rows.time == at)))
        restarts[name] = (*restarts.get(name, ()), *times)
    return restarts


def _is_restart(rows: _Rows, scrape: Bools) -> bool:
    """Return whether most series that a scrape has, and the one before it had, fell together."""
    latest = scrape & (rows.since == rows.since[scrape & ~np.isnan(rows.since)].max())
    before, after = rows.before[latest], rows.value[latest]
    return bool(after.sum() < before.sum() and (after < before).sum() > (before > 0).sum() / 2)


def _began_again(series: tuple[Series, ...], rows: _Rows, restarts: dict[str, tuple[float, ...]]) -> Bools:
    """Return which rows are the first of their series after a restart of its target."""
    again = np.zeros(len(rows.time), dtype=bool)
    for name, times in restarts.items():
        ours = np.array([one.target == name for one in series])[rows.column]
        for at in times:
            again |= ours & (rows.since < at) & (rows.time >= at)
    return again


def _after(
    known: Known,
    series: tuple[Series, ...],
    rows: _Rows,
    read: tuple[Floats, Floats],
    restarts: dict[str, tuple[float, ...]],
) -> Known:
    """Return what is known after the rows; targets that were not scraped for long are forgotten with their series."""
    time, value = read
    is_last = np.append(np.diff(rows.column) != 0, True)[: len(rows.column)]
    time[rows.column[is_last]], value[rows.column[is_last]] = rows.time[is_last], rows.value[is_last]
    last, targets = dict(known.last), dict(known.targets)
    for one, at, count in zip(series, time.tolist(), value.tolist(), strict=True):
        if at == at:  # no NaN
            last[one] = (at, count)
            if one.target not in targets or at > targets[one.target].last:
                targets[one.target] = Target(one.proxy or one.target, at, restarts.get(one.target, (-np.inf,))[-1])
    newest = max(known.time, float(np.nanmax(time)))
    if any(newest - target.last > FORGOTTEN for target in targets.values()):
        targets = {name: target for name, target in targets.items() if newest - target.last <= FORGOTTEN}
        last = {one: seen for one, seen in last.items() if one.target in targets}
    began = min(known.began, float(np.nanmin(time)))
    return replace(known, began=began, time=newest, last=last, targets=targets)


def _counted_once(known: Known, later: Known, series: tuple[Series, ...], rows: _Rows) -> tuple[Bools, Known]:
    """Return which rows count, as no other target of their proxy counts the same, and what is known then."""
    by_proxy: dict[str, list[str]] = {}
    for name, target in later.targets.items():
        by_proxy.setdefault(target.proxy, []).append(name)
    if len(by_proxy) == len(later.targets):
        return np.ones(len(rows.time), dtype=bool), later
    given = np.bincount(rows.column, minlength=len(series))
    samples: dict[str, int] = {}
    for one, count in zip(series, given.tolist(), strict=True):
        samples[one.target] = samples.get(one.target, 0) + count
    chosen, counts_since = dict(later.chosen), dict[str, float]()
    for proxy, names in by_proxy.items():
        if len(names) > 1:
            chosen[proxy] = _chosen(known.chosen.get(proxy), names, later, samples)
            before = later.targets.get(known.chosen.get(proxy, ""))
            is_other = chosen[proxy] != known.chosen.get(proxy)
            counts_since |= {name: np.inf for name in names if name != chosen[proxy]}
            counts_since[chosen[proxy]] = before.last if before and is_other else -np.inf
    start = np.array([counts_since.get(one.target, -np.inf) for one in series])[rows.column]
    return np.isneginf(start) | (rows.since >= start), replace(later, chosen=chosen)


def _chosen(current: str | None, names: list[str], later: Known, samples: Mapping[str, int]) -> str:
    """Return the target that a proxy is read by: the same as before while it is scraped, else the one read most."""
    newest = max(later.targets[name].last for name in names)
    if current in names and newest - later.targets[current].last <= SILENT:
        return current
    return max(names, key=lambda name: (samples.get(name, 0), later.targets[name].last, name))
