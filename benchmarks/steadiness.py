"""Healthy demos are promoted, and an outage of both tracks is held and then promoted, run after run.

    python -m benchmarks.steadiness [--runs 10] [--fault outage] [--json FILE] [--check]

For each run: how it ended, requests sent, requests that no copy of the service answered (client side), the largest
distance of an observed share from its weight in standard deviations, and whether common mode was said.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.running.demos import run_demo
from rollout.events import (
    DecisionMade,
    LoadSummary,
    StepEnded,
    VerdictChanged,
)
from rollout.model import Basis
from rollout.record import RolloutRecord

LEAST_REQUESTS = 20_000
WIDEST_SIGMAS = 3.29
"""The two-sided 99.9 % interval of the binomial."""


@dataclass(frozen=True, slots=True)
class DemoRun:
    """What one demo showed."""

    ended: str
    seconds: float
    requests: int
    unanswered: int
    sigmas: float
    common_mode: bool
    rollbacks: int


def measured(record: RolloutRecord) -> DemoRun:
    """Return what a record shows."""
    load = record.of(LoadSummary)[0]
    verdicts = [event.verdict for event in record.of(VerdictChanged)]
    decisions = [str(event.decision) for event in record.of(DecisionMade)]
    started, ended = record.started, record.ended
    if started is None or ended is None:
        sys.exit("the record has no beginning or no end")
    return DemoRun(
        ended=ended.state,
        seconds=(ended.at - started.at).total_seconds(),
        requests=load.requests,
        unanswered=load.failures_by_track.get("none", 0),
        sigmas=max((sigmas(event, record) for event in record.of(StepEnded)), default=0.0),
        common_mode=any(finding.basis is Basis.COMMON_MODE for verdict in verdicts for finding in verdict.findings),
        rollbacks=decisions.count("roll back"),
    )


def sigmas(ended: StepEnded, record: RolloutRecord) -> float:
    """Return how far a step's observed share lay from its weight, in standard deviations of the binomial."""
    shares = {step.name: step.canary / 100 for step in record.started.plan.steps} if record.started else {}
    share, observed = shares[ended.step], ended.observed or 0.0
    deviation = math.sqrt(share * (1 - share) / max(ended.requests, 1))
    if deviation == 0:
        return 0.0 if observed == share else math.inf
    return abs(observed - share) / deviation


def shown(runs: Sequence[DemoRun], fault: str) -> Table:
    """Return the table of all runs."""
    table = Table(title=f"Demos in a row, {f'fault {fault}' if fault else 'healthy'}")
    for heading in (
        "run",
        "ended",
        "seconds",
        "requests",
        "unanswered",
        "share off by (sd)",
        "common mode",
        "rollbacks",
    ):
        table.add_column(heading, justify="right")
    for number, run in enumerate(runs, 1):
        said = "said" if run.common_mode else "-"
        figures = (f"{run.seconds:.0f}", f"{run.requests:,}", str(run.unanswered), f"{run.sigmas:.1f}")
        table.add_row(str(number), run.ended, *figures, said, str(run.rollbacks))
    return table


def misses(runs: Sequence[DemoRun], fault: str) -> list[str]:
    """Return what falls short, a sentence each."""
    said = [f"{sum(run.rollbacks > 0 for run in runs)} rolled back"] if any(run.rollbacks for run in runs) else []
    if any(run.unanswered for run in runs):
        said.append("requests were lost")
    if any(run.requests < LEAST_REQUESTS for run in runs):
        said.append(f"fewer than {LEAST_REQUESTS:,} requests")
    if any(run.sigmas > WIDEST_SIGMAS for run in runs):
        said.append("an observed share does not fit its weight")
    if fault == "outage" and not all(run.common_mode for run in runs):
        said.append("common mode was not said")
    return said


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--fault", default="", choices=["", "outage"])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 where a run falls short")
    options = parser.parse_args()
    runs = []
    for number in range(1, options.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            fault = ["--fault", options.fault] if options.fault else []
            runs.append(measured(run_demo(Path(folder), *fault, "--seed", str(number), expected=0)))
            print(f"run {number}: {runs[-1].ended} after {runs[-1].seconds:.0f} s", flush=True)
    Console().print(shown(runs, options.fault))
    if options.json:
        options.json.write_text(json.dumps([asdict(run) for run in runs], indent=1))
    if options.check and (short := misses(runs, options.fault)):
        sys.exit("missed: " + "; ".join(short))


if __name__ == "__main__":
    main()
