"""`canary backtest` and `canary plan`: what the judge would have said, and what it will be able to see."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from rollout.errors import PlanError
from rollout.plan import RolloutPlan, parse_plan, validate_plan
from rollout.quantities import format_duration, format_percent, parse_duration, parse_percent

if TYPE_CHECKING:
    from flows.hindsight import Form

Parsed = TypeVar("Parsed")

PLAN_FILE = "rollout.yaml"
LONGEST = timedelta(days=7)
"""What a backtest from a server may span."""
Plan = Annotated[Path | None, typer.Option(help="The rollout plan.  [default: rollout.yaml here, else the strategy's]")]
Alpha = Annotated[str, typer.Option(help="Chance of a false rollback, such as 1%, instead of the plan's.")]
Server = Annotated[str, typer.Option(help="A live Prometheus server, such as http://127.0.0.1:9090.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(name="backtest")(backtest)


def backtest(
    traces: Annotated[
        list[Path] | None, typer.Argument(metavar="[TRACE|FOLDER]...", help="Recorded rollouts: CSV or Parquet files.")
    ] = None,
    plan: Plan = None,
    alpha: Alpha = "",
    warmup: Annotated[
        str, typer.Option(help="How long a fresh canary's relative latency is not judged, instead of the plan's 60s.")
    ] = "",
    rules: Annotated[str, typer.Option(help="Others' rules to replay beside it: flagger,argo,kayenta.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="All results as one JSON array.")] = False,
    decisions: Annotated[
        bool, typer.Option("--jsonl-decisions", help="One JSON line for each scrape, with the evidence in nats.")
    ] = False,
    summary: Annotated[bool, typer.Option("--summary", help="One JSON line for each trace.")] = False,
    prometheus: Server = "",
    start: Annotated[str, typer.Option(help="With --prometheus: from when, such as 2026-11-23T09:00Z.")] = "",
    end: Annotated[str, typer.Option(help="With --prometheus: until when; now unless said.")] = "",
) -> None:
    """Say what the judge would have done in rollouts that were recorded.

    Times are in seconds after the canary's first traffic; what is said of a moment rests on what came before it.
    Exit codes: 0 all were judged, 2 bad input (the other traces are judged all the same), 1 could not run.
    """
    from analysis.judge import Judge
    from flows import hindsight

    form = _form(as_json, decisions, summary)
    wanted = hindsight.parse_rules(rules)
    judge = Judge.for_plan(with_options(load_plan(plan), alpha=alpha, warm_up=warmup))
    if bool(traces) == bool(prometheus):
        raise PlanError("canary backtest: got no trace, allowed: traces, folders of them, or --prometheus URL")
    if prometheus:
        span = _span(start, end)
        results = hindsight.from_server(prometheus, *span, judge, wanted)
    elif start or end:
        raise PlanError(f"{'--start' if start else '--end'}: got {start or end!r}, allowed: with --prometheus only")
    else:
        results = hindsight.replayed(hindsight.find_all(traces or ()), judge, wanted)
    out = Console(highlight=False)
    if not hindsight.tell(results, form, out, Console(stderr=True, highlight=False)):
        raise typer.Exit(2)


def _form(as_json: bool, decisions: bool, summary: bool) -> Form:
    from flows.hindsight import Form

    asked = {"--json": as_json, "--jsonl-decisions": decisions, "--summary": summary}
    forms = dict(zip(asked, (Form.JSON, Form.DECISIONS, Form.SUMMARY), strict=True))
    named = [name for name, given in asked.items() if given]
    if len(named) > 1:
        raise PlanError(f"{named[1]}: got it together with {named[0]}, allowed: one of {', '.join(asked)}")
    return forms[named[0]] if named else Form.TABLE


def load_plan(path: Path | None) -> RolloutPlan:
    """Return the plan of a file; without one that of this folder, else the strategy's own."""
    here = Path(__file__).resolve()
    places = [path] if path else [Path(PLAN_FILE), here.with_name(PLAN_FILE), here.parents[1] / PLAN_FILE]
    found = path or next((place for place in places if place and place.is_file()), None)
    if found is None:
        raise PlanError(f"--plan: no {PLAN_FILE} in this folder, allowed: the name of a plan")
    try:
        return parse_plan(found.read_text(encoding="utf-8"), source=str(found))
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{found}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def with_options(plan: RolloutPlan, *, alpha: str = "", warm_up: str = "") -> RolloutPlan:
    """Return the plan with what was said on the command line instead of its own."""
    changes = {}
    if alpha:
        changes["alpha"] = format_percent(parse_chance("--alpha", alpha))
    if warm_up:
        changes["warm_up"] = format_duration(_parsed("--warmup", warm_up, parse_duration))
    return validate_plan(plan.model_dump(mode="json") | changes, source="options") if changes else plan


def parse_chance(option: str, text: str) -> float:
    """Return a chance above 0 and below 50 %, written as `1%` or as `0.01`."""
    chance = _parsed(option, text, _ratio)
    if not 0 < chance < 0.5:
        raise PlanError(f"{option}: got {text!r}, allowed: above 0% and below 50%")
    return chance


def _ratio(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return parse_percent(text)


def _parsed(option: str, text: str, parse: Callable[[str], Parsed]) -> Parsed:
    try:
        return parse(text)
    except ValueError as error:
        raise PlanError(f"{option}: got {text!r}, {error}") from error


def _span(start: str, end: str) -> tuple[datetime, datetime]:
    if not start:
        raise PlanError("--start: missing with --prometheus, allowed: a moment such as 2026-11-23T09:00Z or 1700000000")
    since = _parsed("--start", start, _moment)
    until = _parsed("--end", end, _moment) if end else datetime.now(UTC)
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
