"""One counter that several scrape: an HA pair of Prometheus, or two jobs that scrape one proxy.

All of them see the same counter, at other moments, so that together they are one series with more samples. What keeps
it from being just that: a scrape takes time, so that of two samples close together the later one may be lower, and a
restart is seen by each of them in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from analysis.scrapes.counter_rows import SCRAPE_TIMEOUT, Rows
from analysis.scrapes.samples import Bools, Floats, Ints, Series


class MergedCounter(NamedTuple):
    """What is known of a counter, whoever scraped it."""

    time: float
    """When it was last scraped."""
    value: float
    """The highest since its last reset."""
    reset: float = -np.inf
    """When the last reset was first seen."""
    base: float = 0.0
    """The value that it grows from, and since when: not counted, unless another shows that it began at 0 since."""
    base_time: float = -np.inf


class ReplicaSamples(NamedTuple):
    """One counter's new samples in order of time, (M,) each, and how they stand in their own series."""

    time: Floats
    value: Floats
    since: Floats
    """When its target was scraped before; minus infinity where it was not."""
    is_reset: Bools
    is_born: Bools
    """Which are the first of a series that was not there at that scrape."""
    target: Ints


def _key_of(series: Series) -> Series:
    """Return what a counter's series have in common, whoever scraped them."""
    return series._replace(target="")


def _first_counter(samples: ReplicaSamples) -> MergedCounter:
    """Return what is known of a counter at its first sample."""
    time, value = float(samples.time[0]), float(samples.value[0])
    return MergedCounter(time, 0.0) if samples.is_born[0] else MergedCounter(time, value, base=value, base_time=time)


def last_counters(last: Iterable[tuple[Series, float, float]]) -> dict[Series, MergedCounter]:
    """Return what is known of counters that had one series each so far, from its last time and value."""
    counters: dict[Series, MergedCounter] = {}
    for series, time, value in last:
        key = _key_of(series)
        if key not in counters or counters[key].time < time:
            counters[key] = MergedCounter(time, value)
    return counters


def shared_targets(proxies: Mapping[str, str]) -> frozenset[str]:
    """Return the targets, of these with their proxies, that are not their proxy's only one."""
    samples: dict[str, int] = {}
    for proxy in proxies.values():
        samples[proxy] = samples.get(proxy, 0) + 1
    return frozenset(target for target, proxy in proxies.items() if samples[proxy] > 1)


def _by_key(keys: Ints, time: Floats) -> Iterator[tuple[int, Ints]]:
    """Yield each counter with the places of its samples (M,), in order of time."""
    order = np.lexsort((time, keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    for places in np.split(order, starts[1:]) if len(order) else ():
        yield int(keys[places[0]]), places


def counted_once(
    counters: dict[Series, MergedCounter],
    shared: frozenset[str],
    series: tuple[Series, ...],
    rows: Rows,
    amount: Floats,
    is_reset: Bools,
    is_born: Bools,
) -> tuple[Floats, dict[Series, MergedCounter]]:
    """Return the growth (M,) with counters that several targets show counted once, and their state after it."""
    if not shared:
        return amount, counters
    keys: dict[Series, int] = {}
    targets: dict[str, int] = {}
    key = np.array([keys.setdefault(_key_of(name), len(keys)) if name.target in shared else -1 for name in series])
    target = np.array([targets.setdefault(name.target, len(targets)) for name in series])[rows.column]
    selected, names, amount = np.flatnonzero(key[rows.column] >= 0), list(keys), amount.copy()
    fell = is_reset | (rows.value < rows.before)
    for number, places in _by_key(key[rows.column[selected]], rows.time[selected]):
        at = selected[places]
        samples = ReplicaSamples(rows.time[at], rows.value[at], rows.since[at], fell[at], is_born[at], target[at])
        amount[at], counters[names[number]] = merged(counters.get(names[number]) or _first_counter(samples), samples)
    return amount, counters


def merged(counter: MergedCounter, samples: ReplicaSamples) -> tuple[Floats, MergedCounter]:
    """Return by how much a counter grew at each sample (M,), and its state after them.

    >>> times, values = np.array([10.0, 12.0, 20.0, 22.0]), np.array([7.0, 6.0, 1.0, 3.0])
    >>> resets, since = np.array([False, False, True, True]), np.array([0.0, 2.0, 10.0, 12.0])
    >>> samples = ReplicaSamples(times, values, since, resets, resets & False, np.array([0, 1, 0, 1]))
    >>> growth, counter = merged(MergedCounter(2.0, 5.0), samples)
    >>> growth.tolist()
    [2.0, 0.0, 1.0, 2.0]
    """
    highest = np.maximum.accumulate(np.append(counter.value, samples.value))
    is_plain = np.diff(samples.time, prepend=counter.time) <= SCRAPE_TIMEOUT
    is_plain |= samples.value >= highest[:-1]
    is_plain &= ~samples.is_reset & ~samples.is_born & (np.isneginf(samples.since) | (samples.since >= counter.reset))
    if is_plain.all() and (samples.time >= counter.reset).all():
        return np.diff(highest), counter._replace(
            time=max(counter.time, float(samples.time[-1])), value=float(highest[-1])
        )
    return _one_by_one(counter, samples)


def _one_by_one(counter: MergedCounter, samples: ReplicaSamples) -> tuple[Floats, MergedCounter]:
    """Return what `merged` does, where there are resets.

    The first target to see a reset tells it. What another shows may be older than it says, until that has seen the
    reset as well, or has a second sample.
    """
    growth = np.zeros(len(samples.time))
    last, value, reset, base, base_time = counter
    unsure: set[int] = set()
    for index, (time, sample, since, is_reset, is_born, target) in enumerate(
        zip(*(column.tolist() for column in samples), strict=True)
    ):
        if time < reset:
            continue
        is_stale = -np.inf < since < reset
        is_first_seen = sample < value and (is_reset or time - last > SCRAPE_TIMEOUT)
        if (is_first_seen and not is_stale and target not in unsure) or (is_born and since >= last):
            value, reset, base, growth[index] = sample, time, 0.0, sample
        elif is_stale and not is_reset:
            unsure.add(target)
        elif sample < value == base and base_time > -np.inf:
            value = base = sample
        else:
            unsure.discard(target)
            growth[index], value = max(sample - value, 0.0), max(sample, value)
        if is_born and since < base_time:
            growth[index] += base
            base = 0.0
        last = max(last, time)
    return growth, MergedCounter(last, value, reset, base, base_time)
