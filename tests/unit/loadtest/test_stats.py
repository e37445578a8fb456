from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.results import load_results
from loadtest.stats import MOST_ENTRIES, MOST_ERRORS, Histogram, LoadStats, dump_stats, merge_processes, parse_stats
from loadtest.windows import Window, dump_window, parse_windows


def tally_of(*answers: tuple[str, float, str]) -> LoadStats:
    stats = LoadStats(seconds=2.0)
    for answer in answers:
        stats.record_answer(*answer, at=1.0)
    return stats


def test_failures_that_the_service_answered_are_told_from_those_that_nobody_did():
    stats = tally_of(
        ("stable", 0.02, ""),
        ("canary", 0.02, "status 500"),
        ("none", 0.001, "status 503"),
        ("none", 0.001, "ConnectionRefusedError"),
    )

    results = load_results(stats)

    assert results.requests == 4
    assert results.failures == 3
    assert results.unanswered_failures == 2
    assert results.failures_by_track == {"canary": 1, "none": 2, "stable": 0}
    assert results.errors == {"canary: status 500": 1, "none: status 503": 1, "none: ConnectionRefusedError": 1}
    assert results.rate == 2.0


def test_a_tally_survives_the_way_through_its_file():
    stats = tally_of(("stable", 0.02, ""), ("canary", 0.5, "status 500"))
    stats.record_sent(0.001)

    assert parse_stats(dump_stats(stats)) == stats


def test_a_quantile_is_right_within_one_percent():
    draw = random.Random(7)
    values = sorted(draw.lognormvariate(-3, 1) for _ in range(10_000))
    histogram = Histogram()
    for value in values:
        histogram.add(value)

    for q in (0.5, 0.9, 0.99):
        assert histogram.quantile(q) == pytest.approx(values[int(q * 10_000) - 1], rel=0.0101)


def test_nothing_counted_has_no_quantile():
    assert Histogram().quantile(0.5) is None
    assert load_results(LoadStats()).rate == 0.0


@given(st.lists(st.floats(min_value=0, max_value=1e4), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_quantiles_never_fall(values: list[float], one: float, other: float):
    histogram = Histogram()
    for value in values:
        histogram.add(value)

    low, high = histogram.quantile(min(one, other)), histogram.quantile(max(one, other))

    assert low is not None
    assert high is not None
    assert low <= high


def test_endless_kinds_of_errors_take_bounded_memory():
    stats = tally_of(*(("none", 0.1, f"status {number}") for number in range(10 * MOST_ERRORS)))

    assert len(stats.errors) == MOST_ERRORS + 1
    assert sum(stats.errors.values()) == 10 * MOST_ERRORS


def test_endless_endpoints_take_bounded_memory():
    stats = LoadStats()
    for number in range(10 * MOST_ENTRIES):
        stats.record_answer("stable", 0.01, at=1.0, endpoint=f"/item/{number}")

    assert len(stats.entries) == MOST_ENTRIES + 1
    assert load_results(stats).requests == 10 * MOST_ENTRIES


def test_the_counts_of_several_processes_add_up():
    one, other = (tally_of(("stable", 0.02, ""), ("canary", 0.5, "status 500")) for _ in range(2))
    other.record_answer("none", 0.1, "status 503", at=0.5)

    whole = load_results(merge_processes([one, other]))

    assert whole.requests == 5
    assert whole.failures_by_track == {"canary": 2, "none": 1, "stable": 0}
    assert whole.seconds == 2.0


def test_windows_of_several_processes_add_up_and_a_torn_line_is_left_out():
    window = Window(3, sent=2)
    window.record(0.02, failed=False)
    line = dump_window(window) + "\n"

    windows = parse_windows([line, line, line[:-5]])

    assert [(one.index, one.sent, one.answered, one.latency.total) for one in windows] == [(3, 4, 2, 2)]
