"""Regenerates every figure on false rollbacks, delays and promotions: our judge beside the rules that people use.

python -m benchmarks.detection            # about a quarter of an hour on one core
python -m benchmarks.detection --quick    # a minute, coarser
python -m benchmarks.detection --json figures.json --picture docs/detection.svg --check
python -m benchmarks.detection --json figures.json --resume    # families that the file has already are kept
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np

from analysis.judge import Judge
from benchmarks.simulated.bound import bound_seconds
from benchmarks.simulated.contenders import Decisions, peeked_z_test, peers, sequential_judge
from benchmarks.simulated.families import FAULTY, HEALTHY, PROMOTABLE, Family
from benchmarks.simulated.figures import OURS, Figure, as_json, figure, from_json, in_words, pooled, tables, unmet
from benchmarks.simulated.picture import picture
from benchmarks.simulated.simulator import simulate
from rollout.plan import parse_plan

HALF_HOUR, DAY = 1800.0, 86_400.0
BATCH = 20
PLAN = Path(__file__).parent.parent / "rollout.yaml"


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is simulated."""

    runs: int
    """Rollouts of each family."""
    day_runs: int
    """Of these, watched for a whole day where the canary is healthy."""
    peer_runs: int
    """Of these, replayed through the peers' rules."""
    history: float
    """Seconds of stable alone before each."""


FULL = Effort(runs=300, day_runs=100, peer_runs=50, history=6 * 3600.0)
QUICK = Effort(runs=60, day_runs=0, peer_runs=20, history=3600.0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark as the command line says; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.resume and not (options.json and options.json.exists()):
        parser.error("--resume needs --json with a file that an earlier run wrote")
    judge, effort = the_judge(), QUICK if options.quick else FULL
    figures = from_json(options.json) if options.resume else []
    done = {each.family for each in figures}
    for part in measured(judge, effort, seed=options.seed, only=options.only, done=done):
        figures += part
        if options.json:
            options.json.write_text(json.dumps(as_json(figures), indent=1) + "\n")
    print(tables(figures), *pooled(figures), sep="\n\n")
    if options.picture:
        options.picture.write_text(picture(figures))
    missed = list(unmet(figures))
    print(f"\nGoals: {'all met' if not missed else ''}")
    print("\n".join(f"- {line}" for line in missed))
    return 1 if options.check and missed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.detection", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few runs, half an hour each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", metavar="TEXT", help="families whose name holds this")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--resume", action="store_true", help="go on with what the JSON file has")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="an SVG")
    parser.add_argument("--check", action="store_true", help="exit 1 when a goal is missed")
    return parser


def the_judge() -> Judge:
    """Return the judge of the project's own plan; a simulated canary needs no time to warm up."""
    plan = parse_plan(PLAN.read_text(), source=str(PLAN))
    return Judge.for_plan(plan.model_copy(update={"warm_up": timedelta(0)}))


def measured(
    judge: Judge, effort: Effort, *, seed: int, only: str = "", done: Collection[str] = ()
) -> Iterator[list[Figure]]:
    """Yield each family's figures, telling ours on the standard error.

    Parameters
    ----------
    judge
        Ours.
    effort, seed
        How much is simulated, and from what random numbers; each family draws its own.
    only
        Families whose name holds this.
    done
        Families to leave out.
    """
    work = [(family, kind) for kind, group in _GROUPS.items() for family in group if only in family.name]
    for number, (family, kind) in enumerate(work, 1):
        if family.name in done:
            continue
        began = time.perf_counter()
        figures = list(_family(judge, family, kind, effort, seed))
        took = time.perf_counter() - began
        print(f"{number}/{len(work)} {in_words(figures)}, in {took:.0f} s", file=sys.stderr, flush=True)
        yield figures


_GROUPS = {"healthy": HEALTHY, "faulty": FAULTY, "promotable": PROMOTABLE}


def _family(judge: Judge, family: Family, kind: str, effort: Effort, seed: int) -> Iterator[Figure]:
    days = effort.day_runs if kind == "healthy" else 0
    horizons = [HALF_HOUR] if kind != "promotable" else [family.duration]
    bound = bound_seconds(family, alpha=judge.limits.alpha) if kind == "faulty" else float("nan")
    decisions = _decisions(judge, family, kind, effort, seed, runs=days or effort.runs, long=bool(days))
    for contender, decided in decisions.items():
        for horizon in [*horizons, *([DAY] if days and contender in (OURS, "z-test") else [])]:
            yield figure(family, kind, contender, decided, horizon=horizon, bound=bound)


def _decisions(
    judge: Judge, family: Family, kind: str, effort: Effort, seed: int, *, runs: int, long: bool
) -> dict[str, Decisions]:
    """Return everybody's decisions on the same simulated runs, by contender."""
    parts: dict[str, list[Decisions]] = {}
    watched = replace(family, duration=DAY) if long else family
    for first in range(0, runs, BATCH):
        batch = simulate(watched, runs=min(BATCH, runs - first), seed=seed + 1_000_003 * first, history=effort.history)
        said = {OURS: sequential_judge(batch, judge)}
        if kind != "promotable":
            said["z-test"] = peeked_z_test(batch, alpha=judge.limits.alpha)
            said |= peers(batch) if first < effort.peer_runs else {}
        for contender, decided in said.items():
            parts.setdefault(contender, []).append(decided)
    return {contender: _joined(each) for contender, each in parts.items()}


def _joined(parts: list[Decisions]) -> Decisions:
    return Decisions(
        np.concatenate([part.rollback_at for part in parts]), np.concatenate([part.promote_at for part in parts])
    )


if __name__ == "__main__":
    sys.exit(main())
