"""How much each counter grew from sample to sample, and which counters say what counts."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from analysis.tables import REQUESTS, Series, Table

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def whole_counts(
    last: dict[Series, float], table: Table, there: Bools, gateway: Bools, extra: tuple[str, ...]
) -> Bools:
    """Return at which times each series is the verdict's (T, S): that of all pods, and those of pods until it is there.

    A further counter has no gateway's view: whether it is counted in one piece is a matter of its own.
    """
    has_no_pod = np.array([pod == "" for _, pod, _, _ in table.series])
    whole = np.repeat(gateway[:, None], len(table.series), axis=1)
    for name in extra:
        columns = np.array([metric == name for _, _, metric, _ in table.series])
        known = any(metric == name and pod == "" for _, pod, metric, _ in last)
        seen = known | np.logical_or.accumulate((there & (has_no_pod & columns)).any(axis=1))
        whole[:, columns] = seen[:, None]
    return np.asarray(whole == has_no_pod)


def increments(
    last: dict[Series, float], table: Table, there: Bools, extra: tuple[str, ...]
) -> tuple[Floats, dict[Series, float]]:
    """Return each counter's increase at each time (T, S), and its last value.

    The pod's requests tell when it was first scraped; further counters are scraped apart, and tell it of each other.
    """
    leading = {REQUESTS, *extra}
    known = {_target(one, extra) for one in last if one[2] in leading}
    first = np.where(there.any(axis=0), there.argmax(axis=0), len(there))
    born: dict[tuple[str, str, bool], int] = {}
    for one, at in zip(table.series, first, strict=True):
        if one[2] in leading:
            born[_target(one, extra)] = min(born.get(_target(one, extra), len(there)), int(at))
    born |= dict.fromkeys(known, -1)
    start = np.array(
        [
            last.get(one, 0.0 if at > born.get(_target(one, extra), len(there)) else np.nan)
            for one, at in zip(table.series, first, strict=True)
        ]
    )
    values = np.vstack([start, table.values])
    if not there.all():
        index = np.where(np.isnan(values), 0, np.arange(len(values))[:, None])
        values = np.take_along_axis(values, np.maximum.accumulate(index, axis=0), axis=0)
    previous, current = values[:-1], values[1:]
    grown = np.where(current < previous, current, current - previous)
    latest = {one: float(value) for one, value in zip(table.series, values[-1], strict=True) if not np.isnan(value)}
    return np.nan_to_num(grown), last | latest


def _target(series: Series, extra: tuple[str, ...]) -> tuple[str, str, bool]:
    """Return what a series was scraped from."""
    return series[0], series[1], series[2] in extra
