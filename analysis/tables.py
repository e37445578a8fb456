"""The tidy frame as matrices: one row a time, one column a series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Series = tuple[str, str, str, float]
"""Track, pod, metric and bucket edge: what names a counter."""

REQUESTS, ERRORS = "requests_total", "errors_total"
BUCKET, SUM, COUNT = "duration_ms_bucket", "duration_ms_sum", "duration_ms_count"
_CHUNK = 200_000
"""Rows that are looked at together: enough to be fast, little enough to stay near the processor."""
_NO_EDGE = -1.0


@dataclass(frozen=True, slots=True)
class Table:
    """Samples as a matrix: one row a time, one column a series, NaN where there is no sample."""

    times: Floats
    series: list[Series]
    rows: Ints
    """Which row of the increments, canary or stable, a series belongs to."""
    values: Floats


def tables(frame: pd.DataFrame, after: float, rows: dict[str, int], extra: tuple[str, ...]) -> Iterator[Table]:
    """Yield the new samples in chunks of time, so that a day of them needs little memory."""
    time = frame["time"].to_numpy(dtype=float)
    if (np.diff(time) < 0).any():
        order = np.argsort(time, kind="stable")
        frame, time = frame.iloc[order], time[order]
    start = int(np.searchsorted(time, after, side="right"))
    while start < len(time):
        last = min(start + _CHUNK, len(time)) - 1
        end = int(np.searchsorted(time, time[last], side="right"))
        if (table := _table(frame.iloc[start:end], rows, extra)) is not None:
            yield table
        start = end


def _table(frame: pd.DataFrame, rows: dict[str, int], extra: tuple[str, ...]) -> Table | None:
    """Return the samples of a stretch of time, or None when none is wanted."""
    metrics = {REQUESTS, ERRORS, BUCKET, SUM, COUNT, *extra}
    time, value = frame["time"].to_numpy(dtype=float), frame["value"].to_numpy(dtype=float)
    codes, words = zip(*(_coded(frame[name]) for name in ("track", "pod", "metric")), strict=True)
    keep = ~np.isnan(value)
    keep &= np.array([word in rows for word in words[0]] or [False])[codes[0]]
    keep &= np.array([word in metrics for word in words[2]] or [False])[codes[2]]
    if not keep.any():
        return None
    le = frame["le"].to_numpy(dtype=float)
    edge_code, edges = pd.factorize(np.where(np.isnan(le), _NO_EDGE, le))
    key = codes[0]
    for code, size in ((codes[1], len(words[1])), (codes[2], len(words[2])), (edge_code, len(edges))):
        key = key * size + code
    if not keep.all():
        time, value, key = time[keep], value[keep], key[keep]
    column, keys = pd.factorize(key)
    series = [_named(int(one), words, edges) for one in keys]
    line = np.cumsum(np.append(0, np.diff(time) > 0))
    values = np.full((line[-1] + 1, len(series)), np.nan)
    values[line, column] = value
    return Table(time[np.append(True, np.diff(line) > 0)], series, np.array([rows[one[0]] for one in series]), values)


def _coded(column: pd.Series[Any]) -> tuple[Ints, list[str]]:
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.codes.to_numpy().astype(np.int64), [str(word) for word in column.cat.categories]
    codes, words = pd.factorize(column.to_numpy(dtype=object))
    return codes.astype(np.int64), [str(word) for word in words]


def _named(key: int, words: tuple[list[str], ...], edges: Floats) -> Series:
    key, edge = divmod(key, len(edges))
    key, metric = divmod(key, len(words[2]))
    track, pod = divmod(key, len(words[1]))
    return words[0][track], words[1][pod], words[2][metric], float(edges[edge])
