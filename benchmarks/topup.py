"""A service with two requests a second: a healthy canary with topped-up load, and without.

    python -m benchmarks.topup [--json FILE] [--check]

Each run is a whole rollout on the embedded backend, with a real load of 2 requests a second through the gateway. With
top-up it has to be promoted in the time that its bakes take, +/- 20 %, which is what `canary plan` promises where the
load that it asks for is there; without, it has to end inconclusive, and say how many requests were missing.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

import backends.local.environment as local
from flows.canary import canary_rollout
from loadtest.runner import LoadRun, steady_spec
from rollout.events import Ended, StepEnded, StepStarted
from rollout.plan import RolloutPlan, parse_plan
from rollout.record import RolloutRecord
from wiring.composition import Target

REAL_RATE = 2.0
MISSING = re.compile(r"[\d,]+ of about [\d,]+ canary requests needed")
PLAN = """
service: canary-app
stable: {{version: v1, replicas: 3}}
canary: {{version: v2}}
baseline: {{observe: 15s}}
steps:
  - {{name: introduce, canary: 20%, replicas: 1, bake: 90s, deadline: 150s}}
  - {{name: increase, canary: 50%, replicas: 3, bake: 45s, deadline: 90s}}
criteria:
  errors: {{healthy_below: 0.1%, rollback_above: 1%}}
  success: {{healthy_above: 99.5%}}
  latency: {{statistic: mean, healthy_below: 200ms, rollback_above: 500ms}}
scrape: 1s
warm_up: 5s
load: {{mode: {mode}, ceiling: 400}}
"""


@dataclass(frozen=True, slots=True)
class TopUp:
    """How one rollout went."""

    mode: str
    state: str
    seconds: float
    """From the first step's start to the end."""
    promised: float
    """The bakes together."""
    synthetic: str
    reason: str

    @property
    def is_as_promised(self) -> bool:
        """Whether it went as it had to."""
        if self.mode == "off":
            return self.state == "held" and bool(MISSING.search(self.reason))
        return self.state == "promoted" and abs(self.seconds / self.promised - 1) <= 0.2


def rolled_out(mode: str) -> TopUp:
    """Carry a healthy rollout out beside two real requests a second."""
    plan = parse_plan(PLAN.format(mode=mode))
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder)
        world = local.start(state, plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
        real = LoadRun(steady_spec(world.gateway_url, REAL_RATE), state / "real")
        try:
            real.start()
            canary_rollout.fn(plan, Target(state=state), rollout_id="r", waits_for_person=False)
            return measured(mode, plan, world.ledger("r").read())
        finally:
            real.stop()
            world.stop()


def measured(mode: str, plan: RolloutPlan, record: RolloutRecord) -> TopUp:
    """Return what a record says of the run."""
    began = next((event.at for event in record.of(StepStarted)), None)
    ended = record.of(Ended)[0]
    findings = [f for event in record.of(StepEnded) for f in event.verdict.findings]
    told = [finding.reason for finding in findings if finding.criterion == "synthetic load"]
    bakes = sum(step.bake.total_seconds() for step in plan.steps)
    seconds = (ended.at - began).total_seconds() if began else 0.0
    return TopUp(mode, str(ended.state), seconds, bakes, "; ".join(told), ended.reason)


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--check", action="store_true", help="exit 1 where a run did not go as it had to")
    options = parser.parse_args()
    runs = []
    for mode in ("top-up", "off"):
        runs.append(rolled_out(mode))
        print(runs[-1], flush=True)
    table = Table(title="A service with 2 requests a second")
    for heading in ("load", "ended", "took s", "bakes s", "synthetic", "reason"):
        table.add_column(heading)
    for run in runs:
        table.add_row(run.mode, run.state, f"{run.seconds:.0f}", f"{run.promised:.0f}", run.synthetic, run.reason)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps([asdict(run) for run in runs], indent=1))
    if options.check and (missed := [run.mode for run in runs if not run.is_as_promised]):
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
