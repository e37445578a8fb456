"""Numbers, odds and times as findings write them."""

from __future__ import annotations

import math


def format_ratio(ratio: float) -> str:
    """Return a ratio as percent, with digits enough to tell a small one from none."""
    value = 100 * ratio
    if value and value < 0.095:
        return f"{value:.2g} %"
    return f"{value:.2f} %" if value < 10 else f"{value:.1f} %"


def format_count(number: float) -> str:
    """Return a count with separators."""
    return f"{round(number):,}"


def format_ms(value: float) -> str:
    """Return a latency in three digits.

    >>> format_ms(41.26), format_ms(8024.0), format_ms(2.0)
    ('41.3 ms', '8,020 ms', '2 ms')
    """
    if not math.isfinite(value):
        return "unknown"
    rounded = round(value, 2 - math.floor(math.log10(value))) if value > 0 else 0.0
    return f"{rounded:,.0f} ms" if rounded >= 100 else f"{rounded:g} ms"


def format_odds(log_evidence: float, needed: float) -> str:
    """Return evidence as odds, beside what is needed."""
    return f"(evidence {_format_odds(log_evidence)} : 1, needed {_format_odds(needed)} : 1)"


def _format_odds(log_evidence: float) -> str:
    if log_evidence > math.log(1e6):
        return "over 1,000,000"
    if log_evidence < math.log(0.01):
        return "below 0.01"
    value = math.exp(log_evidence)
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def format_wait(seconds: float) -> str:
    """Return a time in about two digits."""
    if seconds < 90:
        return f"about {math.ceil(seconds)} s"
    return f"about {seconds / 60:.0f} min" if seconds < 5400 else f"about {seconds / 3600:.1f} h"
