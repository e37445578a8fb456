"""How far the evidence of a rollout has come, from its record."""

from __future__ import annotations

from collections.abc import Iterator

from rollout.events import VerdictChanged
from rollout.record import RolloutRecord
from rollout.verdict_entries import VerdictEntry


def last_verdict(record: RolloutRecord) -> VerdictEntry | None:
    """Return what the judge said last, if it has said something."""
    said = (event.verdict for event in reversed(record.events) if isinstance(event, VerdictChanged))
    return next(said, None)


def latest(record: RolloutRecord, series: str) -> float | None:
    """Return the last value of a series, if it has any."""
    points = record.series.get(series)
    return points[-1].mean if points else None


def gathered(record: RolloutRecord) -> Iterator[tuple[str, float, float]]:
    """Yield what each decision could rest on: its name, the log evidence for it, and the line that decides."""
    if verdict := last_verdict(record):
        for name, needed in (("rollback", verdict.rollback_needed), ("promotion", verdict.promotion_needed)):
            if (value := latest(record, f"evidence.{name}")) is not None and needed > 0:
                yield name, value, needed
