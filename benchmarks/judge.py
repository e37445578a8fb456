"""How fast the judge is, on one core: a fleet's tick, a service's tick, a recorded day, a folder of traces.

    python -m benchmarks.judge [--traces 500] [--json FILE] [--check]

Times are of one core's work (processor time, pinned to one core where the system allows it), so that a busy machine
does not count: the median of many ticks, and a single run of what takes seconds. `--check` exits with 1 when a target
is missed. With fewer traces the folder's time is given for 500.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from analysis.evidence import kernel
from analysis.evidence.blocks import Block
from analysis.judge import Judge
from analysis.offline.backtest import backtest
from analysis.offline.traces import find_traces, read_trace
from analysis.scrapes.increments import GROUPS
from benchmarks.simulated.families import BURSTS, Family
from benchmarks.simulated.simulator import ISTIO_EDGES_MS, scrapes_of, simulate
from benchmarks.simulated.trace_writer import Rows, write_trace
from rollout.plan import parse_plan

SERVICES, METRICS = 1000, 20
FOLDER = 500
EDGES = tuple(ISTIO_EDGES_MS)
_Result = TypeVar("_Result")
HEALTHY = Family("speed", rps=100.0, error_ratio=0.001)


@dataclass(frozen=True, slots=True)
class Figure:
    """One time and the most that it may be."""

    what: str
    value: float
    unit: str
    most: float

    @property
    def missed(self) -> bool:
        """Whether it took longer than it may."""
        return self.value > self.most


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and return the exit code."""
    options = _parser().parse_args(arguments)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    figures = list(measure(the_judge(), traces=options.traces))
    Console().print(_table(figures))
    if options.json:
        options.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1), encoding="utf-8")
    return int(options.check and any(figure.missed for figure in figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traces", type=int, default=FOLDER, help="how many traces the folder holds")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a target is missed")
    return parser


def the_judge() -> Judge:
    """Return the judge of the project's own plan."""
    return Judge.for_plan(parse_plan(Path("rollout.yaml").read_text(encoding="utf-8"), source="rollout.yaml"))


def measure(judge: Judge, *, traces: int = FOLDER) -> Iterator[Figure]:
    """Yield each figure."""
    yield Figure(f"a tick of {SERVICES} services x {METRICS} metrics", 1000 * fleet_tick(judge), "ms", 10.0)
    yield Figure("a live tick of one service", 1000 * live_tick(judge), "ms", 1.0)
    with tempfile.TemporaryDirectory() as folder:
        yield Figure("24 h of 1 s scrapes, Parquet", recorded_day(judge, Path(folder)), "s", 5.0)
    with tempfile.TemporaryDirectory() as folder:
        seconds, plain = folder_of_traces(judge, Path(folder), traces)
        yield Figure(f"{FOLDER} CSV traces of 1 h at 5 s", seconds * FOLDER / traces, "s", 60.0)
    with tempfile.TemporaryDirectory() as folder:
        per_row = traces_with_pods(judge, Path(folder), max(traces // 50, 2))
        yield Figure("a row of a trace with 10 pods, to one without", per_row / plain, "x", 1.0)


def fleet_tick(judge: Judge, *, ticks: int = 41) -> float:
    """Return the median seconds of one scrape of all services: latency and 19 ratios each."""
    rng = np.random.default_rng(0)
    state = kernel.blank(SERVICES, EDGES, METRICS - 1)
    for number in range(60):
        state = kernel.learn(state, _fleet(rng, number, share=0.0))
    blocks = [_fleet(rng, 60 + number, share=0.2) for number in range(ticks)]
    seconds = []
    for block in blocks:
        began = time.process_time()
        state, _ = kernel.advance(judge.without_ratios().limits, state, block)
        seconds.append(time.process_time() - began)
    return statistics.median(seconds)


def _fleet(rng: np.random.Generator, number: int, *, share: float) -> Block:
    shape = (1, SERVICES, METRICS - 1, 2)
    totals = rng.poisson(np.where(np.arange(2) == 0, 500 * share, 500 * (1 - share)), shape).astype(np.float64)
    latency = rng.poisson(totals[:, :, 0, :, None] / len(EDGES), (1, SERVICES, 2, len(EDGES))).astype(np.float64)
    return Block(
        time=np.array([5.0 * number]),
        span=np.array([5.0]),
        requests=totals[:, :, 0],
        events=rng.binomial(totals.astype(np.int64), 0.001).astype(np.float64),
        totals=totals,
        pods=np.zeros((1, SERVICES, 2, 0, 2)),
        groups=np.zeros((1, SERVICES, GROUPS, 3)),
        latency=latency,
        sums=60 * latency.sum(axis=-1),
        weight=np.full((1, SERVICES), share),
        edges=EDGES,
    )


def live_tick(judge: Judge, *, ticks: int = 300) -> float:
    """Return the median seconds from one scrape's increments to the evidence."""
    scrapes = scrapes_of(simulate(replace(HEALTHY, duration=5.0 * ticks), runs=1, seed=1, history=3600.0), 0)
    began = int((scrapes.time <= 0).sum())
    state = judge.learn_scrapes(judge.begin(), scrapes[:began])
    seconds = []
    for index in range(began, len(scrapes)):
        tick, share = scrapes[index : index + 1], np.array([0.2])
        start = time.process_time()
        state, _ = judge.replay(state, tick, share)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def recorded_day(judge: Judge, folder: Path) -> float:
    """Return the seconds from a Parquet file of a day to what the judge would have done."""
    family = replace(HEALTHY, scrape=1.0, duration=86_400.0, steps=((0.0, 0.2),))
    path = folder / "day.parquet"
    write_trace(simulate(family, runs=1, seed=1, history=3600.0), 0, path)
    return _timed(lambda: backtest(read_trace(path), judge))[0]


def folder_of_traces(judge: Judge, folder: Path, traces: int) -> tuple[float, float]:
    """Return the seconds for a folder of CSV traces, and those a row."""
    family = replace(HEALTHY, duration=3600.0, steps=((0.0, 0.2), (1800.0, 0.5)))
    _write(family, folder, traces, Rows.GATEWAY)
    return _timed_folder(judge, folder)


def traces_with_pods(judge: Judge, folder: Path, traces: int) -> float:
    """Return the seconds a row of traces whose pods are recorded too."""
    family = replace(HEALTHY, duration=3600.0, steps=((0.0, 0.2),), pods=8, weather=BURSTS)
    _write(family, folder, traces, Rows.BOTH)
    return _timed_folder(judge, folder)[1]


def _write(family: Family, folder: Path, traces: int, rows: Rows) -> None:
    runs = simulate(family, runs=min(traces, 20), seed=1, history=600.0)
    for index in range(traces):
        write_trace(runs, index % len(runs), folder / f"{index:04}.csv", rows=rows)


def _timed_folder(judge: Judge, folder: Path) -> tuple[float, float]:
    def judged() -> int:
        rows = 0
        for path in find_traces(folder):
            trace = read_trace(path)
            rows += len(trace.time)
            backtest(trace, judge)
        return rows

    seconds, rows = _timed(judged)
    return seconds, seconds / rows


def _timed(work: Callable[[], _Result]) -> tuple[float, _Result]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result


def _table(figures: Sequence[Figure]) -> Table:
    table = Table("what", "time", "at most", "", title="speed of the judge, one core")
    for figure in figures:
        verdict = "[red]missed[/]" if figure.missed else "ok"
        table.add_row(figure.what, f"{figure.value:.3g} {figure.unit}", f"{figure.most:g} {figure.unit}", verdict)
    return table


if __name__ == "__main__":
    sys.exit(main())
