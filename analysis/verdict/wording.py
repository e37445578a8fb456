"""The interval of a ratio; and the formats of findings, by the names that they have here."""

from __future__ import annotations

from scipy.special import betaincinv

from rollout.formatting import format_count as count
from rollout.formatting import format_evidence as odds
from rollout.formatting import format_ms as milliseconds
from rollout.formatting import format_ratio as percent
from rollout.formatting import format_wait as duration

__all__ = ["count", "duration", "interval", "milliseconds", "odds", "percent"]


def interval(events: float, requests: float, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the exact interval for an event ratio.

    References
    ----------
    Clopper, Pearson (1934), Biometrika 26(4).

    >>> [round(end, 4) for end in interval(4, 20)]
    [0.0573, 0.4366]
    """
    if requests <= 0:
        return None
    tail = (1 - confidence) / 2
    low = float(betaincinv(events, requests - events + 1, tail)) if events > 0 else 0.0
    high = float(betaincinv(events + 1, requests - events, 1 - tail)) if events < requests else 1.0
    return low, high
