"""What the load generator can do, beside a bare Locust script and wrk, and whether its counts are the gateway's.

    python -m benchmarks.load [--quick] [--wrk PROGRAM] [--json FILE] [--check]

per core   requests for each second of processor time that the generator itself spends, on one endpoint, in turns
rate       what is reached of 200 and 1000 requests a second, over 30 s, and how the arrivals are spaced
stall      the service stands still for 2 s: what p99 says in the open model, and in a closed one beside it
counts     50,000 requests through the embedded gateway at 80/20: Locust's count beside Envoy's, for each track
workers    a master and two workers, one of which is killed
pairs      with --pairs, and nothing else: base and change in one run, 20 that are 2 % slower and 20 that are equal
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

import httpx
import numpy as np
import psutil
from rich.console import Console
from rich.table import Table

import backends.local.environment as local
from backends.local.children import end_children, start_child
from backends.local.folder import StateFolder
from backends.local.loopback import free_port, responds
from loadtest.profile import validate_profile
from loadtest.results import LoadResults
from loadtest.runner import LoadRun
from loadtest.validation.spec_from_profile import load_spec
from loadtest.validation.validation_run import run_load_test
from rollout.load_test_result import Comparison
from rollout.model import Outcome, Track, Weights
from rollout.plan import parse_plan

ROOT = Path(__file__).parents[1]
USERS = 10
BIN_SECONDS = 0.1
"""Long enough for the milliseconds by which a shared machine is late not to matter."""
PAIR_SECONDS = 20
BARE = """
from locust import FastHttpUser, task
class Bare(FastHttpUser):
    @task
    def get(self):
        self.client.get("/")
"""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, and whether it is what the goal asks for."""

    name: str
    value: str
    goal: str
    met: bool


@contextmanager
def echo() -> Iterator[str]:
    """Serve the echo app on loopback, and yield its URL."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "uvicorn",
        "benchmarks.running.echo:app",
        "--port",
        str(port),
        "--log-level",
        "error",
    ]
    with tempfile.TemporaryDirectory() as folder:
        child = start_child(
            "echo",
            [*command, "--log-level", "error", "--loop", "uvloop", "--http", "httptools"],
            log=Path(folder) / "log",
        )
        try:
            while not responds(port, "/count", seconds=1.0):
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            end_children([child])


@contextmanager
def loading(url: str, **profile: object) -> Iterator[LoadRun]:
    """Put a load on a URL, and end it."""
    parsed = validate_profile(profile)
    with tempfile.TemporaryDirectory() as folder:
        run = LoadRun(load_spec(parsed, url, folder=Path()), Path(folder))
        try:
            run.start()
            yield run
        finally:
            run.stop()


def finished(url: str, **profile: object) -> LoadResults:
    """Return what a whole run counted."""
    seconds = validate_profile(profile).duration.total_seconds()
    with loading(url, **profile) as run:
        if profile.get("model") == "closed":
            time.sleep(seconds)
        else:
            run.wait(2 * seconds + 30)
        run.stop()
        return run.results()


def per_core(url: str, pid: int, seconds: float) -> float:
    """Return requests for each second of a generator's processor time."""
    process, before, count = psutil.Process(pid), _cpu(pid), _count(url)
    time.sleep(seconds)
    return (_count(url) - count) / max(_cpu(process.pid) - before, 1e-3)


def _cpu(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _count(url: str) -> int:
    return int(httpx.get(f"{url}/count").text)


def bare_locust(url: str, seconds: float) -> float:
    """Return the figure of a bare FastHttpUser script."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bare.py").write_text(BARE)
        command = [sys.executable, "-m", "locust", "-f", "bare.py", "--headless", "--only-summary", "--host", url]
        users = ["--users", str(USERS), "--spawn-rate", str(USERS)]
        return _measured([*command, *users], url, seconds, cwd=folder)


def wrk(program: str, url: str, seconds: float) -> float:
    """Return the figure of wrk."""
    command = [program, "-t1", f"-c{USERS}", f"-d{seconds + 5:.0f}s", f"{url}/"]
    return _measured(command, url, seconds, cwd=".")


def _measured(command: list[str], url: str, seconds: float, *, cwd: str) -> float:
    count = _count(url)
    child = subprocess.Popen(
        command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while _count(url) < count + 500:
            time.sleep(0.1)
        return per_core(url, child.pid, seconds)
    finally:
        child.kill()
        child.wait()


def ours(url: str, seconds: float, **profile: object) -> float:
    """Return the figure of our generator."""
    with loading(url, duration="10m", **profile) as run:
        time.sleep(1)
        return per_core(url, run.pid or 0, seconds)


def generator(wrk_program: str | None, *, rounds: int, seconds: float) -> Iterator[Figure]:
    """Compare generators on one endpoint, in turns, so that what else the machine does hits all of them."""
    found: dict[str, list[float]] = {"bare": [], "open": [], "closed": [], "wrk": []}
    with echo() as url:
        for _ in range(rounds):
            found["bare"].append(bare_locust(url, seconds))
            found["open"].append(ours(url, seconds, rate=5000.0))
            found["closed"].append(ours(url, seconds, model="closed", users=USERS))
            if wrk_program:
                found["wrk"].append(wrk(wrk_program, url, seconds))
    middle = {name: median(values) for name, values in found.items() if values}
    yield Figure("bare FastHttpUser", f"{middle['bare']:,.0f}/core-s", "", True)
    for name in ("open", "closed"):
        share = middle[name] / middle["bare"]
        yield Figure(
            f"ours, {name} model", f"{middle[name]:,.0f}/core-s, {share:.2f} of bare", ">= 0.95", share >= 0.95
        )
    told = f"{middle['wrk']:,.0f}/core-s" if "wrk" in middle else "wrk is not installed here"
    yield Figure("wrk", told, "", True)


def rates(seconds: int) -> Iterator[Figure]:
    """Ask for rates, and look at what arrives, and when."""
    with echo() as url:
        for rate, arrivals in ((200.0, "even"), (1000.0, "even"), (200.0, "poisson")):
            httpx.get(f"{url}/arrivals")
            results = finished(url, rate=rate, duration=f"{seconds}s", arrivals=arrivals)
            reached = results.requests / seconds
            times = np.array(httpx.get(f"{url}/arrivals").json())
            # Poisson counts vary by themselves: their goal is the law of the distances.
            near = abs(reached / rate - 1) <= (0.01 if arrivals == "even" else 0.05)
            late = results.lateness_ms[0.99]
            yield Figure(f"{rate:g}/s {arrivals}", f"{reached:.2f}/s, sent late p99 {late:.2f} ms", "within 1%", near)
            yield spacing(np.diff(times), arrivals)


def spacing(gaps: np.ndarray[tuple[int], np.dtype[np.float64]], arrivals: str) -> Figure:
    """Return how far the distances of arrivals, as the service saw them, are from the process asked for."""
    counts = np.bincount((np.cumsum(gaps) / BIN_SECONDS).astype(int))[:-1]
    fano, reach = float(counts.var(ddof=1) / counts.mean()), 3 * (2 / (len(counts) - 1)) ** 0.5
    told = f"counts in {BIN_SECONDS:g} s vary {fano:.2f} x Poisson's; median {np.median(gaps) * 1e3:.2f} ms"
    if arrivals == "even":
        return Figure("  distances", told, "< 0.2", fano < 0.2)
    return Figure("  distances", told, f"1 +/- {reach:.2f} (3 s.e.)", abs(fano - 1) <= reach)


def stall(seconds: int) -> Iterator[Figure]:
    """Let the service stand still for 2 s in the middle of an open and of a closed run."""
    found = {}
    for model, profile in (("open", {"rate": 200.0}), ("closed", {"model": "closed", "users": USERS})):
        with echo() as url, loading(url, duration=f"{seconds}s", **profile) as run:
            time.sleep(seconds / 2)
            httpx.get(f"{url}/stall?2", timeout=10)
            time.sleep(seconds / 2)
            run.stop()
            found[model] = run.results().tracks["stable"].latency_ms[0.99]
    yield Figure("p99 with a 2 s stall, open", f"{found['open']:,.0f} ms", ">= 1000 ms", found["open"] >= 1000)
    yield Figure("the same, closed model", f"{found['closed']:,.0f} ms", "hidden: < 500 ms", found["closed"] < 500)


def counts(requests: int, rate: float) -> Iterator[Figure]:
    """Send requests through the embedded gateway, and read Envoy's own counters."""
    plan = parse_plan((ROOT / "demo.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        world = local.start(Path(folder), plan=plan, scrape=timedelta(seconds=1), seed=1, owner_pid=os.getpid())
        try:
            world.workloads.scale(Track.CANARY, 1)
            _wait(lambda: any(pod.ready and pod.track is Track.CANARY for pod in world.workloads.pods()))
            world.router.set_weights(Weights.with_canary(20))
            before = envoy_counts(Path(folder))
            results = finished(world.gateway_url, rate=rate, duration=f"{requests / rate:.3f}s")
            time.sleep(3)  # Envoy flushes its counters once a second
            after = envoy_counts(Path(folder))
        finally:
            world.stop()
    for track, version in (("stable", plan.stable.version), ("canary", plan.canary.version)):
        sent, seen = results.tracks[track].requests, after.get(version, 0) - before.get(version, 0)
        yield Figure(f"{track}: Locust / Envoy", f"{sent:,} / {seen:,}", "equal", sent == seen)
    yield Figure(
        "all answers",
        f"{results.requests:,} of {results.sent:,}, {results.failures} failed",
        "all",
        results.abandoned == 0,
    )


def envoy_counts(folder: Path) -> dict[str, int]:
    """Return Envoy's own count of requests by version."""
    page = httpx.get(f"http://127.0.0.1:{StateFolder(folder).observed().admin_port}/stats/prometheus?usedonly").text
    found: dict[str, int] = {}
    for labels, value in re.findall(r'^\w*requests_total\{([^}]*reporter="source"[^}]*)\} (\d+)', page, re.MULTILINE):
        version = re.search(r'destination_version="([^"]*)"', labels)
        if version:
            found[version[1]] = found.get(version[1], 0) + int(value)
    return found


def workers(rate: float) -> Iterator[Figure]:
    """Let a master and two workers send, and kill one of them."""
    with echo() as url, loading(url, rate=rate, duration="10m", processes=2) as run:
        pids = run.worker_pids
        time.sleep(10)
        parts = [sum(one.sent for one in run.windows() if 3 <= one.index < 8) / 5]
        os.kill(pids[0], signal.SIGKILL)
        killed = max(one.index for one in run.windows()) + 1
        _wait(lambda: any(one.index > killed + 1 and one.sent >= 0.99 * rate for one in run.windows()))
        back = next(one.index for one in run.windows() if one.index > killed + 1 and one.sent >= 0.99 * rate)
        lost = [worker.pid for worker in run.lost]
    near = abs(parts[0] / rate - 1) <= 0.01
    yield Figure("two workers together", f"{parts[0]:.1f}/s of {rate:g}/s", "within 1%", near)
    yield Figure(
        "one killed",
        f"full rate again after {back - killed} s; reported: {lost == [pids[0]]}",
        "reported",
        lost == [pids[0]],
    )


def pairs(runs: int) -> list[Figure]:
    """Compare a change with its base in one run: one that takes 51 ms beside 50 ms, and one that takes as long."""
    return [
        *pair_figure("2 % slower", 51, runs, goal=runs),
        *pair_figure("equal", 50, runs, goal=0),
    ]


def pair_figure(name: str, change_ms: int, runs: int, *, goal: int) -> Iterator[Figure]:
    """Run pairs, and count those in which the change is called slower."""
    comparisons = [paired_run(change_ms, seed) for seed in range(runs)]
    called = sum(comparison.outcome is Outcome.FAIL for comparison in comparisons)
    ratios = [comparison.findings[0].estimate or 1.0 for comparison in comparisons]
    seen = f"called slower in {called} of {runs}; measured {min(ratios) - 1:+.2%} to {max(ratios) - 1:+.2%}"
    yield Figure(f"pairs, {name}", seen, f"{goal} of {runs}", called == goal)


def paired_run(change_ms: int, seed: int) -> Comparison:
    """Return the comparison of one run of two services, 0.5 % let pass."""
    criteria = {"slower_below": "0.5%"}
    profile = validate_profile({"rate": 100.0, "duration": f"{PAIR_SECONDS}s", "seed": seed, "criteria": criteria})
    with echo() as change, echo() as base, tempfile.TemporaryDirectory() as folder:
        url, against = f"{change}/after?{change_ms / 1000}", f"{base}/after?0.05"
        result = run_load_test(profile, url, folder=Path(folder), against=against)
    if result.comparison is None:
        raise RuntimeError("a run with a base has a comparison")
    return result.comparison


def _wait(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("waited in vain")
        time.sleep(0.1)


def shown(figures: list[Figure]) -> Table:
    """Return the table of all figures."""
    table = Table(title="The load generator")
    for heading in ("figure", "measured", "goal", ""):
        table.add_column(heading)
    for figure in figures:
        table.add_row(
            figure.name, figure.value, figure.goal, ("met" if figure.met else "MISSED") if figure.goal else ""
        )
    return table


def main() -> None:
    """Measure, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="shorter runs and fewer requests, for a first look")
    parser.add_argument("--wrk", default=shutil.which("wrk"), help="the wrk program; unless said, the one on the PATH")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 where a figure misses its goal")
    parser.add_argument("--pairs", action="store_true", help="only base and change in one run; takes half an hour")
    options = parser.parse_args()
    seconds, requests = (10, 5_000) if options.quick else (30, 50_000)
    figures = (
        pairs(runs=5 if options.quick else 20)
        if options.pairs
        else [
            *generator(options.wrk, rounds=1 if options.quick else 3, seconds=6.0),
            *rates(seconds),
            *stall(seconds),
            *counts(requests, rate=500.0),
            *workers(rate=300.0),
        ]
    )
    Console().print(shown(figures))
    if options.json:
        options.json.write_text(json.dumps([asdict(figure) for figure in figures], indent=1))
    if (missed := [figure.name for figure in figures if not figure.met]) and options.check:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
