"""The charts of the evidence, against the canary and for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from report.charts.axes import LN10, Axis, odds_axis
from report.charts.geometry import Chart, Limit, Line
from report.rollout.chart_context import ChartContext, make_chart
from rollout.formatting import format_odds

_BEYOND_DOUBT = 100.0
"""Natural log of evidence that no line of a judge lies above: such a line is a slip."""
_LEGENDS = {
    "rollback": {
        "errors": "more errors than stable",
        "latency": "slower than stable",
        "error_limit": "errors above the limit",
        "latency_limit": "latency above the limit",
    },
    "promotion": {
        "errors": "errors are low",
        "success": "success is high",
        "latency_ratio": "as fast as stable",
        "latency": "latency within its limit",
    },
}
"""What each criterion's evidence speaks for; the plan's own ratios keep the names that the plan gives them."""
_FLOOR, _CEILING = -3 * LN10, 4 * LN10
"""Evidence beyond 1 : 1,000 or 10,000 : 1 is drawn on the edge."""


def chart_against(context: ChartContext) -> Chart:
    """Return the chart of the evidence against the canary."""
    line = decision_line(context, "rollback")
    limit = Limit(line, f"rollback line {format_odds(line)}", "rollback")
    title = "Evidence against the canary"
    return _evidence(context, "rollback", title, limit, "The canary is rolled back once this passes")


def chart_in_favour(context: ChartContext) -> Chart:
    """Return the chart of the evidence for it."""
    line = decision_line(context, "promotion")
    limit = Limit(line, f"promotion line {format_odds(line)}", "promotion")
    title = "Evidence for the canary"
    return _evidence(context, "promotion", title, limit, "A step passes when, at the end of its bake, this is above")


def _evidence(context: ChartContext, kind: str, title: str, limit: Limit, rule: str) -> Chart:
    parts = [item for item in context.record.evidence_series(kind).items() if item[0]]
    whole = Line(
        "all criteria" if kind == "rollback" else "weakest criterion", "whole", context.curve(f"evidence.{kind}")
    )
    lines = (
        *(
            Line(_legend(kind, criterion), f"part part-{i % 5}", context.curve(series), band=False)
            for i, (criterion, series) in enumerate(parts)
        ),
        whole,
    )
    up = _evidence_axis(lines, limit)
    sentence = f"{rule} {format_odds(limit.value)}. {_describe_course(whole)}"
    return make_chart(context, f"evidence-{kind}", title, sentence, up, lines, (limit,), "Logarithmic scale.")


def _legend(kind: str, name: str) -> str:
    return _LEGENDS[kind].get(name) or name.replace("_", " ")


def _describe_course(line: Line) -> str:
    if not line.samples:
        return ""
    highest = max(sample.high for sample in line.samples)
    most, last = format_odds(highest), format_odds(line.samples[-1].mean)
    return f"It was {most} at the end." if most == last else f"It was {most} at most, and {last} at the end."


def _evidence_axis(lines: Sequence[Line], limit: Limit) -> Axis:
    values = [value for line in lines for sample in line.samples for value in (sample.low, sample.high)]
    low = max(min([*values, -LN10]), _FLOOR)
    high = min(max([*values, limit.value + 0.5 * LN10]), max(_CEILING, limit.value + LN10))
    return odds_axis(min(low, limit.value - LN10), high)


def decision_line(context: ChartContext, kind: str) -> float:
    """Return the log evidence at which the judge acts: from its verdicts, else from the plan."""
    for verdict in context.record.verdicts():
        needed = verdict.rollback_needed if kind == "rollback" else verdict.promotion_needed
        if 0 < needed < _BEYOND_DOUBT:
            return needed
    plan = context.plan
    chance = (plan.alpha if kind == "rollback" else plan.beta) if plan else (0.01 if kind == "rollback" else 0.05)
    return -math.log(chance)
