"""What was counted from scrape to scrape, as one value that can be cut and joined."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from zlib import crc32

import numpy as np
import numpy.typing as npt

from rollout.answers import COMPARED

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CANARY, STABLE = 0, 1
"""The rows of every table of increments."""
GROUPS = 8
"""Into how many groups stable's pods fall, by their names: order and number of pods do not matter."""


def group_of(pod: str) -> int:
    """Return the group that a pod's name falls into."""
    return crc32(pod.encode()) % GROUPS


@dataclass(frozen=True, slots=True)
class Scrapes:
    """What was counted from scrape to scrape; row 0 of each table is the canary, row 1 stable.

    `time` (T,) unix seconds; `span` (T,) seconds that each covers; `requests`, `errors`, `sums` (T, 2), the last in
    ms; `latency` (T, 2, B) requests a bucket; `answers` (T, 2, C + 1) answers of each class in
    `rollout.answers.COMPARED`, and all answers that are known; `pods` (T, 2, P, 2) errors and requests of each pod;
    `groups` (T, G, 3) timed requests, ms and pods of each group of stable's pods; `extra` (T, 2, K) further counters
    that were asked for; `edges` (B,) the buckets' upper edges in ms, the last infinite.
    """

    time: Floats
    span: Floats
    requests: Floats
    errors: Floats
    sums: Floats
    latency: Floats
    answers: Floats
    pods: Floats
    groups: Floats
    extra: Floats
    edges: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.time)

    def __getitem__(self, part: slice) -> Scrapes:
        """Return some of the scrapes."""
        return replace(self, **{name: getattr(self, name)[part] for name in (*_TIMES, *_COUNTS)})


_TIMES = ("time", "span")
_COUNTS = ("requests", "errors", "sums", "latency", "answers", "pods", "groups", "extra")


def summed(raw: Scrapes, starts: Ints, times: Floats) -> Scrapes:
    """Return the lines added up from each start to the next (T,), at these times; their spans are not known yet."""
    sums: dict[str, Any] = {name: np.add.reduceat(getattr(raw, name), starts, axis=0) for name in _COUNTS}
    return replace(raw, time=times, span=np.zeros(len(times)), **sums)


def joined(parts: list[Scrapes]) -> Scrapes:
    """Return scrapes in one piece; later parts may know more buckets and pods."""
    if len(parts) == 1:
        return parts[0]
    bins, pods = parts[-1].latency.shape[2], parts[-1].pods.shape[2]
    whole: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _TIMES}
    for name in ("requests", "errors", "sums", "answers", "groups", "extra"):
        whole[name] = np.concatenate([getattr(part, name) for part in parts])
    whole["latency"] = np.concatenate([_widened(part.latency, bins, front=True) for part in parts])
    whole["pods"] = np.concatenate([_widened(part.pods, pods, front=False) for part in parts])
    return replace(parts[-1], **whole)


def _widened(table: Floats, size: int, *, front: bool) -> Floats:
    missing = size - table.shape[2]
    widths = [(0, 0)] * table.ndim
    widths[2] = (missing, 0) if front else (0, missing)
    return np.pad(table, widths) if missing else table


def nothing(edges: tuple[float, ...], pods: tuple[int, ...], extra: int) -> Scrapes:
    """Return no scrapes, with room for these buckets, the pods of each track, and further counters."""
    edges = edges or (np.inf,)
    flat = np.zeros((0, 2))
    return Scrapes(
        time=np.zeros(0),
        span=np.zeros(0),
        requests=flat,
        errors=flat,
        sums=flat,
        latency=np.zeros((0, 2, len(edges))),
        answers=np.zeros((0, 2, len(COMPARED) + 1)),
        pods=np.zeros((0, 2, max(pods), 2)),
        groups=np.zeros((0, GROUPS, 3)),
        extra=np.zeros((0, 2, extra)),
        edges=edges,
    )
