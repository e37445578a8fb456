"""The page's charts: which series, on which scale, against which limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from report.charts.axes import LN10, Axis, latency_axis, odds_axis, ratio_axis, share_axis
from report.charts.curves import Sample, curve, error_curve
from report.charts.geometry import Chart, Limit, Line
from report.charts.time_axis import is_even, time_axis, time_unit
from report.charts.timeline import Clock, Mark, Stretch, marks, stretches, weight_asked
from rollout.formatting import format_measure, format_ms, format_odds, format_ratio, format_span, to_sentence
from rollout.plan import RolloutPlan
from rollout.record import RolloutRecord

_POOLS = 90
"""Windows along the time axis over which errors are pooled."""
_BEYOND_DOUBT = 100.0
"""Natural log of evidence that no line of a judge lies above: such a line is a slip."""
_DRAWN = 500
"""Windows for all else: a page is under 1,000 pixels wide, and twenty lines stay far below 1 MB."""
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
_HEADROOM = 1.15
_FAR = 2.0
"""A limit farther than this many times all else is named instead of drawn: it would flatten the lines."""
_FLOOR, _CEILING = -3 * LN10, 4 * LN10
"""Evidence beyond 1 : 1,000 or 10,000 : 1 is drawn on the edge."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all charts of one page share."""

    record: RolloutRecord
    clock: Clock
    across: Axis
    marks: tuple[Mark, ...]
    stretches: tuple[Stretch, ...]

    def curve(self, series: str) -> tuple[Sample, ...]:
        """Return a series as fine as the page can show it."""
        return curve(self.record, series, self.clock.origin, lambda seconds: self._window(seconds, _DRAWN))

    def error_curve(self, track: str) -> tuple[Sample, ...]:
        """Return a track's error ratio, pooled until it can be read."""
        return error_curve(self.record, track, self.clock.origin, lambda seconds: self._window(seconds, _POOLS))

    def _window(self, seconds: float, windows: int) -> int:
        return int(self.across.place(seconds) * windows)

    @property
    def plan(self) -> RolloutPlan | None:
        """The plan, once the record has it."""
        return self.record.started.plan if self.record.started else None


def setting(record: RolloutRecord, clock: Clock) -> Setting:
    """Return what all charts share."""
    parts = stretches(record, clock)
    return Setting(record, clock, time_axis(clock.seconds, parts), marks(record, clock), parts)


def charts(scene: Setting) -> list[Chart]:
    """Return the charts that the record has data for, in the page's order."""
    found = (_weights(scene), _errors(scene), _latency(scene), _against(scene), _in_favour(scene))
    return [chart for chart in found if any(line.samples for line in chart.lines)]


def _chart(
    scene: Setting,
    name: str,
    title: str,
    told: str,
    up: Axis,
    lines: Iterable[Line],
    limits: tuple[Limit, ...] = (),
    footnote: str = "",
) -> Chart:
    return Chart(
        name=name,
        title=title,
        sentence=told,
        across=scene.across,
        up=up,
        lines=tuple(line for line in lines if line.samples),
        limits=limits,
        marks=scene.marks,
        stretches=scene.stretches,
        footnote=f"{footnote} {_time_note(scene.across)}".strip(),
    )


def _time_note(across: Axis) -> str:
    uneven = "" if is_even(across) else "; short steps are drawn wider than long ones"
    return f"Time: {time_unit(across)}{uneven}."


def _weights(scene: Setting) -> Chart:
    asked = weight_asked(scene.record, scene.clock, scene.curve("weight_asked"))
    share = tuple(Sample(s.seconds, 100 * s.low, 100 * s.mean, 100 * s.high) for s in scene.curve("share"))
    lines = (
        Line("observed in the traffic", "canary", share, filled=True),
        Line("asked of the gateway", "asked", asked, stepped=True),
    )
    return _chart(scene, "weights", "Canary's share of the traffic", _weights_sentence(scene), share_axis(), lines)


def _weights_sentence(scene: Setting) -> str:
    steps = [stretch for stretch in scene.stretches if stretch.share]
    if not steps:
        return "The canary was given no step."
    parts = ", ".join(f"{step.share} for {format_span(step.end - step.start)}" for step in steps)
    return f"The canary was held at {parts}."


def _tracks(scene: Setting, suffix: str) -> tuple[Line, Line]:
    def samples(track: str) -> tuple[Sample, ...]:
        return scene.error_curve(track) if suffix == "error_ratio" else scene.curve(f"{track}.{suffix}")

    banded = suffix != "error_ratio"  # the extremes of pooled ratios are those of single scrapes: noise
    plan = scene.plan
    stable, canary = (plan.stable.version, plan.canary.version) if plan else ("", "")
    return (
        Line(f"stable {stable}".strip(), "stable", samples("stable"), band=banded),
        Line(f"canary {canary}".strip(), "canary", samples("canary"), dotted=True, band=banded),
    )


def _errors(scene: Setting) -> Chart:
    lines = _tracks(scene, "error_ratio")
    criterion = scene.plan.criteria.errors if scene.plan else None
    limits = (
        ()
        if criterion is None
        else (
            Limit(criterion.healthy_below, f"healthy below {format_ratio(criterion.healthy_below)}", "healthy"),
            Limit(criterion.rollback_above, f"rollback above {format_ratio(criterion.rollback_above)}", "rollback"),
        )
    )
    up = ratio_axis(_top(lines, limits))
    return _chart(scene, "errors", "Error ratio", _compared(lines, "ratio"), up, lines, limits, _pooling(scene))


def _pooling(scene: Setting) -> str:
    scrape = scene.plan.scrape.total_seconds() if scene.plan else 0.0
    window = max(scene.clock.seconds / _POOLS, scrape)
    known = is_even(scene.across) and window > 0
    return (
        f"Each point pools the answers of {format_span(window)}."
        if known
        else "Each point pools the answers around it."
    )


def _latency(scene: Setting) -> Chart:
    lines = _tracks(scene, "latency_ms")
    criterion = scene.plan.criteria.latency if scene.plan else None
    healthy, worst = (
        (criterion.healthy_below.total_seconds() * 1000, criterion.rollback_above.total_seconds() * 1000)
        if criterion
        else (0.0, 0.0)
    )
    limits = (
        ()
        if criterion is None
        else (
            Limit(healthy, f"healthy below {format_ms(healthy)}", "healthy"),
            Limit(worst, f"rollback above {format_ms(worst)}", "rollback"),
        )
    )
    up = latency_axis(_top(lines, limits))
    return _chart(scene, "latency", "Mean latency", _compared(lines, "ms"), up, lines, limits)


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


def _against(scene: Setting) -> Chart:
    line = decisive(scene, "rollback")
    limit = Limit(line, f"rollback line {format_odds(line)}", "rollback")
    title = "Evidence against the canary"
    return _evidence(scene, "rollback", title, limit, "The canary is rolled back once this passes")


def _in_favour(scene: Setting) -> Chart:
    line = decisive(scene, "promotion")
    limit = Limit(line, f"promotion line {format_odds(line)}", "promotion")
    title = "Evidence for the canary"
    return _evidence(scene, "promotion", title, limit, "A step passes when, at the end of its bake, this is above")


def _evidence(scene: Setting, kind: str, title: str, limit: Limit, rule: str) -> Chart:
    parts = [item for item in scene.record.evidence_series(kind).items() if item[0]]
    whole = Line(
        "all criteria" if kind == "rollback" else "weakest criterion", "whole", scene.curve(f"evidence.{kind}")
    )
    lines = (
        *(
            Line(_legend(kind, criterion), f"part part-{i % 5}", scene.curve(series), band=False)
            for i, (criterion, series) in enumerate(parts)
        ),
        whole,
    )
    up = _evidence_axis(lines, limit)
    told = f"{rule} {format_odds(limit.value)}. {_stood(whole)}"
    return _chart(scene, f"evidence-{kind}", title, told, up, lines, (limit,), "Logarithmic scale.")


def _legend(kind: str, name: str) -> str:
    return _LEGENDS[kind].get(name) or name.replace("_", " ")


def _stood(line: Line) -> str:
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


def decisive(scene: Setting, kind: str) -> float:
    """Return the log evidence at which the judge acts: from its verdicts, else from the plan."""
    for verdict in scene.record.verdicts():
        needed = verdict.rollback_needed if kind == "rollback" else verdict.promotion_needed
        if 0 < needed < _BEYOND_DOUBT:
            return needed
    plan = scene.plan
    chance = (plan.alpha if kind == "rollback" else plan.beta) if plan else (0.01 if kind == "rollback" else 0.05)
    return -math.log(chance)
