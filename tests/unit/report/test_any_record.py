"""Any record that can be written makes a page."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import demo_plan, full_plan

from report.rollout.page import render
from rollout.events import (
    Alarm,
    BaselineChecked,
    ComparisonRestarted,
    DecisionMade,
    DriftDetected,
    Ended,
    Fault,
    LoadSummary,
    Scaled,
    StableChanged,
    Started,
    StepEnded,
    StepStarted,
    TrafficMirrored,
    VerdictChanged,
    WeightsObserved,
    WeightsSet,
)
from rollout.record import RolloutRecord, SeriesPoint
from rollout.verdict_entries import FindingEntry, VerdictEntry

NAMES = (
    *("weight_asked", "share", "evidence.rollback", "evidence.promotion", "evidence.rollback.errors"),
    *(f"{track}.{what}" for track in ("stable", "canary") for what in ("requests", "error_ratio", "latency_ms")),
)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))
soon = st.datetimes(datetime(2026, 3, 12, 14), datetime(2026, 3, 12, 15), timezones=st.just(UTC))
at = st.one_of(soon, moments)
step = st.sampled_from(["introduce", "increase", "full", "<odd>"])
plan = st.sampled_from([demo_plan(), full_plan()])
finding = st.builds(FindingEntry, unit=st.sampled_from(["ratio", "ms", "x", "", "odd"]))
verdict = st.builds(VerdictEntry, findings=st.lists(finding, max_size=3).map(tuple))
event = st.one_of(
    st.builds(Started, at=at, plan=plan),
    st.builds(BaselineChecked, at=at),
    st.builds(StepStarted, at=at, step=step),
    st.builds(Scaled, at=at),
    st.builds(WeightsSet, at=at),
    st.builds(DriftDetected, at=at),
    st.builds(TrafficMirrored, at=at),
    st.builds(StableChanged, at=at),
    st.builds(ComparisonRestarted, at=at, step=step),
    st.builds(WeightsObserved, at=at),
    st.builds(VerdictChanged, at=at, step=step, verdict=verdict),
    st.builds(DecisionMade, at=at, step=step),
    st.builds(StepEnded, at=at, step=step, verdict=verdict),
    st.builds(Fault, at=at),
    st.builds(Alarm, at=at),
    st.builds(LoadSummary, at=at),
    st.builds(Ended, at=at),
)
points = st.lists(st.builds(SeriesPoint, at=at, count=st.integers(1, 1000)), max_size=8).map(tuple)
record = st.builds(
    RolloutRecord,
    events=st.lists(event, max_size=8).map(tuple),
    series=st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=8)), points, max_size=6),
)


@given(record=record)
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_any_record_makes_a_page(record: RolloutRecord) -> None:
    page = render(record)

    assert page.rstrip().endswith("</html>")
    assert "nan " not in page
