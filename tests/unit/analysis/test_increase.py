"""By how much counters grew: plain cases, each with the number that a person would say."""

from __future__ import annotations

import math

import pytest

from analysis.scrapes.increase import FORGOTTEN, CounterState, increase
from analysis.scrapes.samples import Samples, Series

Points = dict[float, float]


def counter(answer: str = "200", *, target: str = "gateway", proxy: str = "", track: str = "canary") -> Series:
    return Series(track, "", "requests_total", answer=answer, target=target, proxy=proxy or target)


def samples(series: dict[Series, Points], **more: object) -> Samples:
    return Samples.of(((one, list(points), list(points.values())) for one, points in series.items()), **more)


def grown(read: Samples, known: CounterState | None = None) -> dict[Series, Points]:
    """Return what each series grew by at each time."""
    growth, _ = increase(known or CounterState(), read)
    amounts: dict[Series, Points] = {}
    for column, time, amount in zip(growth.column.tolist(), growth.time.tolist(), growth.amount.tolist(), strict=True):
        amounts.setdefault(read.series[column], {})[time] = amount
    return amounts


def total(read: Samples, known: CounterState | None = None) -> float:
    return sum(sum(points.values()) for points in grown(read, known).values())


OK, FAILED, SLOW = counter("200"), counter("503"), counter("504")


def test_the_first_sample_of_a_proxy_is_its_baseline_however_much_it_has_counted() -> None:
    assert grown(samples({OK: {0: 5e6, 5: 5e6 + 7}})) == {OK: {0: 0, 5: 7}}


def test_a_fall_is_a_reset_and_the_new_value_is_the_growth() -> None:
    assert grown(samples({OK: {0: 500, 5: 3, 10: 4}})) == {OK: {0: 0, 5: 3, 10: 1}}


def test_a_proxy_that_leaves_takes_nothing_away_and_one_that_joins_brings_nothing_with_it() -> None:
    old, new = counter(target="a"), counter(target="b")

    assert total(samples({old: {0: 900, 5: 910}, new: {5: 70_000, 10: 70_001}})) == 11


def test_a_code_that_its_proxy_did_not_have_a_scrape_before_began_at_zero() -> None:
    assert grown(samples({OK: {0: 500, 5: 510}, FAILED: {5: 4}}))[FAILED] == {5: 4}


def test_a_code_that_comes_in_a_later_read_began_at_zero_as_well() -> None:
    _, known = increase(CounterState(), samples({OK: {0: 500, 5: 510}}))

    assert grown(samples({OK: {0: 500, 5: 510, 10: 520}, FAILED: {10: 4}}, since=-1), known)[FAILED] == {10: 4}


def test_a_code_that_is_alone_at_its_moment_is_a_baseline_as_the_others_come_from_another_replica() -> None:
    assert grown(samples({OK: {0: 500, 15: 510}, FAILED: {12: 900, 27: 901}}))[FAILED] == {12: 0, 27: 1}


def test_a_code_that_comes_when_its_proxy_was_scraped_for_two_minutes_began_at_zero() -> None:
    steady = {15.0 * step: 500.0 for step in range(12)}

    assert grown(samples({OK: steady, FAILED: {132: 9}}))[FAILED] == {132: 9}


def test_a_code_is_a_baseline_where_the_scrape_before_it_was_not_asked_for() -> None:
    """It may have been there then, and have come later than the others."""
    _, known = increase(CounterState(), samples({OK: {0: 500, 5: 510}}))

    assert grown(samples({OK: {10: 520}, FAILED: {10: 900}}, since=7), known)[FAILED] == {10: 0}


def test_a_sample_that_comes_after_its_neighbours_of_the_same_scrape_is_a_baseline() -> None:
    _, known = increase(CounterState(), samples({OK: {0: 500, 5: 510}}))

    assert grown(samples({OK: {5: 510, 10: 520}, FAILED: {5: 900, 10: 901}}, since=-1), known)[FAILED] == {5: 0, 10: 1}


def test_a_code_that_goes_and_comes_back_lower_counts_from_zero() -> None:
    steady = {5.0 * step: 10.0 * step for step in range(10)}

    assert grown(samples({OK: steady, FAILED: {0: 50, 5: 50, 45: 2}}))[FAILED] == {0: 0, 5: 0, 45: 2}


def test_a_code_that_was_away_for_long_counts_from_zero_even_if_it_comes_back_higher() -> None:
    steady = {5.0 * step: 10.0 * step for step in range(10)}

    assert grown(samples({OK: steady, FAILED: {0: 2, 5: 2, 45: 3}}))[FAILED] == {0: 0, 5: 0, 45: 3}


def test_scrapes_that_a_whole_proxy_lost_are_no_sign_of_a_reset() -> None:
    read = samples({OK: {0: 100, 5: 110, 60: 210}, FAILED: {0: 900, 5: 901, 60: 902}})

    assert grown(read) == {OK: {0: 0, 5: 10, 60: 100}, FAILED: {0: 0, 5: 1, 60: 1}}


def test_a_restart_that_others_show_counts_what_comes_back_later_from_zero() -> None:
    read = samples({OK: {0: 500, 5: 3, 10: 8}, SLOW: {0: 40, 5: 1, 10: 1}, FAILED: {0: 2, 10: 3}})

    assert grown(read)[FAILED] == {0: 0, 10: 3}


def test_a_restart_in_place_of_one_of_two_proxies_is_no_restart_of_the_other() -> None:
    one, other = counter(target="a"), counter(target="b")

    assert total(samples({one: {0: 500, 5: 3}, other: {0: 900, 5: 901}})) == 4


STARTED = {"fresh": 7.0}


def test_a_proxy_whose_process_started_while_we_watched_counts_from_its_first_sample() -> None:
    fresh = counter(target="fresh")
    _, known = increase(CounterState(), samples({OK: {0: 500, 5: 510}}))

    assert grown(samples({OK: {10: 520}, fresh: {10: 30}}, started=STARTED), known)[fresh] == {10: 30}


@pytest.mark.parametrize("started", [-100.0, 11.0, math.nan])
def test_a_proxy_whose_process_started_before_we_watched_or_after_its_sample_is_a_baseline(started: float) -> None:
    fresh = counter(target="fresh")
    _, known = increase(CounterState(), samples({OK: {0: 500, 5: 510}}))

    assert grown(samples({OK: {10: 520}, fresh: {10: 30}}, started={"fresh": started}), known)[fresh] == {10: 0}


def test_a_young_proxy_that_is_renamed_is_not_counted_twice() -> None:
    young, renamed = counter(target="fresh"), counter(target="fresh, with another label")
    _, known = increase(CounterState(), samples({OK: {0: 500, 5: 510}}))
    _, known = increase(known, samples({OK: {10: 520}, young: {10: 30, 15: 40}}, started=STARTED))
    read = samples({OK: {20: 530}, renamed: {20: 50, 25: 51}}, started={renamed.target: 7.0})

    assert grown(read, known)[renamed] == {20: 0, 25: 1}


A, B = counter(target="gateway, replica=a", proxy="gateway"), counter(target="gateway, replica=b", proxy="gateway")


def test_two_that_scrape_one_proxy_count_each_request_once() -> None:
    assert total(samples({A: {0: 100, 15: 115, 30: 130}, B: {7: 107, 22: 122}})) == 30


def test_of_two_that_scrape_one_proxy_either_may_die() -> None:
    assert total(samples({A: {0: 100, 15: 115}, B: {7: 107, 22: 122, 37: 137, 52: 152}})) == 52
    assert total(samples({A: {0: 100, 15: 115, 30: 130, 45: 145}, B: {7: 107}})) == 45


def test_a_restart_that_two_see_one_after_the_other_is_one() -> None:
    assert total(samples({A: {0: 100, 15: 5, 30: 20}, B: {7: 107, 22: 12, 37: 27}})) == 7 + 27


def test_a_sample_a_little_lower_than_the_other_replicas_is_no_restart() -> None:
    """A scrape has the time of its beginning, and takes a while."""
    assert total(samples({A: {0: 5000, 15: 5015}, B: {15.01: 5014, 30: 5030}})) == 30


def test_samples_that_were_read_before_are_dropped_in_whatever_order_they_come() -> None:
    read = samples({OK: {10: 12, 0: 2, 5: 7}})
    _, known = increase(CounterState(), read)

    growth, later = increase(known, read)

    assert len(growth.time) == 0
    assert later == known


def test_a_process_that_takes_over_counts_on_from_what_was_read_before_it() -> None:
    _, known = increase(CounterState(), samples({OK: {0: 100, 5: 110}}))

    assert total(samples({OK: {0: 100, 5: 110, 10: 125}, FAILED: {10: 2}}), known.lasting) == 17


def test_a_process_that_takes_over_does_not_count_what_another_replica_shows_of_the_time_before() -> None:
    _, known = increase(CounterState(), samples({OK: {0: 100, 15: 115}}))

    assert grown(samples({OK: {7: 107, 22: 122, 37: 137}}), known.lasting) == {OK: {22: 0, 37: 15}}


def test_a_process_that_takes_over_does_not_count_again_what_a_young_proxy_had_counted() -> None:
    fresh = counter(target="fresh")
    _, known = increase(CounterState(), samples({OK: {0: 500, 5: 510}}))
    _, known = increase(known, samples({OK: {10: 520}, fresh: {10: 30}}, started=STARTED))

    assert grown(samples({fresh: {30: 90, 35: 91}}, started=STARTED), known.lasting)[fresh] == {30: 0, 35: 1}


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, 1e300])
def test_what_no_counter_can_have_reached_is_no_sample(value: float) -> None:
    assert grown(samples({OK: {0: 100, 5: value, 10: 120}})) == {OK: {0: 0, 10: 20}}


def test_a_proxy_of_which_nothing_can_be_true_keeps_none_from_being_read() -> None:
    odd = counter(target="odd")

    assert total(samples({OK: {0: 100, 5: 110}, odd: {0: -1, 5: math.nan}})) == 10


def test_what_something_else_counted_is_left_out() -> None:
    assert total(samples({OK: {0: 100, 5: 110, 20: 140, 25: 150}}, gap=15.0)) == 20


def test_a_proxy_that_is_scraped_no_more_is_forgotten_after_an_hour() -> None:
    gone = counter(target="gone")
    _, known = increase(CounterState(), samples({OK: {0: 100}, gone: {0: 100}}))
    _, known = increase(known, samples({OK: {FORGOTTEN + 1: 110}}))

    assert set(known.targets) == {"gateway"}
    assert set(known.last) == {OK}


def test_a_step_back_of_a_series_made_of_two_replicas_is_no_reset_and_is_made_up_for_without_being_counted() -> None:
    """One replica was slow to answer, and its counter had gone on; the other's later scrape shows less."""
    grown_by = grown(samples({OK: {0: 90_000, 15: 90_100, 20: 90_095, 35: 90_120}, FAILED: {0: 40, 15: 42, 20: 41}}))

    assert grown_by == {OK: {0: 0, 15: 100, 20: 0, 35: 20}, FAILED: {0: 0, 15: 2, 20: 0}}


def test_a_step_back_is_made_up_for_by_what_a_later_read_gives_too() -> None:
    _, known = increase(CounterState(), samples({OK: {0: 90_000, 15: 90_100, 20: 90_095}}))

    assert grown(samples({OK: {20: 90_095, 23: 90_098, 35: 90_120}}), known)[OK] == {23: 0, 35: 20}


@pytest.mark.parametrize("later", [10.0, 15.0, 60.0])
def test_a_fall_that_no_late_scrape_explains_is_a_reset_however_small_it_is(later: float) -> None:
    assert grown(samples({OK: {0: 90, 15: 100, 15 + later: 95}}))[OK][15 + later] == 95


def test_what_stays_lower_than_a_late_scrape_could_make_it_was_reset_and_counts_from_zero() -> None:
    """A young counter: at first it may have stepped back, and ten seconds later it cannot have."""
    assert grown(samples({OK: {0: 1, 5: 2, 10: 4, 15: 3, 20: 3}})) == {OK: {0: 0, 5: 1, 10: 2, 15: 0, 20: 3}}
