"""Numbers, times and odds as a person reads them, in one style wherever they are shown.

What a person writes in a plan (`0.1%`, `1h30m`) is `rollout.quantities`' own.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from rollout.model import Outcome

NOTHING: Final = "–"
"""Stands where the record holds no number."""
OUTCOME_MARK: Final = {Outcome.PASS: "✓", Outcome.FAIL: "✕", Outcome.INCONCLUSIVE: "?"}
"""A sign beside the colour, for eyes and printers that tell no colours apart."""
CALM_MARK: Final = "·"
"""The sign of no sign."""
_MOST: Final = 1e15
"""Counts past this are given as a bound, and so are odds past the next: more digits would not change anyone's mind."""
_MOST_ODDS, _LEAST_ODDS = 1e6, 1e-3
_LEAST: Final = 1e-9
_UNITS: Final = ((172_800, 3600, 24, "d", "h"), (3600, 60, 60, "h", "min"), (60, 1, 60, "min", "s"))
"""From how many seconds on, seconds of the smaller unit, how many of it the larger one has, and both names."""
# C0, DEL and C1 but for tab and newline; line separators, and what turns the direction of writing (CVE-2021-42574).
_STEERING: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def format_count(number: float) -> str:
    """Return a whole number with its thousands set apart.

    >>> format_count(12345.0), format_count(3e22)
    ('12,345', 'over 1,000,000,000,000,000')
    """
    if not math.isfinite(number):
        return NOTHING
    if abs(number) > _MOST:
        return f"over {_MOST:,.0f}" if number > 0 else f"under -{_MOST:,.0f}"
    return f"{round(number):,}"


def format_number(value: float) -> str:
    """Return a number with about three digits that mean something, and never as a power of ten.

    >>> [format_number(value) for value in (0.01234, 41.26, 999.7, 2180.0, 0.0000123, 0.0)]
    ['0.0123', '41.3', '1,000', '2,180', '0.000012', '0']
    """
    if not math.isfinite(value):
        return NOTHING
    if abs(value) >= 999.5:
        return format_count(value)
    if value == 0 or abs(value) >= 1e-4:
        return f"{value:.3g}"
    return f"{value:.{1 - math.floor(math.log10(abs(value)))}f}".rstrip("0") if abs(value) >= _LEAST else "0"


def format_ratio(ratio: float) -> str:
    """Return a ratio (0-1) as percent.

    >>> format_ratio(0.001), format_ratio(0.20314), format_ratio(0.999501), format_ratio(0.0)
    ('0.1 %', '20.3 %', '99.95 %', '0 %')
    """
    if not math.isfinite(ratio):
        return NOTHING
    if 0.99 < ratio < 1:  # 99.9501 % is not 100 %
        return f"{100 - float(f'{100 - ratio * 100:.2g}'):.10g} %"
    return f"{format_number(ratio * 100)} %"


def format_change(times: float) -> str:
    """Return how much larger a figure is than another, given as their quotient.

    >>> format_change(1.005), format_change(0.5), format_change(1.0), format_change(3.0)
    ('+0.5 %', '-50 %', '+0 %', '+200 %')
    """
    change = float(f"{times - 1:.3g}")
    return f"{'' if change < 0 else '+'}{format_ratio(change)}"


def format_ms(value: float) -> str:
    """Return a latency, given in milliseconds, in three digits.

    >>> format_ms(41.26), format_ms(8024.0), format_ms(2.0)
    ('41.3 ms', '8,020 ms', '2 ms')
    """
    return f"{format_number(float(f'{value:.3g}'))} ms" if math.isfinite(value) else "unknown"


def format_measure(value: float, unit: str) -> str:
    """Return a finding's number with its unit: `ratio`, `ms`, `x`, another or none.

    >>> format_measure(0.05, "ratio"), format_measure(41.26, "ms"), format_measure(1.2, "x"), format_measure(3, "cores")
    ('5 %', '41.3 ms', '1.2×', '3 cores')
    """
    match unit:
        case "ratio":
            return format_ratio(value)
        case "ms":
            return format_ms(value) if math.isfinite(value) else NOTHING
        case "x":
            return f"{format_number(value)}×"
        case _:
            return f"{format_number(value)} {unit}".rstrip()


def format_limit(value: float, unit: str) -> str:
    """Return a limit with its unit, as exact as a person has set it.

    >>> format_limit(1234.5, "ms"), format_limit(0.001, "ratio")
    ('1,234.5 ms', '0.1 %')
    """
    if unit != "ms" or not math.isfinite(value) or abs(value) > _MOST:
        return format_measure(value, unit)
    return f"{value:,.3f}".rstrip("0").removesuffix(".") + " ms"


def format_span(duration: timedelta | float) -> str:
    """Return how long something takes, a duration or seconds, in at most two units.

    >>> format_span(0.0414), format_span(6.28), format_span(95), format_span(timedelta(hours=25, minutes=30))
    ('41 ms', '6.3 s', '1 min 35 s', '25 h 30 min')
    >>> format_span(timedelta(hours=72)), format_span(timedelta(minutes=59, seconds=59.7))
    ('3 d', '1 h')
    """
    seconds = duration.total_seconds() if isinstance(duration, timedelta) else duration
    if not math.isfinite(seconds):
        return NOTHING
    if 0 < abs(seconds) < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if abs(seconds) < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    _, unit, parts, large, little = next(size for size in _UNITS if abs(seconds) >= size[0] - size[1] / 2)
    big, small = divmod(round(seconds / unit), parts)
    return f"{format_count(big)} {large}" + (f" {small} {little}" if small else "")


def format_wait(seconds: float) -> str:
    """Return a rough time, for forecasts.

    >>> format_wait(432), format_wait(11.2), format_wait(20000)
    ('about 7 min', 'about 12 s', 'about 5.6 h')
    """
    if seconds < 90:
        return f"about {math.ceil(seconds)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {format_number(round(seconds / 3600, 1))} h"


def format_elapsed(seconds: float) -> str:
    """Return a moment on the rollout's own clock.

    >>> format_elapsed(47.2), format_elapsed(3723)
    ('0:47', '1:02:03')
    """
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def format_moment(at: datetime) -> str:
    """Return a day and a time of day, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def format_time(at: datetime) -> str:
    """Return a time of day, in UTC."""
    return f"{at.astimezone(UTC):%H:%M:%S}"


def format_odds(log_evidence: float) -> str:
    """Return an e-value, given as its natural log, as odds.

    >>> format_odds(math.log(100)), format_odds(0.0), format_odds(-math.log(20)), format_odds(50.0)
    ('100 : 1', '1 : 1', '0.05 : 1', 'over 1,000,000 : 1')
    """
    if math.isnan(log_evidence):
        return NOTHING
    if log_evidence > math.log(_MOST_ODDS) + 1e-9:
        return f"over {format_count(_MOST_ODDS)} : 1"
    if log_evidence < math.log(_LEAST_ODDS) - 1e-9:
        return f"under {format_number(_LEAST_ODDS)} : 1"
    value = math.exp(log_evidence)
    return f"{format_count(value) if value >= 9.95 else f'{value:.2g}'} : 1"


def format_evidence(log_evidence: float, needed: float) -> str:
    """Return evidence as odds, beside what is needed; both as natural logs.

    >>> format_evidence(math.log(12), math.log(100))
    '(evidence 12 : 1, needed 100 : 1)'
    """
    return f"(evidence {format_odds(log_evidence)}, needed {format_odds(needed)})"


def format_plural(number: int, noun: str, plural: str = "") -> str:
    """Return a counted thing.

    >>> format_plural(1, "pod"), format_plural(3, "pod"), format_plural(2, "copy", "copies")
    ('1 pod', '3 pods', '2 copies')
    """
    return f"{format_count(number)} {noun if number == 1 else plural or noun + 's'}"


def to_sentence(text: str) -> str:
    """Return text with a capital at its start and a full stop at its end.

    >>> to_sentence("errors are within limits")
    'Errors are within limits.'
    """
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?…" else ".")


def printable(text: str) -> str:
    r"""Return text that others wrote, fit for a terminal: control characters as escapes; tabs and newlines stay.

    >>> printable("\x1b[2Jgone\u202e")
    '\\x1b[2Jgone\\u202e'
    """
    return _STEERING.sub(lambda match: match[0].encode("unicode_escape", "surrogatepass").decode(), text)
