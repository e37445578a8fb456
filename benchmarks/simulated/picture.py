"""The figures as one SVG: delays on a log scale beside the bound, and false rollbacks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from html import escape

from benchmarks.simulated.figures import OURS, Figure

CONTENDERS = {
    OURS: ("#0b6e4f", "circle"),
    "z-test": ("#b23a48", "cross"),
    "flagger": ("#3066be", "square"),
    "argo": ("#e07a1f", "diamond"),
    "kayenta": ("#7b4fa3", "triangle"),
}
LEFT, WIDTH, ROW, TOP = 210, 620, 22, 64
SHORTEST, LONGEST = 3.0, 1800.0
INK, FAINT = "#222", "#ddd"


def picture(figures: Sequence[Figure]) -> str:
    """Return an SVG of two panels: how soon faults are found, and how often healthy canaries are rolled back."""
    faulty = [each for each in figures if each.kind == "faulty"]
    healthy = _longest([each for each in figures if each.kind == "healthy"])
    body, bottom = _panel("Seconds from a fault to the rollback (median)", faulty, TOP, _delay_marks)
    below, bottom = _panel("Healthy canaries rolled back", healthy, bottom + 56, _alarm_marks)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {LEFT + WIDTH + 90} {bottom + 20}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img" '
        'aria-label="Delays and false rollbacks of the judge and of the rules it is compared with">'
    )
    return "\n".join([head, f'<rect width="100%" height="100%" fill="#fff"/>{_legend()}', *body, *below, "</svg>\n"])


def _longest(figures: list[Figure]) -> list[Figure]:
    best: dict[tuple[str, str], Figure] = {}
    for each in figures:
        key = (each.family, each.contender)
        if key not in best or best[key].horizon < each.horizon:
            best[key] = each
    return list(best.values())


def _legend() -> str:
    parts = []
    for number, (name, (colour, shape)) in enumerate(CONTENDERS.items()):
        x = LEFT + 95 * number
        parts.append(_mark(shape, x, 20, colour) + _text(x + 10, 24, name))
    x = LEFT + 95 * len(CONTENDERS)
    return "".join(parts) + _bound(x, 20) + _text(x + 8, 24, "bound")


def _panel(title: str, figures: list[Figure], top: float, marks: object) -> tuple[list[str], float]:
    assert callable(marks)
    families = list(dict.fromkeys(each.family for each in figures))
    bottom = top + ROW * len(families)
    lines = [_text(LEFT, top - 14, title, weight="600"), *marks(None, top, bottom)]
    for number, family in enumerate(families):
        y = top + ROW * (number + 0.5)
        lines.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH + 60}" y1="{y}" y2="{y}" stroke="{FAINT}"/>')
        lines.append(_text(LEFT - 10, y + 4, family, anchor="end"))
        lines += marks([each for each in figures if each.family == family], y, y)
    return lines, bottom


def _delay_marks(figures: list[Figure] | None, y: float, bottom: float) -> Iterator[str]:
    if figures is None:
        for seconds in (3, 10, 30, 60, 300, 600, 1800):
            yield from _tick(_log_x(seconds), y, bottom, f"{seconds}")
        yield from _tick(LEFT + WIDTH + 45, y, bottom, "never")
        return
    yield _bound(_log_x(figures[0].bound), y)
    for each in _ours_last(figures):
        # those that never find it stand side by side
        aside = LEFT + WIDTH + 45 + 11 * (list(CONTENDERS).index(each.contender) - 2)
        x = _log_x(each.median) if math.isfinite(each.median) else aside
        yield _mark(CONTENDERS[each.contender][1], x, y, CONTENDERS[each.contender][0])


def _alarm_marks(figures: list[Figure] | None, y: float, bottom: float) -> Iterator[str]:
    if figures is None:
        for share in (0, 0.25, 0.5, 0.75, 1):
            yield from _tick(LEFT + WIDTH * share, y, bottom, f"{share:.0%}")
        return
    for each in _ours_last(figures):
        yield _mark(CONTENDERS[each.contender][1], LEFT + WIDTH * each.share, y, CONTENDERS[each.contender][0])


def _ours_last(figures: list[Figure]) -> list[Figure]:
    return sorted(figures, key=lambda each: each.contender == OURS)


def _log_x(seconds: float) -> float:
    part = math.log(min(max(seconds, SHORTEST), LONGEST) / SHORTEST) / math.log(LONGEST / SHORTEST)
    return round(LEFT + WIDTH * part, 1)


def _tick(x: float, top: float, bottom: float, label: str) -> Iterator[str]:
    yield f'<line x1="{x}" x2="{x}" y1="{top}" y2="{bottom}" stroke="{FAINT}"/>'
    yield _text(x, bottom + 14, label, anchor="middle", colour="#666")


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "400", colour: str = INK) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}">{escape(words)}</text>'


def _bound(x: float, y: float) -> str:
    return f'<line x1="{x}" x2="{x}" y1="{y - 8}" y2="{y + 8}" stroke="{INK}" stroke-width="2.5"/>'


def _mark(shape: str, x: float, y: float, colour: str) -> str:
    match shape:
        case "circle":
            return f'<circle cx="{x}" cy="{y}" r="5.5" fill="{colour}"/>'
        case "square":
            return f'<rect x="{x - 4}" y="{y - 4}" width="8" height="8" fill="{colour}"/>'
        case "diamond":
            path = f"M{x} {y - 6}L{x + 6} {y}L{x} {y + 6}L{x - 6} {y}Z"
        case "triangle":
            path = f"M{x} {y - 6}L{x + 6} {y + 5}L{x - 6} {y + 5}Z"
        case _:
            cross = f"M{x - 4} {y - 4}L{x + 4} {y + 4}M{x - 4} {y + 4}L{x + 4} {y - 4}"
            return f'<path d="{cross}" stroke="{colour}" stroke-width="2.5"/>'
    return f'<path d="{path}" fill="{colour}"/>'
