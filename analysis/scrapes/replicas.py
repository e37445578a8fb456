"""One counter that several scrape: an HA pair of Prometheus, or two jobs that scrape one proxy.

All of them see the same counter, at other moments, so that together they are one series with more samples. What keeps
it from being just that: a scrape takes time, so that of two samples close together the later one may be lower, and a
restart is seen by each of them in turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from analysis.scrapes.counter_rows import Rows
from analysis.scrapes.samples import Bools, Floats, Ints, Series

SCRAPE_TIMEOUT = 10.0
"""Seconds that a scrape may take: by so much samples of two can come in the wrong order. Prometheus' default."""


class View(NamedTuple):
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


class Seen(NamedTuple):
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


def _first_view(seen: Seen) -> View:
    """Return what is known of a counter at its first sample."""
    time, value = float(seen.time[0]), float(seen.value[0])
    return View(time, 0.0) if seen.is_born[0] else View(time, value, base=value, base_time=time)


def last_views(last: Iterable[tuple[Series, float, float]]) -> dict[Series, View]:
    """Return what is known of counters that had one series each so far, from its last time and value."""
    views: dict[Series, View] = {}
    for series, time, value in last:
        key = _key_of(series)
        if key not in views or views[key].time < time:
            views[key] = View(time, value)
    return views


def shared_targets(proxies: Mapping[str, str]) -> frozenset[str]:
    """Return the targets, of these with their proxies, that are not their proxy's only one."""
    seen: dict[str, int] = {}
    for proxy in proxies.values():
        seen[proxy] = seen.get(proxy, 0) + 1
    return frozenset(target for target, proxy in proxies.items() if seen[proxy] > 1)


def _by_key(keys: Ints, time: Floats) -> Iterator[tuple[int, Ints]]:
    """Yield each counter with the places of its samples (M,), in order of time."""
    order = np.lexsort((time, keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=-1))
    for places in np.split(order, starts[1:]) if len(order) else ():
        yield int(keys[places[0]]), places


def counted_once(
    views: dict[Series, View],
    shared: frozenset[str],
    series: tuple[Series, ...],
    rows: Rows,
    amount: Floats,
    is_reset: Bools,
    is_born: Bools,
) -> tuple[Floats, dict[Series, View]]:
    """Return the growth with counters that several targets show counted once, and what is known of them then."""
    if not shared:
        return amount, views
    keys: dict[Series, int] = {}
    targets: dict[str, int] = {}
    key = np.array([keys.setdefault(_key_of(one), len(keys)) if one.target in shared else -1 for one in series])
    target = np.array([targets.setdefault(one.target, len(targets)) for one in series])[rows.column]
    ours, names, amount = np.flatnonzero(key[rows.column] >= 0), list(keys), amount.copy()
    fell = is_reset | (rows.value < rows.before)
    for number, places in _by_key(key[rows.column[ours]], rows.time[ours]):
        at = ours[places]
        seen = Seen(rows.time[at], rows.value[at], rows.since[at], fell[at], is_born[at], target[at])
        amount[at], views[names[number]] = merged(views.get(names[number]) or _first_view(seen), seen)
    return amount, views


def merged(view: View, seen: Seen) -> tuple[Floats, View]:
    """Return by how much a counter grew at each sample (M,), and what is known of it then.

    >>> times, values = np.array([10.0, 12.0, 20.0, 22.0]), np.array([7.0, 6.0, 1.0, 3.0])
    >>> resets, since = np.array([False, False, True, True]), np.array([0.0, 2.0, 10.0, 12.0])
    >>> seen = Seen(times, values, since, resets, resets & False, np.array([0, 1, 0, 1]))
    >>> growth, view = merged(View(2.0, 5.0), seen)
    >>> growth.tolist()
    [2.0, 0.0, 1.0, 2.0]
    """
    highest = np.maximum.accumulate(np.append(view.value, seen.value))
    is_plain = np.diff(seen.time, prepend=view.time) <= SCRAPE_TIMEOUT
    is_plain |= seen.value >= highest[:-1]
    is_plain &= ~seen.is_reset & ~seen.is_born & (np.isneginf(seen.since) | (seen.since >= view.reset))
    if is_plain.all() and (seen.time >= view.reset).all():
        return np.diff(highest), view._replace(time=max(view.time, float(seen.time[-1])), value=float(highest[-1]))
    return _one_by_one(view, seen)


def _one_by_one(view: View, seen: Seen) -> tuple[Floats, View]:
    """Return what `merged` does, where there are resets.

    The first target to see a reset tells it. What another shows may be older than it says, until that has seen the
    reset as well, or has a second sample.
    """
    growth = np.zeros(len(seen.time))
    last, value, reset, base, base_time = view
    unsure: set[int] = set()
    for index, (time, sample, since, is_reset, is_born, target) in enumerate(
        zip(*(column.tolist() for column in seen), strict=True)
    ):
        if time < reset:
            continue
        is_stale = -np.inf < since < reset
        is_told = sample < value and (is_reset or time - last > SCRAPE_TIMEOUT)
        if (is_told and not is_stale and target not in unsure) or (is_born and since >= last):
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
    return growth, View(last, value, reset, base, base_time)
