"""How many small changes of the modules that decide over a rollout its tests notice.

    python -m benchmarks.mutants [--modules decide watch] [--mutants 32] [--seed 1] [--jobs 2] [--json FILE] [--check]

A mutant is a module with one change: another comparison, `and` for `or`, a `not` less, another constant or default, a
call, a `raise` or a condition left out. Each runs in a copy of the tree against the tests that concern its module, and
is killed by the first of them that fails, or by a run that takes far too long. Those that survive are listed; the ones
that change nothing that anybody could see are in `EQUIVALENT`, with the reason, and are not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Literal

from rich.console import Console
from rich.table import Table

from benchmarks.mutants.equivalent import reason_equivalent
from benchmarks.mutants.mutations import Mutant, seeded_mutants

ROOT = Path(__file__).parents[2]
WANTED = 0.9
"""Share of a module's mutants that has to be killed."""
LONGEST_FACTOR, LONGEST_LEAST = 6.0, 60.0
"""A run is cut off after this many times what the tests take without a mutant, and not before so many seconds."""

MODULES = {
    "decide": (
        "rollout/decide.py",
        (
            "unit/rollout/test_decide.py",
            "unit/rollout/test_decide_at_its_limits.py",
            "unit/rollout/test_step_signals.py",
        ),
    ),
    "triggers": (
        "rollout/triggers.py",
        ("unit/rollout/test_triggers.py", "unit/rollout/test_triggers_at_their_limits.py"),
    ),
    "sequential": (
        "analysis/evidence/sequential.py",
        (
            "unit/analysis/test_sequential.py",
            "unit/analysis/test_likelihood_ratios.py",
            "unit/analysis/test_latency.py",
            "unit/analysis/test_split.py",
        ),
    ),
    "increase": (
        "analysis/scrapes/increase.py",
        (
            "unit/analysis/test_increase.py",
            "unit/analysis/test_increase_at_its_limits.py",
            "unit/analysis/test_increase_of_proxies.py",
            "unit/analysis/test_reading.py",
        ),
    ),
    "verdict": (
        "analysis/verdict/verdict.py",
        (
            "unit/analysis/test_safety_rules.py",
            "unit/analysis/test_reasons.py",
            "unit/analysis/test_odd_looks.py",
            "unit/analysis/test_own_metrics.py",
            "unit/analysis/test_judge_on_the_demo.py",
            "unit/analysis/test_judge_properties.py",
            "unit/analysis/test_split.py",
            "unit/analysis/test_families.py",
        ),
    ),
    "route_patches": (
        "backends/route_patches.py",
        ("documents/test_route_patches.py", "documents/test_documents.py", "documents/test_routes.py"),
    ),
    "guard": (
        "conductor/commands/guard.py",
        (
            "unit/conductor/test_guard.py",
            "unit/conductor/test_guard_at_its_limits.py",
            "unit/conductor/test_carriers.py",
            "unit/conductor/test_telling.py",
        ),
    ),
    "watch": (
        "conductor/watch.py",
        (
            "flows/test_live_plans.py",
            "flows/test_fallback_metrics.py",
            "flows/test_canary_flow.py",
            "flows/test_live.py",
            "flows/test_mirroring.py",
            "flows/test_drift.py",
            "unit/conductor/test_alarms.py",
        ),
    ),
    "moves": (
        "conductor/moves.py",
        (
            "flows/test_moves_at_their_limits.py",
            "flows/test_live_plans.py",
            "flows/test_mirroring.py",
            "unit/conductor/test_drill.py",
            "flows/test_canary_flow.py",
            "flows/test_live.py",
            "flows/test_drift.py",
            "unit/conductor/test_alarms.py",
            "unit/conductor/test_orders.py",
            "flows/test_wrong_split.py",
            "unit/conductor/test_crash_model.py",
        ),
    ),
}
"""The modules, and the tests that concern each, the quick ones first."""

Fate = Literal["killed", "survived", "equivalent"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant."""

    module: str
    line: int
    change: str
    fate: Fate
    by: str
    """The test that failed, the reason why no test can, or nothing."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Job:
    """A mutant to be run."""

    path: str
    tests: tuple[str, ...]
    mutant: Mutant
    longest: float


def copy_tree(folder: Path) -> Path:
    """Return a copy of all files that git knows or would take, with the environment linked."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in names.stdout.decode().split("\0"):
        if name and (ROOT / name).is_file() and not (ROOT / name).is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    for name in (".venv", ".tools"):
        if (ROOT / name).exists() and not (folder / name).exists():
            (folder / name).symlink_to((ROOT / name).resolve())
    return folder


def run_tests(tree: Path, tests: Sequence[str], longest: float | None) -> str | None:
    """Return the first test that fails in a copy of the tree, "timeout" after so many seconds; None if all pass."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "--tb=no", "-p", "no:cacheprovider"]
    command += ["-m", "not e2e", "--hypothesis-profile=mutants", "--hypothesis-seed=0", *tests]
    environment = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    child = subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = child.communicate(timeout=longest)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        return "timeout"
    if child.returncode == 0:
        return None
    failed = [
        line.split(" - ")[0].split(" ", 1)[1] for line in output.splitlines() if line.startswith(("FAILED", "ERROR"))
    ]
    return failed[0] if failed else output.strip()[-200:] or f"exit {child.returncode}"


def jobs_of(name: str, size: int, seed: int, tree: Path) -> list[Job]:
    """Return a module's mutants; its tests have to pass without one.

    Raises
    ------
    SystemExit
        When a file is missing, or a test fails without a mutant.
    """
    path, tests = MODULES[name][0], tuple(f"tests/{test}" for test in MODULES[name][1])
    if missing := [file for file in (path, *tests) if not (tree / file).exists()]:
        sys.exit(f"{name}: no such file: {', '.join(missing)}; was it renamed? Change MODULES in {__file__}")
    began = time.monotonic()
    if failed := run_tests(tree, tests, None):
        sys.exit(f"{name}: fails without a mutant: {failed}")
    longest = max(LONGEST_FACTOR * (time.monotonic() - began), LONGEST_LEAST)
    return [
        Job(path, tests, mutant, longest) for mutant in seeded_mutants((tree / path).read_text(), size=size, seed=seed)
    ]


def outcomes(name: str, jobs: Sequence[Job], trees: Sequence[Path]) -> Iterator[Outcome]:
    """Run a module's mutants, one at a time in each copy of the tree."""
    idle: SimpleQueue[Path] = SimpleQueue()
    for tree in trees:
        idle.put(tree)

    def run(job: Job) -> Outcome:
        if reason := reason_equivalent(name, job.mutant.change):
            return Outcome(name, job.mutant.line, job.mutant.change, "equivalent", reason, 0.0)
        tree, began = idle.get(), time.monotonic()
        file = tree / job.path
        original = file.read_bytes()
        try:
            file.write_text(job.mutant.source)
            failed = run_tests(tree, job.tests, job.longest)
        finally:
            file.write_bytes(original)
            idle.put(tree)
        seconds = time.monotonic() - began
        fate: Fate = "killed" if failed else "survived"
        return Outcome(name, job.mutant.line, job.mutant.change, fate, failed or "", round(seconds, 1))

    with ThreadPoolExecutor(len(trees)) as threads:
        yield from threads.map(run, jobs)


def killed_share(found: Sequence[Outcome]) -> float:
    """Return which share of the mutants that a test could notice was noticed."""
    counted = [outcome for outcome in found if outcome.fate != "equivalent"]
    return sum(outcome.fate == "killed" for outcome in counted) / max(len(counted), 1)


def summary(results: dict[str, list[Outcome]]) -> Table:
    """Return the table of all modules."""
    table = Table(title="Mutants")
    for heading in ("module", "mutants", "equivalent", "killed", "share", "seconds"):
        table.add_column(heading, justify="left" if heading == "module" else "right")
    for name, found in results.items():
        fates = [outcome.fate for outcome in found]
        counts = (str(len(found)), str(fates.count("equivalent")), str(fates.count("killed")))
        seconds = sum(outcome.seconds for outcome in found)
        table.add_row(name, *counts, f"{killed_share(found):.1%}", f"{seconds:.0f}")
    return table


def parsed() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--modules", nargs="+", choices=MODULES, default=list(MODULES))
    parser.add_argument("--mutants", type=int, default=32, help="a module")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="at a time")
    parser.add_argument("--json", type=Path, help="write what became of each mutant here")
    parser.add_argument("--check", action="store_true", help=f"exit 1 unless {WANTED:.0%} are killed in each module")
    return parser.parse_args()


def main() -> None:
    """Run, print, write, check."""
    options, console, began = parsed(), Console(soft_wrap=True), time.monotonic()
    results: dict[str, list[Outcome]] = {}
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        trees = [copy_tree(Path(folder) / str(number)) for number in range(options.jobs)]
        for name in options.modules:
            results[name] = []
            for outcome in outcomes(name, jobs_of(name, options.mutants, options.seed, trees[0]), trees):
                results[name].append(outcome)
                if outcome.fate == "survived":
                    console.print(f"{MODULES[name][0]}:{outcome.line}: survived: {outcome.change}", markup=False)
            console.print(f"{name}: {killed_share(results[name]):.1%} killed")
    console.print(summary(results), f"{time.monotonic() - began:.0f} s")
    if options.json:
        options.json.write_text(json.dumps([asdict(o) for found in results.values() for o in found], indent=1))
    missed = [name for name, found in results.items() if killed_share(found) < WANTED]
    if options.check and missed:
        sys.exit(f"fewer than {WANTED:.0%} killed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
