"""`canary backtest` and `canary plan`: what the judge would have said, and what it will be able to see."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from backends.prometheus.address import Address
from backends.prometheus.http_config import Access
from rollout.errors import PlanError
from rollout.plan import RolloutPlan, validate_plan
from rollout.quantities import format_duration, format_percent, parse_duration, parse_percent
from wiring.files import read_plan, with_profile, write_text
from wiring.target import readable
from wiring.terminal import Terminal

if TYPE_CHECKING:
    from cli.replay import Form

Parsed = TypeVar("Parsed")

PLAN_FILE = "rollout.yaml"
MOST_RPS = 1_000_000
LONGEST = timedelta(days=7)
"""What a backtest from a server may span."""
Plan = Annotated[
    Path | None, typer.Option(help="The rollout plan; rollout.yaml here unless said, else the strategy's.")
]
Alpha = Annotated[str, typer.Option(help="Chance of a false rollback, such as 1%, instead of the plan's.")]
Server = Annotated[str, typer.Option(help="A live Prometheus server, such as http://127.0.0.1:9090.")]
ServerConfig = Annotated[
    Path | None, typer.Option(help="With --prometheus: how one gets in to it, in the words of its http_config.")
]
Profile = Annotated[
    str, typer.Option(help="With --prometheus: where it has what, such as traefik, instead of the plan's profile.")
]


def register(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.command(name="backtest")(backtest)
    app.command(name="plan")(plan_ahead)


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
    from cli import replay

    form = _form(as_json, decisions, summary)
    wanted = replay.parse_rules(rules)
    judge = Judge.for_plan(with_options(_named(plan, profile), alpha=alpha, warm_up=warmup or _warm_up_of(plan)))
    if bool(traces) == bool(prometheus):
        raise PlanError("backtest: got no trace, allowed: traces, folders of them, or --prometheus URL")
    if prometheus:
        span = _span(start, end)
        results = replay.from_server(*_server(prometheus, prometheus_config), *span, judge, wanted, save)
    elif save:
        raise PlanError(f"--save: got {save}, allowed: with --prometheus only")
    elif start or end:
        raise PlanError(f"{'--start' if start else '--end'}: got {start or end!r}, allowed: with --prometheus only")
    else:
        results = replay.replayed(replay.find_all(traces or ()), judge, wanted)
    out = Terminal()
    if not replay.tell(results, form, out, Terminal(stderr=True)):
        raise typer.Exit(2)


def plan_ahead(
    plan: Plan = None,
    rps: Annotated[float | None, typer.Option(help="Requests a second, both versions together.")] = None,
    prometheus: Server = "",
    prometheus_config: ServerConfig = None,
    profile: Profile = "",
    errors: Annotated[str, typer.Option(help="With --rps: the share of errors that stable has.")] = "0.05%",
    latency: Annotated[str, typer.Option(help="With --rps: stable's mean latency.")] = "55ms",
    bake: Annotated[str, typer.Option(help="A bake time for every step, such as 10m, instead of the plan's.")] = "",
    alpha: Alpha = "",
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object; times in seconds.")] = False,
    html: Annotated[Path | None, typer.Option(help="Where to write a page with charts.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the simulated rollouts.")] = 0,
) -> None:
    """Say before a rollout what it will be able to see at this traffic, and how soon.

    Exit codes: 0 done, 2 bad input, 1 Prometheus did not answer or knows nothing of the service.
    """
    from analysis.judge import Judge
    from analysis.offline.power import plan_power
    from wiring import power_forecast

    if rps is None and not prometheus:
        raise PlanError("--rps: missing, allowed: requests a second, or --prometheus URL to measure them")
    if rps is not None and not 0 < rps <= MOST_RPS:
        raise PlanError(f"--rps: got {rps:g}, allowed: above 0 and at most {MOST_RPS:,}")
    if html and not html.absolute().parent.is_dir():
        raise PlanError(f"{html}: cannot be written: no folder {html.parent}")
    stable = power_forecast.assumed(
        rps or 1.0, _parsed("--errors", errors, _ratio_of_all), _parsed("--latency", latency, _milliseconds)
    )
    judge, learnt, source = Judge.for_plan(with_options(_named(plan, profile), alpha=alpha, bake=bake)), None, "assumed"
    if prometheus:
        stable, learnt = power_forecast.measured(
            power_forecast.reader_at(*_server(prometheus, prometheus_config), judge.plan), judge, rps
        )
        source = "measured by Prometheus over the last hour"
    power = plan_power(judge, stable, learnt=learnt, seed=seed)
    out = Terminal()
    if html:
        from report.plan.power_page import render_power

        write_text(html, render_power(judge.plan, power, source=source))
    if as_json:
        out.file.write(json.dumps(power_forecast.as_object(judge.plan, power, source), indent=2) + "\n")
    else:
        power_forecast.tell(judge.plan, power, source, out)
        if html:
            out.print(f"page: {html}", soft_wrap=True)


def _server(text: str, config: Path | None) -> tuple[Address, Access]:
    """Return a server's address and how one gets in to it."""
    from wiring.composition import way_to_prometheus

    address, access = way_to_prometheus(Address(text), readable(config, "--prometheus-config"))
    address.check("--prometheus")
    return address, access.load()


def _warm_up_of(plan: Path | None) -> str:
    """Return what a plan that was named says itself; a recording alone does not say that its canary was cold."""
    return "" if plan else "0s"


def _form(as_json: bool, decisions: bool, summary: bool) -> Form:
    from cli.replay import Form

    asked = {"--json": as_json, "--jsonl-decisions": decisions, "--summary": summary}
    forms = dict(zip(asked, (Form.JSON, Form.DECISIONS, Form.SUMMARY), strict=True))
    named = [name for name, given in asked.items() if given]
    if len(named) > 1:
        raise PlanError(f"{named[1]}: got it together with {named[0]}, allowed: one of {', '.join(asked)}")
    return forms[named[0]] if named else Form.TABLE


def load_plan(path: Path | None) -> RolloutPlan:
    """Return the plan of a file; without one that of this folder, else the strategy's own."""
    here = Path(__file__).resolve()
    places = [Path(PLAN_FILE), here.parents[0] / PLAN_FILE, here.parents[1] / PLAN_FILE]
    found = path or next((place for place in places if place.is_file()), None)
    if found is None:
        raise PlanError(f"--plan: no {PLAN_FILE} in this folder, allowed: the name of a plan")
    return read_plan(found)


def _named(path: Path | None, profile: str) -> RolloutPlan:
    plan = load_plan(path)
    return with_profile(plan, profile, Path()) if profile else plan


def with_options(plan: RolloutPlan, *, alpha: str = "", warm_up: str = "", bake: str = "") -> RolloutPlan:
    """Return the plan with what was said on the command line instead of its own."""
    changes: dict[str, Any] = {}
    written = plan.model_dump(mode="json")
    if alpha:
        changes["alpha"] = format_percent(parse_chance("--alpha", alpha))
    if warm_up:
        changes["warm_up"] = format_duration(_parsed("--warmup", warm_up, parse_duration))
    if bake:
        time = format_duration(_parsed("--bake", bake, parse_duration))
        steps = [{key: step[key] for key in ("name", "canary", "replicas")} for step in written["steps"]]
        changes["steps"] = [step | {"bake": time} for step in steps]
    return validate_plan(written | changes, source="options") if changes else plan


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


def _ratio_of_all(text: str) -> float:
    if not 0 <= (ratio := _ratio(text)) <= 1:
        raise ValueError("allowed: a share from 0% to 100%")
    return ratio


def _milliseconds(text: str) -> float:
    if not 1 <= (latency := parse_duration(text) / timedelta(milliseconds=1)) <= 60_000:
        raise ValueError("allowed: a latency from 1ms to 60s")
    return latency


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
