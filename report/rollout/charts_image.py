"""The charts as one picture that needs no page around it: for places that show images alone."""

from __future__ import annotations

from collections.abc import Iterator
from xml.sax.saxutils import escape

from report.charts.geometry import HEIGHT, Chart, Drawing, draw
from report.charts.timeline import clock_of
from report.rollout.chart_context import chart_context
from report.rollout.rollout_charts import charts
from rollout.record import RolloutRecord

_WIDTH, _LEFT, _TOP, _BELOW = 900, 70, 52, 34
_EACH = _TOP + HEIGHT + _BELOW
_COLOURS = {
    "canary": "#b45c00",
    "stable": "#2f6db3",
    "rollback": "#b0271d",
    "promotion": "#1b7045",
    "healthy": "#1b7045",
}
_QUIET, _RULE = "#5b6570", "#dfe3e8"


def picture(record: RolloutRecord) -> str:
    """Return an SVG of the charts that the record has data for; an empty one where it has none."""
    drawn = charts(chart_context(record, clock_of(record)))
    parts = [part for place, chart in enumerate(drawn) for part in _chart(chart, place * _EACH)]
    height = max(len(drawn) * _EACH, 1)
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}"'
    paper = '<rect width="100%" height="100%" fill="#fff"/>'
    return f'{head} font-family="sans-serif" font-size="12">{paper}{"".join(parts)}</svg>'


def _chart(chart: Chart, top: int) -> Iterator[str]:
    drawing = draw(chart)
    wide = _WIDTH - _LEFT - 20
    yield f'<text x="10" y="{top + 22}" font-size="15" font-weight="600" fill="#1c2024">{escape(chart.title)}</text>'
    yield f'<text x="10" y="{top + 40}" fill="{_QUIET}">{escape(chart.sentence)}</text>'
    yield f'<g transform="translate({_LEFT} {top + _TOP})">'
    yield from _axes(drawing, wide)
    yield f'<svg viewBox="0 0 1000 {HEIGHT}" width="{wide}" height="{HEIGHT}" preserveAspectRatio="none">'
    for area in drawing.areas:
        yield f'<path d="{area.data}" fill="{_colour(area.style)}" fill-opacity=".15"/>'
    for path in drawing.paths:
        yield (
            f'<path d="{path.data}" fill="none" stroke="{_colour(path.style)}" stroke-width="2" '
            'vector-effect="non-scaling-stroke" stroke-linecap="round"/>'
        )
    yield "</svg></g>"


def _axes(drawing: Drawing, wide: int) -> Iterator[str]:
    for label in drawing.y_labels:
        yield f'<line x1="0" x2="{wide}" y1="{label.y}" y2="{label.y}" stroke="{_RULE}"/>'
        yield f'<text x="-8" y="{label.y + 4}" text-anchor="end" fill="{_QUIET}">{escape(label.text)}</text>'
    for label in drawing.x_labels:
        at = f"{label.x / 100 * wide:.0f}"
        yield f'<text x="{at}" y="{HEIGHT + 18}" text-anchor="middle" fill="{_QUIET}">{escape(label.text)}</text>'
    for limit in drawing.limits:
        colour, text = _colour(limit.style), escape(limit.text)
        yield f'<line x1="0" x2="{wide}" y1="{limit.y}" y2="{limit.y}" stroke="{colour}" stroke-dasharray="5 4"/>'
        yield f'<text x="{wide}" y="{limit.y - 5}" text-anchor="end" fill="{colour}">{text}</text>'
    for mark in drawing.marks:
        at = f"{mark.x / 100 * wide:.0f}"
        yield f'<line x1="{at}" x2="{at}" y1="0" y2="{HEIGHT}" stroke="{_QUIET}" stroke-dasharray="2 3"/>'


def _colour(style: str) -> str:
    return next((colour for word, colour in _COLOURS.items() if word in style), _QUIET)
