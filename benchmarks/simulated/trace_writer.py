"""Writes a simulated rollout as a recorded trace: the counters that a server would have been asked for."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv, parquet

from benchmarks.simulated.families import Family
from benchmarks.simulated.simulator import CANARY, ISTIO_EDGES_MS, Runs, canary_pods, configured_share

Floats = npt.NDArray[np.float64]
TRACKS = ("canary", "stable")
METRICS = ("requests_total", "errors_total", *["duration_ms_bucket"] * 20, "duration_ms_sum", "duration_ms_count")
EDGES = ("", "", *(f"{edge:.12g}" if np.isfinite(edge) else "+Inf" for edge in ISTIO_EDGES_MS), "", "")


class Rows(StrEnum):
    """Who counted: the gateway (an empty pod), the pods, or both the same requests."""

    GATEWAY = "gateway"
    PODS = "pods"
    BOTH = "both"


def write_trace(runs: Runs, index: int, path: Path, *, rows: Rows = Rows.GATEWAY, seed: int = 0) -> None:
    """Write one run as CSV or, when the path ends so, as Parquet.

    Parameters
    ----------
    runs, index
        Which run.
    path
        Where to.
    rows
        Which counters; those of pods need a family with pods.
    seed
        Of the draw that says which pod gave which of the track's latencies.
    """
    table = trace_table(runs, index, rows=rows, seed=seed)
    if path.suffix == ".parquet":
        parquet.write_table(table, path)
    else:
        csv.write_csv(table, path, csv.WriteOptions(quoting_style="none"))


def trace_table(runs: Runs, index: int, *, rows: Rows = Rows.GATEWAY, seed: int = 0) -> pa.Table:
    """Return one run as the long table of a trace, in order of time."""
    time = np.append(runs.time[0] - runs.family.scrape, runs.time)
    seen = np.concatenate([np.ones((1, 2), dtype=bool), runs.present[index]])
    parts = [_weights(runs.family, time)]
    if rows != Rows.PODS:
        parts += [_series(time, seen[:, track], _gateway(runs, index, track), track, "") for track in (0, 1)]
    if rows != Rows.GATEWAY:
        parts += _pods(runs, index, time, seen, np.random.default_rng(seed))
    table = pa.concat_tables(parts)
    return table.take(np.argsort(table["timestamp"].to_numpy(), kind="stable"))


def _weights(family: Family, time: Floats) -> pa.Table:
    time = time[time >= 0]
    return _table(time, "canary", "", ["weight"] * len(time), [""] * len(time), _share_from(family, time))


def _share_from(family: Family, time: Floats) -> Floats:
    """Return the share that holds from each moment on."""
    return configured_share(family, time + family.scrape)


def _gateway(runs: Runs, index: int, track: int) -> Floats:
    """Return a track's increments, (T, 24), in the order of `METRICS`."""
    return _columns(
        runs.requests[index, :, track],
        runs.errors[index, :, track],
        runs.latency[index, :, track],
        runs.sums[index, :, track],
    )


def _columns(requests: Floats, errors: Floats, latency: Floats, sums: Floats) -> Floats:
    return np.column_stack([requests, errors, np.cumsum(latency, axis=-1), sums, requests])


def _series(time: Floats, seen: npt.NDArray[np.bool_], increments: Floats, track: int, pod: str) -> pa.Table:
    """Return one counter set's samples at the scrapes seen; the canary's begin at 0."""
    totals = np.cumsum(np.concatenate([np.zeros((1, 24)), increments]), axis=0)
    kept = seen & (time >= 0) if track == CANARY else seen
    count = int(kept.sum())
    return _table(
        np.repeat(time[kept], 24), TRACKS[track], pod, list(METRICS) * count, list(EDGES) * count, totals[kept].ravel()
    )


def _pods(
    runs: Runs, index: int, time: Floats, seen: npt.NDArray[np.bool_], rng: np.random.Generator
) -> list[pa.Table]:
    tables = []
    for track in (0, 1):
        counts = runs.pods[index, :, track]
        latency = _dealt(rng, runs.latency[index, :, track], counts[..., 1])
        share = counts[..., 1] / np.maximum(runs.requests[index, :, track, None], 1)
        for pod in range(counts.shape[1]):
            sums = runs.sums[index, :, track] * share[:, pod]
            increments = _columns(counts[:, pod, 1], counts[:, pod, 0], latency[:, pod], sums)
            up = seen[:, track] & (time >= _born(runs.family, track, pod))
            tables.append(_series(time, up, increments, track, f"{TRACKS[track]}-{pod}"))
    return tables


def _born(family: Family, track: int, pod: int) -> float:
    """Return when a pod is first scraped."""
    if track != CANARY:
        return -np.inf
    return next((start for start, share in family.steps if canary_pods(family, share) > pod), np.inf)


def _dealt(rng: np.random.Generator, latency: Floats, requests: Floats) -> Floats:
    """Return each pod's buckets (T, P, 20), given the track's (T, 20) and each pod's requests (T, P)."""
    left, dealt = latency.astype(np.int64), []
    for pod in range(requests.shape[1]):
        hand = [
            rng.multivariate_hypergeometric(buckets, int(size))
            for buckets, size in zip(left, requests[:, pod], strict=True)
        ]
        dealt.append(np.array(hand))
        left = left - dealt[-1]
    return np.stack(dealt, axis=1).astype(np.float64)


def _table(time: Floats, track: str, pod: str, metric: list[str], le: list[str], value: Floats) -> pa.Table:
    names = {"track": [track] * len(time), "pod": [pod] * len(time), "metric": metric, "le": le}
    texts = {name: pa.array(words, pa.string()) for name, words in names.items()}
    return pa.table({"timestamp": pa.array(time), **texts, "value": pa.array(value)})
