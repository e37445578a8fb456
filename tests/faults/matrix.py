"""The fault matrix: every cell with real parts, judged by an observer of its own.

    python -m tests.faults.matrix [--cell TEXT ...] [--fast] [--lanes 2] [--json FILE | --read FILE] [--docs FILE]

Exit 1 where an invariant is broken. `--docs` writes the table into that page, between its two marks; `--keep DIR`
leaves every cell's files there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from tests.faults.cells import AFTER_SECONDS, MOMENTS, Cell, cells
from tests.faults.invariants import Evidence, Judged, home_since, judge
from tests.faults.scene import PREFECT_PID, Scene, plan_text, scene

BEGINS_SECONDS = 150.0
SETTLES_SECONDS = 2.0
"""How long the observer looks on after the end."""
HOME_FOR_SECONDS = 10.0
"""Without a record to say so, a rollout has ended when its traffic has been on stable for so long."""
MARKS = ("<!-- matrix -->", "<!-- /matrix -->")
APPROVES_AFTER_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Row:
    """What one cell came to."""

    moment: str
    fault: str
    judged: Judged
    seconds: float
    """Of the whole cell."""

    @property
    def holds(self) -> bool:
        """Whether no invariant is broken."""
        return not self.judged.broken


def run_cell(cell: Cell, folder: Path) -> Row:
    """Carry a cell out in a folder of its own, and judge it."""
    began = time.monotonic()
    with ExitStack() as parts:
        plan = plan_text(policy=cell.policy, has={cell.moment, "load" if cell.has_load else ""})
        environment = _prefect(folder, parts) if cell.with_prefect else {}
        stage = parts.enter_context(
            scene(folder, plan, is_hostile=cell.is_hostile, on_tmpfs=cell.on_tmpfs, environment=environment)
        )
        stage.start_flow()
        _await_moment(stage, cell.moment)
        time.sleep(AFTER_SECONDS.get(cell.moment, 0.0))
        meddler = threading.Thread(target=_meddle, args=(stage, cell), daemon=True)
        meddler.start()
        if cell.approves:
            _approve(stage)
        meddler.join(cell.seconds)
        _await_end(stage, cell)
        time.sleep(SETTLES_SECONDS)
        judged = judge(_evidence(stage), cell.expected)
    return Row(cell.moment, cell.fault, judged, time.monotonic() - began)


def _prefect(folder: Path, parts: ExitStack) -> dict[str, str]:
    from flows.server.prefect_server import PrefectServer

    place = folder.with_name(f"prefect-{folder.name}")  # it outlives the rollout, and is none of its processes
    place.mkdir(parents=True, exist_ok=True)
    server = parts.enter_context(PrefectServer(place))
    server.wait_ready()
    return server.environment() | {PREFECT_PID: str(server.pid)}


def _await_moment(stage: Scene, moment: str) -> None:
    if moment == "rollback":
        from tests.faults.meddling import inject

        stage.wait(lambda: MOMENTS["step 1"](stage), "step 1", BEGINS_SECONDS)
        inject("canary", "errors=60%")(stage)
        stage.struck_at = 0.0

    def has_come() -> bool:
        if MOMENTS[moment](stage):
            return True
        if moment not in ("rollback", "retention") and (stage.has("ended") or stage.flow.poll() is not None):
            raise RuntimeError(f"the rollout ended before {moment}; see {stage.folder}")
        return False

    stage.wait(has_come, f"the moment {moment}", BEGINS_SECONDS)


def _meddle(stage: Scene, cell: Cell) -> None:
    try:
        cell.do(stage)
    except Exception as error:
        stage.notes.append(f"the fault could not be put in: {type(error).__name__}: {error}")


def _approve(stage: Scene) -> None:
    time.sleep(APPROVES_AFTER_SECONDS)
    for _ in range(8):
        if stage.canary("approve").returncode == 0:
            return
        time.sleep(2)


def _await_end(stage: Scene, cell: Cell) -> None:
    """Wait for the end on record; where the fault destroys the record, for traffic at home and no flow."""

    def has_ended() -> bool:
        if stage.has("ended"):
            return True
        home = home_since(stage.looks())
        lasts = home is not None and time.time() - home > HOME_FOR_SECONDS
        return not cell.expected.keeps_record and stage.flow.poll() is not None and lasts

    stage.await_(has_ended, cell.seconds)
    with suppress(Exception):
        stage.flow.wait(25)


def _evidence(stage: Scene) -> Evidence:
    record = stage.record_file.read_bytes() if stage.record_file.exists() else b""
    (stage.folder / "record.jsonl").write_bytes(record)
    held = _living_holder(stage.state / "lock.json")
    stage.end()
    stage.await_(lambda: not stage.left_behind(), 5)
    return Evidence(
        stage.struck_at,
        stage.healed_at,
        stage.looks(),
        stage.requests(),
        record,
        held,
        stage.left_behind(),
        tuple(stage.notes),
    )


def _living_holder(lock: Path) -> str:
    try:
        found = json.loads(lock.read_bytes())
        return str(found["owner"]) if found["owner"] and psutil.pid_exists(found["process"]["pid"]) else ""
    except (OSError, ValueError, LookupError, TypeError):
        return ""  # nobody's, or damaged on purpose and needed by nobody since


def run_all(
    chosen: Sequence[Cell], lanes: int, folder: Path, console: Console, told: Callable[[Row], None]
) -> list[Row]:
    """Return what each cell came to, a few at a time; each is told as soon as it is known."""

    def carry_out(numbered: tuple[int, Cell]) -> Row:
        number, cell = numbered
        try:
            row = run_cell(cell, folder / f"{number:03d}")
        except Exception as error:
            broken = (f"the cell did not come about: {type(error).__name__}: {error}",)
            row = Row(cell.moment, cell.fault, Judged("", "", None, 0, 0, 0, broken), 0.0)
        console.print(_line(row), highlight=False, soft_wrap=True)
        told(row)
        return row

    with ThreadPoolExecutor(lanes) as threads:
        return list(threads.map(carry_out, enumerate(chosen)))


def _line(row: Row) -> str:
    found = row.judged
    verdict = "holds" if row.holds else f"BROKEN: {'; '.join(found.broken)}"
    lost = f"lost {found.lost} of {found.requests}"
    return f"{row.moment}: {row.fault}: {found.end} ({_safe(found)}), {lost}, {row.seconds:.0f} s: {verdict}"


def _safe(found: Judged) -> str:
    return "went on" if found.safe_seconds is None else f"{found.safe_seconds:.1f}"


def describe_table(rows: Sequence[Row]) -> Table:
    """Return the matrix for a terminal."""
    table = Table(title="The fault matrix")
    for heading in ("moment", "fault", "end", "s to safe", "lost", "of", "invariants"):
        table.add_column(heading, justify="right" if heading in ("s to safe", "lost", "of") else "left")
    for row in rows:
        found = row.judged
        verdict = "hold" if row.holds else "; ".join(found.broken)
        table.add_row(row.moment, row.fault, found.end, _safe(found), str(found.lost), str(found.requests), verdict)
    return table


def to_markdown(rows: Sequence[Row]) -> str:
    """Return the matrix as a table of Markdown, with a line of totals."""
    lines = ["| moment | fault | end | s to safe | lost of requests | invariants |", "|---|---|---|---:|---:|---|"]
    for row in rows:
        found = row.judged
        verdict = "hold" if row.holds else "; ".join(found.broken).replace("|", "/")
        counts = f"{found.lost:,} of {found.requests:,}"
        lines.append(f"| {row.moment} | {row.fault} | {found.end} | {_safe(found)} | {counts} | {verdict} |")
    return "\n".join([*lines, "", describe_totals(rows)])


def describe_totals(rows: Sequence[Row]) -> str:
    """Return one line over all cells."""
    times = [row.judged.safe_seconds for row in rows if row.judged.safe_seconds is not None]
    held, unexcused = sum(row.holds for row in rows), sum(row.judged.unexcused for row in rows)
    requests = sum(row.judged.requests for row in rows)
    slowest = f"the slowest to safety {max(times):.1f} s, " if times else ""
    return (
        f"{held} of {len(rows)} cells hold, {slowest}{unexcused} of {requests:,} requests lost that no fault explains."
    )


def write_docs(page: Path, rows: Sequence[Row]) -> None:
    """Put the table between the page's marks."""
    before, _, rest = page.read_text().partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    page.write_text(f"{before}{MARKS[0]}\n{to_markdown(rows)}\n{MARKS[1]}{after}")


def _writer(file: Path | None) -> Callable[[Row], None]:
    if file is None:
        return lambda _: None
    file.write_text("")

    def write(row: Row) -> None:
        with file.open("a") as stream:
            stream.write(json.dumps(asdict(row)) + "\n")

    return write


def read_rows(file: Path) -> list[Row]:
    """Return the rows that `--json` has written; of a cell that was run again the last one, in the matrix's order."""
    order = {(cell.moment, cell.fault): number for number, cell in enumerate(cells())}
    rows = dict[tuple[str, str], Row]()
    for line in file.read_text().splitlines():
        found = json.loads(line)
        judged = Judged(**found.pop("judged"))
        rows[found["moment"], found["fault"]] = Row(judged=judged, **found)
    return sorted(rows.values(), key=lambda row: order.get((row.moment, row.fault), len(order)))


def _chosen(words: Sequence[str], *, fast: bool) -> list[Cell]:
    found = [cell for cell in cells() if not fast or cell.is_fast]
    return [cell for cell in found if not words or any(word in cell.name for word in words)]


def main() -> None:
    """Run, print, write, check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cell", action="append", default=[], help="only cells with this in `moment: fault`")
    parser.add_argument("--fast", action="store_true", help="only those of `make test`")
    parser.add_argument("--list", action="store_true", help="name the cells and end")
    parser.add_argument("--lanes", type=int, default=2, help="cells at a time")
    parser.add_argument("--json", type=Path, help="where to write each row as a line, as soon as it is known")
    parser.add_argument("--read", type=Path, help="run nothing: take the rows of such a file")
    parser.add_argument("--docs", type=Path, help="page to write the table into")
    parser.add_argument("--keep", type=Path, help="where to leave every cell's files")
    options = parser.parse_args()
    chosen, console = _chosen(options.cell, fast=options.fast), Console()
    if unfit := [cell for cell in chosen if cell.on_tmpfs and os.geteuid() != 0]:
        console.print(f"left out, as only root may mount: {', '.join(cell.name for cell in unfit)}", highlight=False)
        chosen = [cell for cell in chosen if cell not in unfit]
    if options.list:
        console.print("\n".join(cell.name for cell in chosen), highlight=False, soft_wrap=True)
        return
    if options.read:
        rows = read_rows(options.read)
    else:
        with tempfile.TemporaryDirectory(prefix="faults-") as temporary:
            rows = run_all(chosen, options.lanes, options.keep or Path(temporary), console, _writer(options.json))
    console.print(describe_table(rows))
    console.print(describe_totals(rows))
    if options.docs:
        write_docs(options.docs, rows)
    if broken := sum(not row.holds for row in rows):
        sys.exit(f"{broken} of {len(rows)} cells break an invariant")


if __name__ == "__main__":
    main()
