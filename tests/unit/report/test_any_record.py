"""Any record that can be written makes a page."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from records import demo_plan, full_plan

from report.loadtest.validation_page import render_validation
from report.loadtest.validation_texts import validation_markdown
from report.rollout.markdown import findings_table, report_markdown
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
from rollout.load_test_result import Capacity, EndpointCounts, Latencies, ValidationResult
from rollout.notices import NoticeContext
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


ODD_NUMBERS = re.compile(r"[0-9]e[+-]?[0-9]|[0-9]%|[0-9]m?s\b|\b[0-9]+[mh]\b|(?<![.0-9])[0-9]{4,} ms|[0-9] +:[0-9]")
"""A power of ten, and what is `0.1 %`, `2,180 ms`, `1 min 30 s` and `20 : 1` in another style."""


def odd_numbers(text: str) -> list[str]:
    visible = re.sub(r"<(style|svg).*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL)
    return ODD_NUMBERS.findall(visible)


# Others' sentences are theirs: here none of them holds a figure.
said = st.sampled_from(["because", ""])
plain_finding = st.builds(
    FindingEntry, criterion=st.just("errors"), reason=said, unit=st.sampled_from(["ratio", "ms", "x", ""])
)
plain_verdict = st.builds(VerdictEntry, reason=said, findings=st.lists(plain_finding, max_size=3).map(tuple))
plain_event = st.one_of(
    st.builds(Started, at=soon, plan=plan, rollout=said, who=said, backend=said, note=said, drill=said),
    st.builds(BaselineChecked, at=soon, reason=said),
    st.builds(StepStarted, at=soon, step=step),
    st.builds(Scaled, at=soon, track=said),
    st.builds(WeightsSet, at=soon, reason=said),
    st.builds(DriftDetected, at=soon, who=said),
    st.builds(TrafficMirrored, at=soon),
    st.builds(WeightsObserved, at=soon),
    st.builds(VerdictChanged, at=soon, step=step, verdict=plain_verdict),
    st.builds(StepEnded, at=soon, step=step, verdict=plain_verdict),
    st.builds(Alarm, at=soon, what=said, subject=said),
    st.builds(LoadSummary, at=soon, kinds=st.just({"none: ReadTimeout": 10**9})),
    st.builds(Ended, at=soon, reason=said, cause=said),
)
plain_record = st.builds(
    RolloutRecord,
    events=st.lists(plain_event, max_size=8).map(tuple),
    series=st.dictionaries(st.sampled_from(NAMES), points, max_size=6),
)


@given(record=plain_record)
@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_all_that_is_said_of_a_record_writes_its_numbers_in_one_style(record: RolloutRecord) -> None:
    notices = [NoticeContext.of(record.events[: i + 1]).notice(event) for i, event in enumerate(record.events)]
    cells = [cell for row in findings_table(record) for cell in row.values()]
    texts = (render(record), report_markdown(record), *cells, *(notice.body for notice in notices if notice))

    assert [odd for text in texts for odd in odd_numbers(text)] == []


latencies = st.builds(Latencies, **{name: st.floats(0.1, 1e7) for name in Latencies.model_fields})
counted = st.builds(
    EndpointCounts,
    endpoint=said,
    track=st.sampled_from(["canary", "none"]),
    requests=st.integers(1, 10**12),
    failures=st.integers(0, 10**9),
    latency=st.one_of(st.none(), latencies),
)
rates = st.floats(0.001, 1e9)
result = st.builds(
    ValidationResult,
    name=said,
    url=said,
    began=soon,
    ended=soon,
    description=said,
    settings=said,
    reason=said,
    findings=st.lists(plain_finding, max_size=3).map(tuple),
    asked=rates,
    reached=rates,
    seconds=st.floats(0.001, 1e6),
    total=counted,
    abandoned=st.integers(0, 10**9),
    counted=st.lists(counted, max_size=3).map(tuple),
    errors=st.dictionaries(st.sampled_from(["canary: ReadTimeout", "none: ReadTimeout"]), st.integers(1, 10**12)),
    course=st.just(()),
    histogram=st.just(()),
    batches=st.just(()),
    notes=st.just(()),
    capacity=st.builds(Capacity, rate=rates, bounded_by=said, stairs=st.just(())),
)


@given(result=result)
@settings(max_examples=50, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
def test_a_load_tests_page_and_summary_write_their_numbers_in_the_same_style(result: ValidationResult) -> None:
    texts = (render_validation(result), validation_markdown(result))

    assert [odd for text in texts for odd in odd_numbers(text)] == []
