"""From the first bad answer to all traffic on stable: the demo with `--fault errors=5%`, several times.

    python -m benchmarks.rollback [--runs 5] [--json FILE] [--check]

Each time is taken at the client or at the gateway, never from the judge's own clock alone:

first bad   the load generator gets the canary's first failed answer
detect      ... until the scrape that condemned the canary was judged (decision made)
act         decision -> the gateway's own word that the weights are in force
last        the load generator's last answer from the canary: from then on all traffic is on stable
verified    ... until the split was seen in the traffic that Prometheus counted
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from benchmarks.running.demos import run_demo
from rollout.events import (
    DecisionMade,
    LoadSummary,
    WeightsObserved,
    WeightsSet,
)
from rollout.record import RolloutRecord

TOTAL_SECONDS = 10.0
ACT_MILLISECONDS = 100.0


@dataclass(frozen=True, slots=True)
class Rollback:
    """One run's times, in seconds from the first bad answer unless said."""

    detect: float
    act_ms: float
    last: float
    verified: float
    reason: str


def measured(record: RolloutRecord) -> Rollback:
    """Return the times of a record that was rolled back."""
    decided = next(event for event in record.of(DecisionMade) if event.decision == "roll back")
    routed = next(event for event in record.of(WeightsSet) if event.at >= decided.at)
    seen = next(event for event in record.of(WeightsObserved) if event.at >= routed.at)
    load = record.of(LoadSummary)[0]
    bad = load.first_failures["canary"]
    return Rollback(
        detect=(decided.at - bad).total_seconds(),
        act_ms=(routed.at - decided.at).total_seconds() * 1000,
        last=(load.last_answers["canary"] - bad).total_seconds(),
        verified=(seen.at - bad).total_seconds(),
        reason=decided.reason,
    )


def shown(runs: Sequence[Rollback]) -> Table:
    """Return the table of all runs and their medians."""
    table = Table(title="From the first bad answer to all traffic on stable (5 % errors at the 20 % step)")
    for heading in ("run", "decided s", "decision -> gateway ms", "last canary answer s", "verified s"):
        table.add_column(heading, justify="right")
    rows = [(str(number), run) for number, run in enumerate(runs, 1)]
    for name, run in rows:
        table.add_row(name, f"{run.detect:.2f}", f"{run.act_ms:.0f}", f"{run.last:.2f}", f"{run.verified:.2f}")
    medians = [median(getattr(run, part) for run in runs) for part in ("detect", "act_ms", "last", "verified")]
    table.add_section()
    table.add_row("median", f"{medians[0]:.2f}", f"{medians[1]:.0f}", f"{medians[2]:.2f}", f"{medians[3]:.2f}")
    return table


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 where a median misses its goal")
    options = parser.parse_args()
    runs = []
    for seed in range(1, options.runs + 1):
        with tempfile.TemporaryDirectory() as folder:
            record = run_demo(Path(folder), "--fault", "errors=5%", "--seed", str(seed), expected=3)
            runs.append(measured(record))
    Console().print(shown(runs))
    total, act = median(run.last for run in runs), median(run.act_ms for run in runs)
    if options.json:
        options.json.write_text(
            json.dumps({"runs": [asdict(run) for run in runs], "last": total, "act_ms": act}, indent=1)
        )
    if options.check and (total > TOTAL_SECONDS or act > ACT_MILLISECONDS):
        sys.exit(f"missed: last {total:.2f} s (goal {TOTAL_SECONDS:g}), act {act:.0f} ms (goal {ACT_MILLISECONDS:g})")


if __name__ == "__main__":
    main()
