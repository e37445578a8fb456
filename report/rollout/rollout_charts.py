"""A rollout's charts: which series, on which scale, against which limits."""

from __future__ import annotations

from collections.abc import Sequence

from report.charts.axes import latency_axis, ratio_axis, share_axis
from report.charts.curves import Sample
from report.charts.geometry import Chart, Limit, Line
from report.charts.time_axis import is_even
from report.charts.timeline import weight_asked
from report.rollout.chart_context import POOLS, ChartContext, make_chart
from report.rollout.evidence_charts import chart_against, chart_in_favour
from rollout.formatting import format_limit, format_measure, format_ratio, format_span, to_sentence

_HEADROOM = 1.15
_FAR = 2.0
"""A limit farther than this many times all else is named instead of drawn: it would flatten the lines."""


def charts(context: ChartContext) -> list[Chart]:
    """Return the charts that the record has data for, in the page's order."""
    all_charts = (
        _weights(context),
        _errors(context),
        _latency(context),
        chart_against(context),
        chart_in_favour(context),
    )
    return [chart for chart in all_charts if any(line.samples for line in chart.lines)]


def _weights(context: ChartContext) -> Chart:
    asked = weight_asked(context.record, context.clock, context.curve("weight_asked"))
    share = tuple(Sample(s.seconds, 100 * s.low, 100 * s.mean, 100 * s.high) for s in context.curve("share"))
    lines = (
        Line("observed in the traffic", "canary", share, filled=True),
        Line("asked of the gateway", "asked", asked, stepped=True),
    )
    return make_chart(
        context, "weights", "Canary's share of the traffic", _weights_sentence(context), share_axis(), lines
    )


def _weights_sentence(context: ChartContext) -> str:
    steps = [stretch for stretch in context.stretches if stretch.share]
    if not steps:
        return "The canary was given no step."
    parts = ", ".join(f"{step.share} for {format_span(step.end - step.start)}" for step in steps)
    return f"The canary was held at {parts}."


def _tracks(context: ChartContext, suffix: str) -> tuple[Line, Line]:
    def samples(track: str) -> tuple[Sample, ...]:
        return context.error_curve(track) if suffix == "error_ratio" else context.curve(f"{track}.{suffix}")

    banded = suffix != "error_ratio"  # the extremes of pooled ratios are those of single scrapes: noise
    plan = context.plan
    stable, canary = (plan.stable.version, plan.canary.version) if plan else ("", "")
    return (
        Line(f"stable {stable}".strip(), "stable", samples("stable"), band=banded),
        Line(f"canary {canary}".strip(), "canary", samples("canary"), dotted=True, band=banded),
    )


def _errors(context: ChartContext) -> Chart:
    lines = _tracks(context, "error_ratio")
    criterion = context.plan.criteria.errors if context.plan else None
    limits = (
        ()
        if criterion is None
        else (
            Limit(criterion.healthy_below, f"healthy below {format_ratio(criterion.healthy_below)}", "healthy"),
            Limit(criterion.rollback_above, f"rollback above {format_ratio(criterion.rollback_above)}", "rollback"),
        )
    )
    up = ratio_axis(_top(lines, limits))
    return make_chart(context, "errors", "Error ratio", _compared(lines, "ratio"), up, lines, limits, _pooling(context))


def _pooling(context: ChartContext) -> str:
    scrape = context.plan.scrape.total_seconds() if context.plan else 0.0
    window = max(context.clock.seconds / POOLS, scrape)
    known = is_even(context.across) and window > 0
    return (
        f"Each point pools the answers of {format_span(window)}."
        if known
        else "Each point pools the answers around it."
    )


def _latency(context: ChartContext) -> Chart:
    lines = _tracks(context, "latency_ms")
    criterion = context.plan.criteria.latency if context.plan else None
    healthy, worst = (
        (criterion.healthy_below.total_seconds() * 1000, criterion.rollback_above.total_seconds() * 1000)
        if criterion
        else (0.0, 0.0)
    )
    limits = (
        ()
        if criterion is None
        else (
            Limit(healthy, f"healthy below {format_limit(healthy, 'ms')}", "healthy"),
            Limit(worst, f"rollback above {format_limit(worst, 'ms')}", "rollback"),
        )
    )
    up = latency_axis(_top(lines, limits))
    return make_chart(context, "latency", "Mean latency", _compared(lines, "ms"), up, lines, limits)


def _top(lines: Sequence[Line], limits: Sequence[Limit]) -> float:
    """The scale's end: all means, and every limit that is not far above the rest."""
    top = max((sample.mean for line in lines for sample in line.samples), default=0.0)
    for limit in sorted(limits, key=lambda limit: limit.value):
        if limit.style == "healthy" or limit.value <= _FAR * max(top, limits[0].value):
            top = max(top, limit.value)
    return top * _HEADROOM or 1.0


def _compared(lines: Sequence[Line], unit: str) -> str:
    """What each track came to."""
    return " ".join(
        f"{to_sentence(line.label)[:-1]}: {format_measure(line.samples[-1].mean, unit)} at the end, "
        f"{format_measure(max(sample.mean for sample in line.samples), unit)} at most."
        for line in lines
        if line.samples
    )
