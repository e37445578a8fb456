"""Tidy frames of made-up traffic: seeded counters of two tracks, as a recorder or Prometheus would give them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.judge import Judge
from analysis.offline.backtest import Backtest, backtest_samples
from analysis.offline.recording import Trace
from analysis.scrapes.samples import NO_EDGE, Samples, Series

COLUMNS = ["time", "track", "pod", "metric", "le", "value"]
EDGES = (25.0, 50.0, 100.0, 250.0, np.inf)
PLAIN = ("requests_total", "errors_total", "duration_ms_sum", "duration_ms_count")


@dataclass(frozen=True)
class Traffic:
    """What is sent and how it is answered; `rps` is that of both tracks together."""

    rps: float = 40.0
    share: float = 0.2
    error_ratio: float = 0.01
    canary_errors: float | None = None
    canary_scale: float = 1.0
    scrape: float = 5.0
    history: int = 30
    scrapes: int = 40
    pods: int = 0
    edges: tuple[float, ...] = EDGES


def frame_of(traffic: Traffic, seed: int) -> pd.DataFrame:
    """Return the samples of one rollout; time 0 is the canary's first."""
    rng = np.random.default_rng(seed)
    parts = []
    for track in ("stable", "canary"):
        names = [f"{track}-{pod}" for pod in range(traffic.pods)] or [""]
        for pod in names:
            counted = _counted(traffic, track, len(names), rng)
            parts.append(_samples(traffic, track, pod, counted))
    frame = pd.concat(parts, ignore_index=True)
    return frame.sort_values("time", kind="stable", ignore_index=True)


def _counted(traffic: Traffic, track: str, pods: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return what each scrape counts: requests, errors, ms, requests, and requests up to each edge."""
    is_canary = track == "canary"
    scrapes = np.arange(-traffic.history, traffic.scrapes)
    share = np.where(scrapes < 0, float(not is_canary), traffic.share if is_canary else 1 - traffic.share)
    requests = rng.poisson(traffic.rps * traffic.scrape * share / pods)
    ratio = traffic.canary_errors if is_canary and traffic.canary_errors is not None else traffic.error_ratio
    errors = rng.binomial(requests, ratio)
    rows = []
    for count, failed in zip(requests, errors, strict=True):
        times = rng.lognormal(np.log(60 * (traffic.canary_scale if is_canary else 1)), 0.6, count)
        below = (times[:, None] <= np.array(traffic.edges)).sum(axis=0)
        rows.append([count, failed, times.sum(), count, *below])
    return np.array(rows, dtype=np.float64)


def _samples(traffic: Traffic, track: str, pod: str, counted: npt.NDArray[np.float64]) -> pd.DataFrame:
    times = (np.arange(-traffic.history, traffic.scrapes) + 1) * traffic.scrape
    first = 0 if track == "stable" else traffic.history
    values = np.vstack([np.zeros(counted.shape[1]), np.cumsum(counted[first:], axis=0)])
    times = np.append(times[first] - traffic.scrape, times[first:])
    keys = [(name, np.nan) for name in PLAIN] + [("duration_ms_bucket", edge) for edge in traffic.edges]
    columns = [
        pd.DataFrame({"time": times, "track": track, "pod": pod, "metric": name, "le": edge, "value": values[:, index]})
        for index, (name, edge) in enumerate(keys)
    ]
    return pd.concat(columns, ignore_index=True)[COLUMNS]


def split_at(frame: pd.DataFrame, cuts: list[float]) -> list[pd.DataFrame]:
    """Return the frame in pieces of time."""
    ends = [-np.inf, *sorted(cuts), np.inf]
    return [frame[(frame["time"] > start) & (frame["time"] <= end)] for start, end in pairwise(ends)]


def samples_of(frame: pd.DataFrame) -> Samples:
    """Return the rows of a frame as samples; a pod's further counters are scraped apart from its requests."""
    answers = frame["answer"] if "answer" in frame else [""] * len(frame)
    columns = (frame[name] for name in COLUMNS)
    return Samples.of_rows(
        (float(time), series_of(track, pod, metric, float(le), answer), float(value))
        for time, track, pod, metric, le, value, answer in zip(*columns, answers, strict=True)
    )


def series_of(track: str, pod: str, metric: str, le: float = np.nan, answer: str = "") -> Series:
    target = f"{track}/{pod}" if metric in (*PLAIN, "duration_ms_bucket") else f"{track}/{pod}/own"
    return Series(track, pod, metric, NO_EDGE if np.isnan(le) else le, answer, target, target)


def recorded_frame(trace: Trace) -> pd.DataFrame:
    texts = {"track": trace.track, "pod": trace.pod, "metric": trace.metric}
    columns = {name: np.array(labels.categories)[labels.codes] for name, labels in texts.items()}
    return pd.DataFrame({"time": trace.time, **columns, "le": trace.edges()[trace.le.codes], "value": trace.value})


def backtest_of(name: str, frame: pd.DataFrame, judge: Judge) -> Backtest:
    return backtest_samples(name, samples_of(frame), judge)
