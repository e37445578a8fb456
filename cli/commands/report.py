"""`canary report`: the report of a rollout, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from backends.local.ledger import LocalLedger
from rollout.errors import PlanError
from rollout.record import parse_record
from wiring.files import read_text, write_text
from wiring.terminal import complain, print_line


def report(
    record: Annotated[Path, typer.Argument(help="A record (JSON), or the folder of a rollout.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write; unless said, beside the record.")
    ] = None,
) -> None:
    """Make the HTML report of a rollout again, from its record alone."""
    from report.rollout.page import render  # jinja2 comes with it

    if record.is_dir() and not (record / "events.jsonl").is_file():
        raise PlanError(f"{record}: no rollout, allowed: a folder that holds an events.jsonl, or a record (JSON)")
    events = LocalLedger(record).read() if record.is_dir() else parse_record(read_text(record), source=str(record))
    output = output or (record / "report.html" if record.is_dir() else record.with_suffix(".html"))
    write_text(output, render(events))
    for damage in events.damage:
        complain(f"left out: {damage}")
    print_line(f"report: {output}")
