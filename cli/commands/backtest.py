"""`canary backtest`: what the judge would have done in recorded rollouts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from cli.judged_plan import (
    Alpha,
    Plan,
    Profile,
    Server,
    ServerConfig,
    named_plan,
    parse_option,
    server_at,
    with_options,
)
from rollout.errors import PlanError
from rollout.quantities import format_duration
from wiring.terminal import Terminal

if TYPE_CHECKING:
    from cli.backtest_results import Form

LONGEST: Final = timedelta(days=7)
"""What a backtest from a server may span."""


def backtest(
    traces: Annotated[
        list[Path] | None,
        typer.Argument(metavar="TRACE...", help="Recorded rollouts: CSV or Parquet files, or folders of them."),
    ] = None,
    plan: Plan = None,
    alpha: Alpha = "",
    warmup: Annotated[
        str,
        typer.Option(
            help="How long a fresh canary's relative latency is not judged, such as 60s. "
            "Unless said, that of --plan; without a plan from the first request."
        ),
    ] = "",
    rules: Annotated[str, typer.Option(help="Others' rules to replay beside it: flagger,argo,kayenta.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="All results as one JSON array.")] = False,
    decisions: Annotated[
        bool, typer.Option("--jsonl-decisions", help="One JSON line for each scrape, with the evidence in nats.")
    ] = False,
    summary: Annotated[bool, typer.Option("--summary", help="One JSON line for each trace.")] = False,
    prometheus: Server = "",
    prometheus_config: ServerConfig = None,
    profile: Profile = "",
    start: Annotated[str, typer.Option(help="With --prometheus: from when, such as 2026-11-23T09:00Z.")] = "",
    end: Annotated[str, typer.Option(help="With --prometheus: until when; now unless said.")] = "",
    save: Annotated[
        Path | None, typer.Option(help="With --prometheus: keep what was read as a recording, .csv or .parquet.")
    ] = None,
) -> None:
    """Say what the judge would have done in rollouts that were recorded.

    Times are in seconds after the canary's first traffic; what is said of a moment rests on what came before it.
    Exit codes: 0 all were judged, 2 bad input (the other traces are judged all the same), 1 could not run.
    """
    from analysis.judge import Judge
    from cli import backtest_results

    form = _form(as_json, decisions, summary)
    wanted = backtest_results.parse_rules(rules)
    judge = Judge.for_plan(with_options(named_plan(plan, profile), alpha=alpha, warm_up=warmup or _warm_up_of(plan)))
    if bool(traces) == bool(prometheus):
        raise PlanError("backtest: got no trace, allowed: traces, folders of them, or --prometheus URL")
    if prometheus:
        span = _span(start, end)
        results = backtest_results.from_server(*server_at(prometheus, prometheus_config), *span, judge, wanted, save)
    elif save:
        raise PlanError(f"--save: got {save}, allowed: with --prometheus only")
    elif start or end:
        raise PlanError(f"{'--start' if start else '--end'}: got {start or end!r}, allowed: with --prometheus only")
    else:
        results = backtest_results.replayed(backtest_results.find_all(traces or ()), judge, wanted)
    out = Terminal()
    if not backtest_results.print_results(results, form, out, Terminal(stderr=True)):
        raise typer.Exit(2)


def _warm_up_of(plan: Path | None) -> str:
    """Return what a plan that was named says itself; a recording alone does not say that its canary was cold."""
    return "" if plan else "0s"


def _form(as_json: bool, decisions: bool, summary: bool) -> Form:
    from cli.backtest_results import Form

    options = {"--json": as_json, "--jsonl-decisions": decisions, "--summary": summary}
    forms = dict(zip(options, (Form.JSON, Form.DECISIONS, Form.SUMMARY), strict=True))
    named = [name for name, given in options.items() if given]
    if len(named) > 1:
        raise PlanError(f"{named[1]}: got it together with {named[0]}, allowed: one of {', '.join(options)}")
    return forms[named[0]] if named else Form.TABLE


def _span(start: str, end: str) -> tuple[datetime, datetime]:
    if not start:
        raise PlanError("--start: missing with --prometheus, allowed: a moment such as 2026-11-23T09:00Z or 1700000000")
    since = parse_option("--start", start, _moment)
    until = parse_option("--end", end, _moment) if end else datetime.now(UTC)
    if not timedelta(0) < until - since <= LONGEST:
        raise PlanError(f"--start: got {start!r}, allowed: before --end, by {format_duration(LONGEST)} at most")
    return since, until


def _moment(text: str) -> datetime:
    """Return a moment written as in ISO 8601, in UTC unless it says otherwise, or in unix seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = None
    try:
        moment = datetime.fromisoformat(text) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise ValueError("allowed: a moment such as 2026-11-23T09:00Z, or unix seconds") from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
