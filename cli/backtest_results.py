"""What the judge would have said of recorded rollouts, as a table, as JSON or line by line."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.judge import Judge
from analysis.offline.backtest import Backtest, backtest, backtest_samples, since_canary
from analysis.offline.peer_replay import RULES
from analysis.offline.traces import find_traces, read_trace
from analysis.scrapes.samples import Samples
from backends.prometheus.address import Address
from backends.prometheus.http_config import Access
from rollout.errors import NoSamplesError, PlanError
from rollout.formatting import format_ratio, format_span
from rollout.model import Track
from wiring.power_forecast import reader_at

SYSTEMS = {"flagger": "Flagger", "argo": "Argo Rollouts", "kayenta": "Kayenta"}
PATIENCE = timedelta(seconds=60)
"""How long the server may take for each part of the past."""


class Form(StrEnum):
    """How results are told."""

    TABLE = "table"
    JSON = "json"
    SUMMARY = "summary"
    DECISIONS = "decisions"


@dataclass(frozen=True, slots=True)
class Unread:
    """A trace that could not be read."""

    trace: str
    error: str


def parse_rules(text: str) -> tuple[str, ...]:
    """Return the peers' rules that a list such as `flagger,argo` names."""
    rules = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if unknown := [rule for rule in rules if rule not in RULES]:
        raise PlanError(f"--rules: got {unknown[0]!r}, allowed: {', '.join(RULES)}, with commas between them")
    return rules


def find_all(paths: Iterable[Path]) -> tuple[Path, ...]:
    """Return the trace files that were named, and those in the folders that were.

    Raises
    ------
    PlanError
        A folder holds none, or cannot be looked into.
    """
    return tuple(file for path in paths for file in (_in_folder(path) if path.is_dir() else (path,)))


def _in_folder(folder: Path) -> tuple[Path, ...]:
    try:
        traces = find_traces(folder)
    except OSError as error:
        raise PlanError(f"{folder}: cannot be read: {error.strerror}") from error
    if not traces:
        raise PlanError(f"{folder}: no traces, allowed: a folder with files that end in .csv or .parquet")
    return traces


def replayed(files: Iterable[Path], judge: Judge, rules: tuple[str, ...]) -> Iterator[Backtest | Unread]:
    """Yield what would have been done with each trace; one that is wrong does not keep the others from it."""
    for file in files:
        try:
            yield backtest(read_trace(file), judge, rules=rules)
        except PlanError as error:
            yield Unread(file.stem, str(error))


def from_server(
    address: Address,
    access: Access,
    since: datetime,
    until: datetime,
    judge: Judge,
    rules: tuple[str, ...],
    save: Path | None = None,
) -> Iterator[Backtest | Unread]:
    """Yield what would have been done with what a Prometheus server has counted of the plan's service.

    Where it is asked for, what was read is kept as a recording, from which the same can be said without the server.
    """
    plan = judge.plan
    metrics = reader_at(address, access, plan).with_timeout(PATIENCE)
    samples = metrics.with_pods(plan.criteria.metrics, plan.service).read_range(since, until)
    if not any(series.track == Track.CANARY for series in samples.series):
        raise NoSamplesError(
            f"{plan.service}: no request was answered by {plan.canary.version} at {address} in that time"
        )
    samples = since_canary(samples)
    if save:
        _save(samples, save)
    yield backtest_samples(plan.service, samples, judge, rules=rules)


def _save(samples: Samples, file: Path) -> None:
    from analysis.offline.recording import table_of

    tracks = samples.where(series.track in set(Track) for series in samples.series)
    try:
        if file.suffix == ".parquet":
            table_of(tracks).to_parquet(file, index=False)
        else:
            table_of(tracks).to_csv(file, index=False)
    except OSError as error:
        raise PlanError(f"--save: got {file}, cannot be written: {error.strerror}") from error


def print_results(results: Iterable[Backtest | Unread], form: Form, out: Console, complaints: Console) -> bool:
    """Print each result as it comes, and return whether all traces could be read."""
    whole, objects = True, []
    for result in results:
        if isinstance(result, Unread):
            whole = False
            complaints.print(Text(f"canary: {result.error}"), soft_wrap=True)
        if form is Form.JSON:
            objects.append(as_object(result) | _details(result))
        else:
            _print_result(result, form, out)
    if form is Form.JSON:
        write(out, json.dumps(objects, indent=2))
    return whole


def _print_result(result: Backtest | Unread, form: Form, out: Console) -> None:
    if form is Form.SUMMARY:
        write(out, json.dumps(as_object(result)))
    elif isinstance(result, Unread):
        return
    elif form is Form.DECISIONS:
        for line in decision_lines(result):
            write(out, json.dumps(line))
    else:
        out.print(*as_table(result), sep="\n")


def write(out: Console, text: str) -> None:
    """Print text as it is, for programs: no markup, no wrapping."""
    out.file.write(text + "\n")


def as_object(result: Backtest | Unread) -> dict[str, Any]:
    """Return one result as the summary's JSON object."""
    if isinstance(result, Unread):
        return {"trace": result.trace, "rollback_at": None, "promote_at": None, "reason": None, "error": result.error}
    fields: dict[str, Any] = {
        "trace": result.trace,
        "rollback_at": result.rollback_at,
        "promote_at": result.promote_at,
        "reason": result.reason,
    }
    if result.peers:
        fields["peers"] = {
            peer.rule: {"rollback_at": peer.rollback_at, "promote_at": peer.promote_at} for peer in result.peers
        }
    return fields


def _details(result: Backtest | Unread) -> dict[str, Any]:
    if isinstance(result, Unread):
        return {}
    steps = [{"at": at, "canary_share": share} for at, share in result.steps]
    return {"scrapes": len(result.decisions), "steps": steps, "notes": list(result.notes)}


def decision_lines(result: Backtest) -> Iterator[dict[str, Any]]:
    """Yield one object a scrape: when, what was decided, and the log evidence beside it."""
    for (time, decision), (against, promoting) in zip(result.decisions, result.evidence, strict=True):
        yield {
            "t": time,
            "decision": decision,
            "rollback_evidence": round(against, 4),
            "promotion_evidence": round(promoting, 4),
            "trace": result.trace,
        }


def as_table(result: Backtest) -> tuple[Text, Table, Text]:
    """Return what would have been done as a heading, a table with a line for each judge, and what else to know."""
    heading = Text.assemble((result.trace, "bold"), "  ", headline(result), "\n", (result.reason, "dim"))
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    for column in ("", "rolled back", "first promotable"):
        table.add_column(column)
    table.add_row("canary judge", _when(result.rollback_at, result), _when(result.promote_at, result))
    for peer in result.peers:
        table.add_row(SYSTEMS[peer.rule], _when(peer.rollback_at, result), _when(peer.promote_at, result))
    return heading, table, Text("".join(f"note: {note}\n" for note in result.notes), style="dim")


def headline(result: Backtest) -> Text:
    """Return in a few coloured words what would have become of the canary."""
    watched = format_span(result.decisions[-1][0]) if result.decisions else "nothing"
    if result.rollback_at is not None:
        return Text(f"rolled back after {format_span(result.rollback_at)}", style="bold red")
    if result.promote_at is not None:
        return Text(
            f"promotable after {format_span(result.promote_at)}, never rolled back in {watched}", style="bold green"
        )
    return Text(f"held: no decision in {watched}", style="bold yellow")


def _when(time: float | None, result: Backtest) -> str:
    if time is None:
        return "never"
    shares = [share for at, share in result.steps if at < time]
    return f"after {format_span(time)}" + (f", at {format_ratio(shares[-1])}" if shares else "")
