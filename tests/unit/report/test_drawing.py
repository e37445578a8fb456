"""The parts that charts are made of: series, axes, geometry, words."""

from __future__ import annotations

import doctest
import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from records import NOON

from report.charts.axes import latency_axis, odds_axis, ratio_axis
from report.charts.curves import Sample, curve, error_curve, points_of, segments, total
from report.charts.geometry import Chart, Limit, Line, draw
from report.charts.time_axis import is_even, time_axis
from report.charts.timeline import Mark, Stretch
from rollout import formatting
from rollout.formatting import format_odds, format_span
from rollout.record import RolloutRecord, SeriesPoint

LATER = NOON + timedelta(hours=1)
seconds = st.floats(min_value=0.0, max_value=1e9)


def series(name: str, *values: float, every: float = 1.0) -> dict[str, tuple[SeriesPoint, ...]]:
    at = [NOON + timedelta(seconds=every * i) for i in range(len(values))]
    return {name: tuple(SeriesPoint.single(name, t, value) for t, value in zip(at, values, strict=True))}


def sample(at: float, value: float = 1.0) -> Sample:
    return Sample(at, value, value, value)


def each_second(value: float) -> int:
    return int(value)


def test_points_that_are_no_numbers_are_left_out_and_the_rest_is_put_in_order() -> None:
    points = series("share", 0.1, math.nan, math.inf, 0.4)["share"]
    record = RolloutRecord(series={"share": points[::-1]})

    assert [point.mean for point in points_of(record, "share")] == [0.1, 0.4]
    assert points_of(record, "absent") == []


def test_a_line_is_broken_where_data_is_missing() -> None:
    runs = segments([sample(t) for t in (0, 1, 2, 3, 9, 10)])

    assert [[s.seconds for s in run] for run in runs] == [[0, 1, 2, 3], [9, 10]]


def test_a_window_keeps_the_extremes_of_what_it_merges() -> None:
    record = RolloutRecord(series=series("share", 0.1, 0.3, 0.8, every=0.2))

    (merged,) = curve(record, "share", NOON, each_second)

    assert (merged.low, merged.high) == (0.1, 0.8)
    assert merged.mean == pytest.approx(0.4)


def test_errors_are_pooled_by_requests_and_not_by_scrapes() -> None:
    ratios, requests = series("canary.error_ratio", 1.0, 0.0, every=0.5), series("canary.requests", 1, 99, every=0.5)

    (pooled,) = error_curve(RolloutRecord(series=ratios | requests), "canary", NOON, each_second)

    assert pooled.mean == pytest.approx(0.01)


def test_errors_are_counted_from_the_ratio_of_each_scrape() -> None:
    ratios, requests = series("canary.error_ratio", 0.5, 0.1), series("canary.requests", 10, 100)
    counted = total(RolloutRecord(series=ratios | requests), "canary", NOON, LATER)

    assert counted is not None
    assert (counted.requests, counted.exact) == (110, True)
    assert counted.errors == pytest.approx(15)


def test_requests_after_the_end_do_not_count() -> None:
    counted = total(RolloutRecord(series=series("canary.requests", 10, 100)), "canary", NOON, NOON)

    assert counted is not None
    assert counted.requests == 10


def test_requests_without_ratios_leave_the_errors_unknown() -> None:
    counted = total(RolloutRecord(series=series("canary.requests", 10)), "canary", NOON, LATER)

    assert counted is not None
    assert counted.errors is None


@given(high=seconds, at=st.tuples(seconds, seconds))
def test_time_runs_forward_along_every_axis(high: float, at: tuple[float, float]) -> None:
    parts = [Stretch("a", "20%", 0, high / 60), Stretch("b", "50%", high / 60, high / 40)]
    earlier, later = sorted(at)

    for axis in (time_axis(high), time_axis(high, parts)):
        assert 0 <= axis.place(earlier) <= axis.place(later) <= 1
        assert axis.ticks[0].value == 0
        assert len(axis.ticks) <= 12


def test_a_short_step_gets_room_beside_a_day_long_one() -> None:
    parts = [Stretch("introduce", "20%", 0, 1800), Stretch("full", "100%", 1800, 88_200)]
    axis = time_axis(88_200, parts)

    assert not is_even(axis)
    assert axis.place(1800) == pytest.approx(0.14)
    assert [tick.label for tick in axis.ticks][:2] == ["0:00", "0:30"]


@given(top=st.floats(min_value=0.0, max_value=1e300))
def test_an_axis_holds_all_it_was_made_for(top: float) -> None:
    for axis in (ratio_axis(top), latency_axis(top)):
        assert axis.high >= min(top, 1e15) * (1 - 1e-9)
        assert 2 <= len(axis.ticks) <= 7


def test_evidence_is_named_as_odds() -> None:
    axis = odds_axis(-math.log(10), math.log(1000))

    assert [tick.label for tick in axis.ticks] == ["0.1:1", "1:1", "10:1", "100:1", "1,000:1"]


def chart(*samples: Sample, limit: float = 5.0, **traits: bool) -> Chart:
    return Chart(
        name="c",
        title="t",
        sentence="s",
        across=time_axis(100),
        up=latency_axis(8),
        lines=(Line("l", "canary", samples, **traits),),
        limits=(Limit(limit, "limit", "rollback"),),
    )


def test_a_stepped_line_turns_only_at_right_angles() -> None:
    (path,) = draw(chart(sample(0, 0), sample(50, 8), sample(100, 8), stepped=True)).paths

    assert path.data == "M0.0 200H500.0V0M500.0 0H1000.0V0"


def test_a_lone_point_is_still_visible() -> None:
    (path,) = draw(chart(sample(50, 8))).paths

    assert path.data == "M500.0 0h0"


def test_a_limit_beyond_the_scale_is_named_and_not_drawn() -> None:
    drawing = draw(chart(sample(0), limit=500))

    assert drawing.limits == ()
    assert [limit.label for limit in drawing.beyond] == ["limit"]


def test_a_band_spans_the_extremes_behind_the_means() -> None:
    drawing = draw(chart(Sample(0, 0, 4, 8), Sample(100, 0, 4, 8)))

    assert [area.data for area in drawing.areas] == ["M0.0 0L1000.0 0L1000.0 200L0.0 200Z"]


def test_letters_that_would_touch_are_raised() -> None:
    marks = tuple(Mark(letter, at, "0:00", "fault", "") for letter, at in (("A", 10), ("B", 11), ("C", 50)))
    plain = chart(sample(0))
    drawing = draw(Chart(plain.name, plain.title, plain.sentence, plain.across, plain.up, plain.lines, marks=marks))

    assert [mark.y for mark in drawing.marks] == [0, -14, 0]
    assert drawing.rise == 14


def test_the_examples_in_the_words_are_true() -> None:
    assert doctest.testmod(formatting).failed == 0


@given(log_evidence=st.floats())
def test_any_evidence_can_be_told(log_evidence: float) -> None:
    assert format_odds(log_evidence)


@given(value=st.floats())
def test_any_time_can_be_told(value: float) -> None:
    assert format_span(value)
