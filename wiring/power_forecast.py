"""What a plan will be able to see at a service's traffic, as a table, as JSON or as a page."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.judge import Judge, JudgeState
from analysis.offline.power import Power
from analysis.offline.traffic import Traffic, assumed_traffic, measured_traffic
from analysis.scrapes.reading import Cursor
from analysis.verdict.blockers import bucket_notes
from backends.prometheus import PrometheusMetrics
from backends.prometheus.address import Address
from backends.prometheus.http_config import Access
from report.plan.power_page import headline, locust_advice, moments, tone, whole_percent
from rollout.errors import NoSamplesError
from rollout.formatting import format_ms, format_number, format_ratio, format_span
from rollout.model import Track
from rollout.plan import RolloutPlan

HISTORY = timedelta(hours=1)
"""How much of the past the traffic is measured over."""
PATIENCE = timedelta(seconds=60)
_COLOURS = {"good": "bold green", "open": "bold yellow", "bad": "bold red"}


def assumed(rps: float, error_ratio: float, latency_ms: float) -> Traffic:
    """Return traffic with lognormal latencies of this mean."""
    traffic = assumed_traffic(rps, error_ratio=error_ratio)
    return assumed_traffic(rps, error_ratio=error_ratio, median_ms=40.0 * latency_ms / traffic.latency_ms)


def reader_at(address: Address, access: Access, plan: RolloutPlan) -> PrometheusMetrics:
    """Return the samples that a Prometheus has of a plan's service, by its name alone: no world says more of it."""
    versions = {Track.STABLE: plan.stable.version, Track.CANARY: plan.canary.version}
    return PrometheusMetrics(
        address,
        plan.service,
        versions,
        namespace=plan.metrics.namespace,
        destinations={track: f"{plan.service}-{track}" for track in versions},
        profile=plan.metrics.profile,
        access=access,
    )


def measured(reader: PrometheusMetrics, judge: Judge, rps: float | None) -> tuple[Traffic, JudgeState]:
    """Return the service's own traffic of the last hour, at another rate if one is given, and what the judge learnt.

    Raises
    ------
    UnavailableError
        Prometheus does not answer.
    NoSamplesError
        It has counted nothing of the service.
    """
    judge = judge.without_ratios()
    plan, now = judge.plan, datetime.now(UTC)
    samples = reader.with_timeout(PATIENCE).read_range(now - HISTORY, now)
    scrapes, _ = judge.read(Cursor(), samples.where(series.track == Track.STABLE for series in samples.series))
    try:
        traffic = measured_traffic(scrapes)
    except ValueError as error:
        raise NoSamplesError(f"{plan.service} {plan.stable.version} at {reader.url}: {error}") from error
    return replace(traffic, rps=rps or traffic.rps), judge.learn_scrapes(judge.begin(), scrapes)


def as_object(plan: RolloutPlan, power: Power, source: str) -> dict[str, Any]:
    """Return what a plan can see as one JSON object; times in seconds, ratios 0-1, null for never."""
    traffic = power.traffic
    return {
        "service": plan.service,
        "traffic": {
            "rps": traffic.rps,
            "error_ratio": traffic.error_ratio,
            "latency_ms": traffic.latency_ms,
            "source": source,
        },
        "detections": [
            {"effect": each.effect, "median": each.median, "p90": each.p90, "found": each.detected}
            for each in power.detections
        ],
        "steps": [
            {
                "step": step.step,
                "canary_share": step.share,
                "bake": step.bake,
                "deadline": step.deadline,
                "median": step.median,
                "p90": step.p90,
                "passed": step.passed,
                "rate_needed": step.rate_needed,
                "locust_rate": step.top_up(traffic.rps),
            }
            for step in power.steps
        ],
        "promoted_after": power.promoted_after,
        "notes": list(notes_on(plan, traffic)),
        "false_rollback": {"at_most": power.alpha, "simulated": power.false_rollbacks, "runs": power.runs},
    }


def print_forecast(plan: RolloutPlan, power: Power, source: str, out: Console) -> None:
    """Print what a plan can see."""
    traffic = power.traffic
    subject = f"{plan.service} {plan.stable.version} → {plan.canary.version}"
    errors, latency = format_ratio(traffic.error_ratio), format_ms(traffic.latency_ms)
    facts = f"{format_number(traffic.rps)} requests/s, {errors} errors, {latency}"
    out.print(Text.assemble((subject, "bold"), f"  {facts} on average ({source})"), soft_wrap=True)
    out.print(Text(headline(power), style=_COLOURS[tone(power)]), soft_wrap=True)
    rolled = f"in {power.runs} simulated rollouts: {power.false_rollbacks}"
    out.print(
        f"The plan allows {format_ratio(power.alpha)} of healthy canaries to be rolled back by mistake ({rolled}).\n",
        soft_wrap=True,
    )
    out.print(_faults(power), "", _steps(power), sep="\n")
    out.print(Text(_small_print(plan, notes_on(plan, traffic)), style="dim"))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, header_style="dim", justify="right" if 0 < index < len(columns) - 1 else "left")
    return table


def _faults(power: Power) -> Table:
    table = _table("How soon is a faulty canary rolled back?", "fault", "half of them", "nine of ten", "found at all")
    for each in power.detections:
        table.add_row(each.effect, *moments(each), whole_percent(each.detected))
    return table


def _steps(power: Power) -> Table:
    columns = ("step", "canary", "bake", "half pass", "nine of ten", "in bake", "load needed")
    table = _table("How soon can a healthy canary move on?", *columns)
    for step in power.steps:
        table.add_row(
            step.step,
            format_ratio(step.share),
            format_span(step.bake),
            *moments(step),
            whole_percent(step.passed),
            locust_advice(power, step),
        )
    return table


def notes_on(plan: RolloutPlan, traffic: Traffic) -> tuple[str, ...]:
    """Return what the histogram cannot show of the plan's latency limits, and what is not simulated."""
    limits = Judge.for_plan(plan).limits
    own = ("the plan's own ratios and gauges are not simulated",) if plan.criteria.metrics else ()
    counted = (plan.criteria.describe_errors(), plan.criteria.describe_answers())
    return (*(note.reason for note in bucket_notes(traffic.edges, limits)), *counted, *own)


def _small_print(plan: RolloutPlan, notes: tuple[str, ...]) -> str:
    warm_up = plan.warm_up.total_seconds()
    warm = f" Latency is not compared in the first {format_span(warm_up)}." if warm_up else ""
    load = (
        " In bake: how many are shown healthy when the bake is over; the others go on until the deadline."
        " Load needed: what Locust would have to add for nine of ten to pass within the bake."
    )
    more = "".join(f"\nNote: {note}." for note in notes)
    return f"\nFaults: since the canary's first request. Steps: since the step began.{warm}{load}{more}"
