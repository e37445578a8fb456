"""`canary plan`: what a rollout will be able to see, before it begins."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final

import typer

from cli.judged_plan import (
    Alpha,
    Plan,
    Profile,
    Server,
    ServerConfig,
    named_plan,
    parse_option,
    parse_ratio,
    server_at,
    with_options,
)
from rollout.errors import PlanError
from rollout.quantities import parse_duration
from wiring.files import write_text
from wiring.terminal import Terminal

HIGHEST_RPS: Final = 1_000_000


def plan(
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
    if rps is not None and not 0 < rps <= HIGHEST_RPS:
        raise PlanError(f"--rps: got {rps:g}, allowed: above 0 and at most {HIGHEST_RPS:,}")
    if html and not html.absolute().parent.is_dir():
        raise PlanError(f"{html}: cannot be written: no folder {html.parent}")
    stable = power_forecast.assumed(
        rps or 1.0, parse_option("--errors", errors, _ratio_of_all), parse_option("--latency", latency, _milliseconds)
    )
    judge, learnt, source = (
        Judge.for_plan(with_options(named_plan(plan, profile), alpha=alpha, bake=bake)),
        None,
        "assumed",
    )
    if prometheus:
        stable, learnt = power_forecast.measured(
            power_forecast.reader_at(*server_at(prometheus, prometheus_config), judge.plan), judge, rps
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
        power_forecast.print_forecast(judge.plan, power, source, out)
        if html:
            out.print(f"page: {html}", soft_wrap=True)


def _ratio_of_all(text: str) -> float:
    if not 0 <= (ratio := parse_ratio(text)) <= 1:
        raise ValueError("allowed: a share from 0% to 100%")
    return ratio


def _milliseconds(text: str) -> float:
    if not 1 <= (latency := parse_duration(text) / timedelta(milliseconds=1)) <= 60_000:
        raise ValueError("allowed: a latency from 1ms to 60s")
    return latency
