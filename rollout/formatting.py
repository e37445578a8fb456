"""Numbers, times and odds as a person reads them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime

from rollout.model import Outcome

NOTHING = "–"
"""Stands where the record holds no number."""

_BEYOND = 1e6
"""Odds past this are told as a bound: more digits would not change anyone's mind."""

# C0, DEL and C1 but for tab and newline; line separators, and what turns the direction of writing (CVE-2021-42574).
_STEERING = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)


def count(number: float) -> str:
    """Return a whole number with its thousands set apart.

    >>> count(12345.0)
    '12,345'
    """
    if not math.isfinite(number):
        return NOTHING
    return f"{number:,.0f}" if abs(number) < 1e15 else f"{number:.2e}"


def number(value: float) -> str:
    """Return a number with about three digits that mean something.

    >>> number(0.01234), number(41.26), number(1234.5)
    ('0.0123', '41.3', '1,234')
    """
    if not math.isfinite(value):
        return NOTHING
    if abs(value) >= 1000:
        return count(value)
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.1e}"


def percent(ratio: float) -> str:
    """Return a ratio (0-1) as percent.

    >>> percent(0.001), percent(0.20314), percent(0.999501), percent(0.0)
    ('0.1%', '20.3%', '99.95%', '0%')
    """
    if 0.99 < ratio < 1:  # 99.9501% is not 100%
        return f"{100 - float(f'{100 - ratio * 100:.2g}'):.10g}%"
    return f"{number(ratio * 100)}%" if math.isfinite(ratio) else NOTHING


def quantity(value: float, unit: str) -> str:
    """Return a finding's number with its unit: `ratio`, `ms`, `x` or none.

    >>> quantity(0.05, "ratio"), quantity(41.26, "ms"), quantity(1.2, "x")
    ('5%', '41.3 ms', '1.2×')
    """
    if unit == "ratio":
        return percent(value)
    return f"{number(value)}{ {'x': '×', '': ''}.get(unit, f' {unit}') }"


def span(seconds: float) -> str:
    """Return how long something took, in at most two units.

    >>> span(0.0414), span(6.28), span(95), span(91800)
    ('41 ms', '6.3 s', '1 min 35 s', '25 h 30 min')
    """
    if not math.isfinite(seconds):
        return NOTHING
    if abs(seconds) < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if abs(seconds) < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    size, names = (60, ("min", "s")) if seconds < 3599.5 else (3600, ("h", "min"))
    big, small = divmod(round(seconds / (size / 60)), 60)
    return f"{count(big)} {names[0]}" + (f" {small} {names[1]}" if small else "")


def about(seconds: float) -> str:
    """Return a rough time, for forecasts.

    >>> about(432), about(12), about(20000)
    ('7 min', '12 s', '5.6 h')
    """
    if seconds < 90:
        return span(round(seconds))
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{number(round(seconds / 3600, 1))} h"


def since(seconds: float) -> str:
    """Return a moment on the rollout's own clock.

    >>> since(47.2), since(3723)
    ('0:47', '1:02:03')
    """
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def moment(at: datetime) -> str:
    """Return a day and a time of day, in UTC."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def clock(at: datetime) -> str:
    """Return a time of day, in UTC."""
    return f"{at.astimezone(UTC):%H:%M:%S}"


def odds(log_evidence: float) -> str:
    """Return an e-value, given as its natural log, as odds.

    >>> odds(math.log(100)), odds(0.0), odds(-math.log(20)), odds(50.0)
    ('100 : 1', '1 : 1', '1 : 20', 'over 1,000,000 : 1')
    """
    if math.isnan(log_evidence):
        return NOTHING
    if abs(log_evidence) > math.log(_BEYOND) + 1e-9:
        return f"over {_BEYOND:,.0f} : 1" if log_evidence > 0 else f"under 1 : {_BEYOND:,.0f}"
    value = _rounded(math.exp(abs(log_evidence)))
    return f"{value} : 1" if log_evidence >= 0 else f"1 : {value}"


def _rounded(value: float) -> str:
    return f"{float(f'{value:.2g}'):,.0f}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


def plural(number_of: int, one: str, many: str = "") -> str:
    """Return a counted thing: `1 pod`, `3 pods`."""
    return f"{count(number_of)} {one if number_of == 1 else many or one + 's'}"


def sentence(text: str) -> str:
    """Return text with a capital at its start and a full stop at its end.

    >>> sentence("errors are within limits")
    'Errors are within limits.'
    """
    text = text.strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text[-1] in ".!?…" else ".")


def printable(text: str) -> str:
    r"""Return text whose control characters are written as escapes; tabs and newlines stay.

    >>> printable("\x1b[2Jgone\u202e")
    '\\x1b[2Jgone\\u202e'
    """
    return _STEERING.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)


OUTCOME_MARK = {Outcome.PASS: "✓", Outcome.FAIL: "✕", Outcome.INCONCLUSIVE: "?"}
"""A sign beside the colour, for eyes and printers that tell no colours apart."""
CALM_MARK = "·"
"""The sign of no sign."""
