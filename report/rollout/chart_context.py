"""What all charts of one page share."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from report.charts.axes import Axis
from report.charts.curves import Sample, curve, error_curve
from report.charts.geometry import Chart, Limit, Line
from report.charts.time_axis import is_even, time_axis, time_unit
from report.charts.timeline import Clock, Mark, Stretch, marks, stretches
from rollout.plan import RolloutPlan
from rollout.record import RolloutRecord

POOLS = 90
"""Windows along the time axis over which errors are pooled."""
_DRAWN = 500
"""Windows for all else: a page is under 1,000 pixels wide, and twenty lines stay far below 1 MB."""


@dataclass(frozen=True, slots=True)
class ChartContext:
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
        return error_curve(self.record, track, self.clock.origin, lambda seconds: self._window(seconds, POOLS))

    def _window(self, seconds: float, windows: int) -> int:
        return int(self.across.place(seconds) * windows)

    @property
    def plan(self) -> RolloutPlan | None:
        """The plan, once the record has it."""
        return self.record.started.plan if self.record.started else None


def chart_context(record: RolloutRecord, clock: Clock) -> ChartContext:
    """Return what all charts share."""
    parts = stretches(record, clock)
    return ChartContext(record, clock, time_axis(clock.seconds, parts), marks(record, clock), parts)


def make_chart(
    context: ChartContext,
    name: str,
    title: str,
    sentence: str,
    up: Axis,
    lines: Iterable[Line],
    limits: tuple[Limit, ...] = (),
    footnote: str = "",
) -> Chart:
    """Return a chart of the lines that have data, with all that the page's charts share."""
    return Chart(
        name=name,
        title=title,
        sentence=sentence,
        across=context.across,
        up=up,
        lines=tuple(line for line in lines if line.samples),
        limits=limits,
        marks=context.marks,
        stretches=context.stretches,
        footnote=f"{footnote} {_time_note(context.across)}".strip(),
    )


def _time_note(across: Axis) -> str:
    uneven = "" if is_even(across) else "; short steps are drawn wider than long ones"
    return f"Time: {time_unit(across)}{uneven}."
