"""Charts as geometry: what the template draws as inline SVG.

Lines live in a box of 1000 x HEIGHT units that is stretched to the page's width; all texts and marks are placed in
percent, so that they keep their size on a phone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from report.charts.axes import Axis
from report.charts.curves import Sample, segments
from report.charts.timeline import Mark, Stretch

WIDTH = 1000
HEIGHT = 200
_DOTS = 16
"""Dots on a dotted line as wide as the chart: enough to tell it apart without colour."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series on a chart."""

    label: str
    style: str
    """Its class in the style sheet: `stable`, `canary`, `asked`, `whole`, `part-1` ..."""
    samples: tuple[Sample, ...]
    dotted: bool = False
    stepped: bool = False
    filled: bool = False
    band: bool = True


@dataclass(frozen=True, slots=True)
class Limit:
    """A line that means something when it is crossed."""

    value: float
    label: str
    style: str
    """`healthy`, `rollback` or `promotion`."""


@dataclass(frozen=True, slots=True)
class Chart:
    """What a chart shows, before it is drawn."""

    name: str
    title: str
    sentence: str
    across: Axis
    up: Axis
    lines: tuple[Line, ...]
    limits: tuple[Limit, ...] = ()
    marks: tuple[Mark, ...] = ()
    stretches: tuple[Stretch, ...] = ()
    footnote: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """A text at a place: x in percent of the width, y in pixels from the top."""

    x: float
    y: float
    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """SVG path data, and the class that styles it."""

    data: str
    style: str


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of time as a column of the chart, in percent, with the longest name that fits."""

    x: float
    width: float
    long: str
    short: str
    """What fits on a phone."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A chart, ready for the template."""

    chart: Chart
    x_labels: tuple[Label, ...]
    y_labels: tuple[Label, ...]
    areas: tuple[Path, ...]
    paths: tuple[Path, ...]
    dots: tuple[Label, ...]
    limits: tuple[Label, ...]
    names: tuple[Label, ...]
    """The limits' names, clear of each other's lines."""
    beyond: tuple[Limit, ...]
    """Limits above the scale: named, not drawn."""
    marks: tuple[Label, ...]
    blocks: tuple[Block, ...] = field(default=())

    @property
    def rise(self) -> float:
        """Pixels that raised letters need above the chart."""
        return -min((mark.y for mark in self.marks), default=0.0)


def draw(chart: Chart) -> Drawing:
    """Return a chart's geometry."""
    limits = [limit for limit in chart.limits if chart.up.holds(limit.value)]
    return Drawing(
        chart=chart,
        x_labels=tuple(Label(_x(chart, tick.value), HEIGHT, tick.label) for tick in chart.across.ticks),
        y_labels=tuple(Label(0, _y(chart, tick.value), tick.label) for tick in chart.up.ticks),
        areas=tuple(area for line in chart.lines for area in _areas(chart, line)),
        paths=tuple(Path(_trace(chart, line), line.style) for line in chart.lines),
        dots=tuple(dot for line in chart.lines if line.dotted for dot in _dots(chart, line)),
        limits=tuple(Label(0, _y(chart, limit.value), limit.label, limit.style) for limit in limits),
        names=tuple(_name(chart, limit, limits) for limit in limits),
        beyond=tuple(limit for limit in chart.limits if limit.value > chart.up.high),
        marks=tuple(_raised(chart)),
        blocks=tuple(_block(chart, stretch) for stretch in chart.stretches),
    )


def _x(chart: Chart, seconds: float) -> float:
    return round(chart.across.place(seconds) * 100, 2)


def _y(chart: Chart, value: float) -> float:
    return round((1 - chart.up.place(value)) * HEIGHT, 1)


def _point(chart: Chart, seconds: float, value: float) -> str:
    return f"{_across(chart, seconds)} {_y(chart, value):g}"


def _across(chart: Chart, seconds: float) -> str:
    return f"{chart.across.place(seconds) * WIDTH:.1f}"


def _trace(chart: Chart, line: Line) -> str:
    return "".join(_run(chart, run, line.stepped) for run in _runs(line))


def _runs(line: Line) -> Sequence[Sequence[Sample]]:
    return [line.samples] if line.stepped else segments(line.samples)


def _run(chart: Chart, run: Sequence[Sample], stepped: bool) -> str:
    points = [_point(chart, sample.seconds, sample.mean) for sample in run]
    if not points:
        return ""
    if len(points) == 1:  # a lone point: a line without length, which a round cap makes visible
        return f"M{points[0]}h0"
    if not stepped:
        return "M" + "L".join(points)
    turns = [f"H{_across(chart, sample.seconds)}V{_y(chart, sample.mean):g}" for sample in run[1:]]
    corners = [f"{point}{turn}" for point, turn in zip(points, turns, strict=False)]
    return "M" + "M".join(corners)


def _areas(chart: Chart, line: Line) -> list[Path]:
    if line.filled:
        return [Path(_under(chart, run), f"{line.style} under") for run in segments(line.samples)]
    if line.band and any(sample.low < sample.high for sample in line.samples):
        return [Path(_between(chart, run), f"{line.style} band") for run in segments(line.samples)]
    return []


def _under(chart: Chart, run: Sequence[Sample]) -> str:
    trace = "L".join(_point(chart, sample.seconds, sample.mean) for sample in run)
    floor = chart.up.low
    return f"M{_point(chart, run[0].seconds, floor)}L{trace}L{_point(chart, run[-1].seconds, floor)}Z"


def _between(chart: Chart, run: Sequence[Sample]) -> str:
    above = [_point(chart, sample.seconds, sample.high) for sample in run]
    below = [_point(chart, sample.seconds, sample.low) for sample in reversed(run)]
    return "M" + "L".join([*above, *below]) + "Z"


def _dots(chart: Chart, line: Line) -> list[Label]:
    slots: dict[int, Sample] = {}
    for sample in line.samples:
        slots.setdefault(int(chart.across.place(sample.seconds) * _DOTS), sample)
    return [Label(_x(chart, s.seconds), _y(chart, s.mean), "", line.style) for s in slots.values()]


def _name(chart: Chart, limit: Limit, limits: Sequence[Limit]) -> Label:
    """A limit's name above its line, and above any other line that would run through it."""
    lines = sorted((_y(chart, other.value) for other in limits if other.value >= limit.value), reverse=True)
    y = lines[0]
    for line in lines[1:]:
        y = line if y - line < _LINE_HEIGHT else y
    return Label(0, y, limit.label, limit.style)


def _raised(chart: Chart) -> Iterator[Label]:
    """The marks' letters; one that would touch its neighbour is raised by a line."""
    last = [-_LETTERS_APART] * _LEVELS
    for mark in chart.marks:
        x = _x(chart, mark.seconds)
        level = next((level for level in range(_LEVELS) if x - last[level] >= _LETTERS_APART), 0)
        last[level] = x
        yield Label(x, -level * _LINE_HEIGHT, mark.letter, mark.style)


_LEVELS, _LETTERS_APART = 3, 4.0
"""Lines of letters above a chart, and their least distance in percent of a phone's width."""
_LINE_HEIGHT = 14.0
_LETTER = 7.0
"""Rough width of a letter in the charts' type, in pixels."""


def _block(chart: Chart, stretch: Stretch) -> Block:
    left, right = _x(chart, stretch.start), _x(chart, stretch.end)
    return Block(
        x=left,
        width=round(right - left, 2),
        long=_fitting(stretch, (right - left) / 100 * 780),
        short=_fitting(stretch, (right - left) / 100 * 270),
    )


def _fitting(stretch: Stretch, pixels: float) -> str:
    texts = (f"{stretch.name} {stretch.share}".strip(), stretch.share or stretch.name)
    return next((text for text in texts if len(text) * _LETTER + 8 <= pixels), "")
