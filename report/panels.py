"""The page's charts: which series, on which scale, against which limits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from report.axes import LN10, Axis, latency_axis, odds_axis, ratio_axis, share_axis, time_axis, time_unit
from report.charts import Chart, Limit, Line
from report.curves import POOLS, Sample, curve, error_curve
from report.timeline import Clock, Mark, Stretch, marks, stretches, weight_asked
from report.wording import number, odds, percent, quantity, span
from rollout.plan import RolloutPlan
from rollout.record import RolloutRecord, StepEnded, VerdictChanged, VerdictEntry

_HEADROOM = 1.15
_FAR = 2.5
"""A limit farther than this many times all else is named instead of drawn: it would flatten the lines."""
_FLOOR, _CEILING = -3 * LN10, 5 * LN10
"""Evidence beyond 1 : 1,000 or 100,000 : 1 is drawn on the edge."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all charts of one page share."""

    record: RolloutRecord
    clock: Clock
    across: Axis
    marks: tuple[Mark, ...]
    stretches: tuple[Stretch, ...]

    @property
    def plan(self) -> RolloutPlan | None:
        """The plan, once the record has it."""
        return self.record.started.plan if self.record.started else None


def setting(record: RolloutRecord, clock: Clock) -> Setting:
    """Return what all charts share."""
    return Setting(record, clock, time_axis(clock.seconds), marks(record, clock), stretches(record, clock))


def charts(scene: Setting) -> list[Chart]:
    """Return the charts that the record has data for, in the page's order."""
    found = (_weights(scene), _errors(scene), _latency(scene), _against(scene), _in_favour(scene))
    return [chart for chart in found if any(line.samples for line in chart.lines)]


def _chart(
    scene: Setting,
    name: str,
    title: str,
    sentence: str,
    up: Axis,
    lines: Iterable[Line],
    limits: tuple[Limit, ...] = (),
    footnote: str = "",
) -> Chart:
    return Chart(
        name=name,
        title=title,
        sentence=sentence,
        across=scene.across,
        up=up,
        lines=tuple(line for line in lines if line.samples),
        limits=limits,
        marks=scene.marks,
        stretches=scene.stretches,
        footnote=f"{footnote} Time: {time_unit(scene.across)}.".strip(),
    )


def _weights(scene: Setting) -> Chart:
    asked = weight_asked(scene.record, scene.clock)
    share = tuple(
        Sample(s.seconds, 100 * s.low, 100 * s.mean, 100 * s.high)
        for s in curve(scene.record, "share", scene.clock.origin)
    )
    lines = (
        Line("observed in the traffic", "canary", share, filled=True),
        Line("asked of the gateway", "asked", asked, stepped=True),
    )
    return _chart(scene, "weights", "Canary's share of the traffic", _weights_sentence(scene), share_axis(), lines)


def _weights_sentence(scene: Setting) -> str:
    steps = [stretch for stretch in scene.stretches if stretch.share]
    if not steps:
        return "The canary was given no step."
    parts = ", ".join(f"{step.share} for {span(step.end - step.start)}" for step in steps)
    return f"The canary was held at {parts}."


def _tracks(scene: Setting, suffix: str) -> tuple[Line, Line]:
    origin, seconds = scene.clock.origin, scene.clock.seconds

    def samples(track: str) -> tuple[Sample, ...]:
        if suffix == "error_ratio":
            return error_curve(scene.record, track, origin, seconds)
        return curve(scene.record, f"{track}.{suffix}", origin)

    plan = scene.plan
    stable, canary = (plan.stable.version, plan.canary.version) if plan else ("", "")
    return (
        Line(f"stable {stable}".strip(), "stable", samples("stable")),
        Line(f"canary {canary}".strip(), "canary", samples("canary"), dotted=True),
    )


def _errors(scene: Setting) -> Chart:
    lines = _tracks(scene, "error_ratio")
    criterion = scene.plan.criteria.errors if scene.plan else None
    limits = (
        ()
        if criterion is None
        else (
            Limit(criterion.healthy_below, f"healthy below {percent(criterion.healthy_below)}", "healthy"),
            Limit(criterion.rollback_above, f"rollback above {percent(criterion.rollback_above)}", "rollback"),
        )
    )
    window = f"Each point pools {span(max(scene.clock.seconds / POOLS, 1.0))} of answers."
    up = ratio_axis(_top(lines, limits))
    return _chart(scene, "errors", "Error ratio", _compared(lines, "ratio"), up, lines, limits, window)


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
            Limit(healthy, f"healthy below {number(healthy)} ms", "healthy"),
            Limit(worst, f"rollback above {number(worst)} ms", "rollback"),
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
    """What the tracks came to at the end: the mean of the last quarter of each line."""
    parts = [f"{line.label} {quantity(_late(line.samples), unit)}" for line in lines if line.samples]
    return f"At the end: {', '.join(parts)}." if parts else ""


def _late(samples: Sequence[Sample]) -> float:
    last = samples[-max(len(samples) // 8, 1) :]
    return sum(sample.mean for sample in last) / len(last)


def _against(scene: Setting) -> Chart:
    line = decisive(scene, "rollback")
    limit = Limit(line, f"rollback line {odds(line)}", "rollback")
    title = "Evidence against the canary"
    return _evidence(scene, "rollback", title, limit, "The canary is rolled back once this passes")


def _in_favour(scene: Setting) -> Chart:
    line = decisive(scene, "promotion")
    limit = Limit(line, f"promotion line {odds(line)}", "promotion")
    title = "Evidence for the canary"
    return _evidence(scene, "promotion", title, limit, "A step passes when, at the end of its bake, this is above")


def _evidence(scene: Setting, kind: str, title: str, limit: Limit, rule: str) -> Chart:
    prefix = f"evidence.{kind}"
    parts = sorted(name for name in scene.record.series if name.startswith(f"{prefix}."))
    origin = scene.clock.origin
    whole = Line(
        "all criteria" if kind == "rollback" else "weakest criterion", "whole", curve(scene.record, prefix, origin)
    )
    lines = (
        *(
            Line(name.removeprefix(f"{prefix}."), f"part part-{i % 5}", curve(scene.record, name, origin), band=False)
            for i, name in enumerate(parts)
        ),
        whole,
    )
    up = _evidence_axis(lines, limit)
    highest = max((sample.high for sample in whole.samples), default=-math.inf)
    reached = f" It reached {odds(highest)}." if whole.samples else ""
    sentence = f"{rule} {odds(limit.value)}.{reached}"
    return _chart(scene, f"evidence-{kind}", title, sentence, up, lines, (limit,), "Logarithmic scale.")


def _evidence_axis(lines: Sequence[Line], limit: Limit) -> Axis:
    values = [value for line in lines for sample in line.samples for value in (sample.low, sample.high)]
    low = max(min([*values, -LN10]), _FLOOR)
    high = min(max([*values, limit.value + 0.5 * LN10]), max(_CEILING, limit.value + LN10))
    return odds_axis(min(low, limit.value - LN10), high)


def decisive(scene: Setting, kind: str) -> float:
    """Return the log evidence at which the judge acts: from its verdicts, else from the plan."""
    for verdict in _verdicts(scene.record):
        needed = verdict.rollback_needed if kind == "rollback" else verdict.promotion_needed
        if 0 < needed < math.inf:
            return needed
    plan = scene.plan
    chance = (plan.alpha if kind == "rollback" else plan.beta) if plan else (0.01 if kind == "rollback" else 0.05)
    return -math.log(chance)


def _verdicts(record: RolloutRecord) -> Iterable[VerdictEntry]:
    return (event.verdict for event in record.events if isinstance(event, VerdictChanged | StepEnded))
