from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.errors import PlanError
from rollout.events import (
    Ended,
    EndState,
    VerdictChanged,
    WeightsSet,
)
from rollout.model import Basis, Finding, Outcome, Verdict
from rollout.record import RolloutRecord, SeriesPoint, dump_event, dump_record, parse_events, parse_record, thinned
from rollout.verdict_entries import verdict_entry

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
FINDING = Finding("errors", Basis.RELATIVE, Outcome.FAIL, "too many", 0.05, (0.04, 0.06), 0.01, "ratio", 5.0, 4.6)
EVENTS = (
    WeightsSet(at=AT, stable=80, canary=20, reason="step introduce", milliseconds=4.2),
    VerdictChanged(at=AT, step="introduce", verdict=verdict_entry(Verdict(Outcome.FAIL, (FINDING,), 5.0, 4.6))),
    Ended(at=AT, state=EndState.ROLLED_BACK, reason="too many"),
)


def points(values: list[float]) -> list[SeriesPoint]:
    return [SeriesPoint.single("x", AT + timedelta(seconds=i), value) for i, value in enumerate(values)]


def test_events_survive_being_written_and_read() -> None:
    assert parse_events([dump_event(event) for event in EVENTS]) == EVENTS


def test_a_record_survives_being_written_and_read() -> None:
    record = RolloutRecord(events=EVENTS, series={"x": tuple(points([1.0, 2.0]))})

    assert parse_record(dump_record(record)) == record
    assert record.ended == EVENTS[-1]


def test_evidence_without_bound_survives_being_written_and_read() -> None:
    endless = verdict_entry(Verdict(Outcome.FAIL, (FINDING,), float("inf"), 4.6, float("-inf"), 3.0))
    event = VerdictChanged(at=AT, step="introduce", verdict=endless)

    assert parse_events([dump_event(event)]) == (event,)


def test_a_last_line_cut_short_by_a_crash_is_left_out() -> None:
    lines = [dump_event(event) for event in EVENTS]

    assert parse_events([*lines[:2], lines[2][:20]]) == EVENTS[:2]


def test_a_broken_line_in_the_middle_is_told_by_its_number() -> None:
    lines = [dump_event(event) for event in EVENTS]

    with pytest.raises(PlanError, match="line 2"):
        parse_events([lines[0], "{", lines[2]])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"events": [{"kind": "party"}]}', '{"colour": 1}'])
def test_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(PlanError, match=r"r\.json: not a rollout record"):
        parse_record(text, source="r.json")


@given(st.lists(st.floats(-1e6, 1e6), max_size=300), st.integers(1, 50))
def test_thinning_keeps_extremes_mean_and_count(values: list[float], most: int) -> None:
    kept = thinned(points(values), most)

    assert len(kept) <= most
    assert sum(point.count for point in kept) == len(values)
    if values:
        assert min(point.low for point in kept) == min(values)
        assert max(point.high for point in kept) == max(values)
        mean = sum(point.mean * point.count for point in kept) / len(values)
        assert mean == pytest.approx(sum(values) / len(values), abs=1e-3)
