"""Rollouts back to back with seeded faults, and whether anything grows: `python -m tests.faults.soak --minutes 60`.

One embedded backend and one guard live all the while. Every rollout is promoted or rolled back, and taken home by
`canary restore` before the next. Each of the long-lived processes is looked at every few seconds.

memory          resident, in MiB; of the last third against the middle one (the first one warms up)
late            ticks of a watch that came more than two scrapes after the one before, without a fault to blame
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from statistics import median

import psutil
from rich.console import Console
from rich.table import Table

from tests.faults import meddling as fault
from tests.faults.scene import Scene, plan_text, scene

LOOK_SECONDS = 5.0
ROLLOUT_SECONDS = 180.0
LONGEST_TICK_SECONDS = 2.0
GROWTH = 0.15
"""Of the last third over the middle one: more than this, and more than the slack, is a leak."""
SLACK = {"memory": 12.0, "threads": 4.0, "descriptors": 8.0, "files": 40.0, "disk": 20.0}
QUIET = 0.4
"""Share of the rollouts that nothing happens to."""
FAULTS: dict[str, tuple[fault.Fault, frozenset[str]]] = {
    "flow killed": (fault.kill("flow"), frozenset({"rolled back", "failed"})),
    "flow terminated": (fault.terminate("flow"), frozenset({"rolled back", "failed"})),
    "canary errors": (fault.inject("canary", "errors=60%"), frozenset({"rolled back"})),
    "canary crashes": (fault.inject("canary", "crash-loop"), frozenset({"rolled back"})),
    "Prometheus stopped 4 s": (fault.stop("prometheus", 4), frozenset({"promoted"})),
    "Prometheus killed": (fault.kill("prometheus"), frozenset({"promoted"})),
    "Envoy killed": (fault.kill("envoy"), frozenset({"promoted"})),
    "abort": (fault.abort, frozenset({"rolled back"})),
}


@dataclass(frozen=True, slots=True)
class Look:
    """What one process, or the folder, has at a moment."""

    at: float
    who: str
    values: dict[str, float]


@dataclass
class Soak:
    """What was seen."""

    looks: list[Look] = field(default_factory=list)
    rollouts: list[dict[str, object]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    late: int = 0
    ticks: int = 0


def soak(folder: Path, minutes: float, seed: int, console: Console) -> Soak:
    """Return what was seen in so many minutes."""
    found, draw, ending = Soak(), random.Random(seed), threading.Event()
    with scene(folder, plan_text(retention="30s")) as stage:
        watcher = threading.Thread(target=_watch, args=(stage, found, ending), daemon=True)
        watcher.start()
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            _roll(stage, found, draw, console)
        ending.set()
        watcher.join()
    found.broken += [line for line in (_growth(*group) for group in _grouped(found.looks)) if line]
    return found


def _roll(stage: Scene, found: Soak, draw: random.Random, console: Console) -> None:
    """Carry one rollout out, with a fault or without, and take it home."""
    number = len(found.rollouts) + 1
    stage.name, stage.struck_at, stage.healed_at = f"soak-{number}", 0.0, 0.0
    what = "" if draw.random() < QUIET else draw.choice(list(FAULTS))
    step, after = draw.choice(("introduce", "increase", "full")), draw.uniform(0, 2)
    do, ends = FAULTS.get(what, (None, frozenset({"promoted"})))
    stage.start_flow()
    began = stage.await_(lambda: stage.has("step started", step=step) or stage.has("ended"), ROLLOUT_SECONDS)
    if began and do is not None and not stage.has("ended"):
        time.sleep(after)
        do(stage)
    stage.await_(lambda: stage.has("ended"), ROLLOUT_SECONDS)
    with suppress(Exception):
        stage.flow.wait(25)
    end = next((str(event["state"]) for event in stage.events() if event["kind"] == "ended"), "no end")
    found.rollouts.append({"number": number, "fault": what, "step": step, "end": end})
    console.print(f"{stage.name}: {what or 'nothing'} in {step}: {end}", highlight=False)
    if end not in ends:
        found.broken.append(f"{stage.name}: {what or 'nothing'} in {step} ended as {end!r}, allowed: {sorted(ends)}")
    if not what:
        _count_ticks(stage, found)
    _heal(stage)
    stage.canary("restore", "--reason", "the soak goes on")
    found.broken += [f"{stage.name}: {note}" for note in stage.notes]
    stage.notes.clear()


def _heal(stage: Scene) -> None:
    from backends.local.environment import attach

    attach(stage.state).inject(None, None)


def _count_ticks(stage: Scene, found: Soak) -> None:
    """Count how many looks at the metrics came late, by the points of the charts."""
    times = set[float]()
    for line in (stage.record_file.parent / "series.jsonl").read_text().splitlines():
        with suppress(ValueError, LookupError):
            point = json.loads(line)
            if point["series"] == "stable.requests":
                times.add(datetime.fromisoformat(point["at"]).timestamp())
    ordered = sorted(times)
    found.ticks += max(len(ordered) - 1, 0)
    found.late += sum(after - before > LONGEST_TICK_SECONDS + 0.5 for before, after in pairwise(ordered))


def _watch(stage: Scene, found: Soak, ending: threading.Event) -> None:
    while not ending.wait(LOOK_SECONDS):
        at = time.time()
        who: dict[str, Callable[[], int]] = {
            "up": lambda: stage.up.pid,
            "guard": lambda: stage.guard.pid,
            "supervisor": lambda: stage.pid("supervisor"),
            "envoy": lambda: stage.pid("envoy"),
            "prometheus": lambda: stage.pid("prometheus"),
        }
        for name, pid in who.items():
            with suppress(psutil.Error, LookupError):  # it is being started again
                found.looks.append(Look(at, f"{name} {pid()}", _values(psutil.Process(pid()))))
        files = [file for file in stage.state.rglob("*") if "prometheus/data" not in str(file)]
        with suppress(OSError):
            size = sum(file.stat().st_size for file in files if file.is_file())
            found.looks.append(Look(at, "folder", {"files": len(files), "disk": size / 2**20}))


def _values(process: psutil.Process) -> dict[str, float]:
    return {
        "memory": process.memory_info().rss / 2**20,
        "threads": process.num_threads(),
        "descriptors": process.num_fds(),
    }


def _grouped(looks: Sequence[Look]) -> list[tuple[str, str, list[float]]]:
    found = dict[tuple[str, str], list[float]]()
    for look in looks:
        for what, value in look.values.items():
            found.setdefault((look.who, what), []).append(value)
    return [(*key, values) for key, values in found.items() if len(values) >= 12]


def _growth(who: str, what: str, values: list[float]) -> str:
    """Return what grows; empty where it is flat."""
    middle, last = _thirds(values)
    if last - middle > max(GROWTH * middle, SLACK[what]):
        return f"{who}: {what} grew from {middle:.0f} to {last:.0f}"
    return ""


def _thirds(values: list[float]) -> tuple[float, float]:
    third = len(values) // 3
    return median(values[third : 2 * third]), median(values[2 * third :])


def describe_table(found: Soak) -> Table:
    """Return the middle and the last third of everything that was looked at."""
    table = Table(title=f"{len(found.rollouts)} rollouts back to back")
    for heading in ("who", "what", "middle third", "last third", "most"):
        table.add_column(heading, justify="left" if heading in ("who", "what") else "right")
    for who, what, values in _grouped(found.looks):
        middle, last = _thirds(values)
        table.add_row(who, what, f"{middle:.1f}", f"{last:.1f}", f"{max(values):.1f}")
    return table


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        found = soak(Path(folder) / "s", options.minutes, options.seed, console)
    console.print(describe_table(found))
    console.print(f"{found.late} of {found.ticks} ticks late; {len(found.broken)} complaints")
    for line in found.broken:
        console.print(line, highlight=False, soft_wrap=True)
    if options.json:
        options.json.write_text(json.dumps(asdict(found), indent=1))
    if found.broken:
        sys.exit(f"{len(found.broken)} complaints")


if __name__ == "__main__":
    main()
