"""By how much counters grew where a limit is just reached, or just not."""

from __future__ import annotations

import math

import pytest

from analysis.scrapes.increase import CounterState, increase
from tests.unit.analysis.test_increase import FAILED, OK, SLOW, counter, grown, samples

HOUR = 3600.0


@pytest.mark.parametrize(("seconds", "is_known"), [(HOUR - 1, True), (HOUR, True), (HOUR + 1, False)])
def test_a_proxy_is_known_for_an_hour_after_its_last_scrape(seconds: float, is_known: bool) -> None:
    """What was last scraped before is forgotten in the same look."""
    gone, before = counter(target="gone"), counter(target="gone before")
    _, known = increase(CounterState(), samples({before: {0: 1}, gone: {10: 100}, OK: {10: 100}}))
    _, known = increase(known, samples({OK: {10 + seconds: 110}}))

    assert ("gone" in known.targets, gone in known.last) == (is_known, is_known)
    assert ("gone before" in known.targets) == (10 + seconds <= HOUR)


@pytest.mark.parametrize("value", [-1.0, math.nan])
def test_a_read_of_which_nothing_can_be_true_teaches_nothing(value: float) -> None:
    growth, known = increase(CounterState(), samples({OK: {0: value, 5: value}}))

    assert len(growth.time) == 0
    assert known == CounterState()


def test_a_counter_that_stood_at_zero_hides_no_restart_of_its_proxy() -> None:
    """It cannot fall; that all the others fell together still shows that the process is another one."""
    idle = counter("418")
    read = samples({OK: {0: 500, 5: 3, 10: 8}, SLOW: {0: 40, 5: 1, 10: 1}, idle: {0: 0, 5: 0}, FAILED: {0: 2, 10: 3}})

    assert grown(read)[FAILED] == {0: 0, 10: 3}


def test_a_proxy_whose_process_started_at_its_samples_very_moment_is_a_baseline() -> None:
    fresh = counter(target="fresh")
    _, known = increase(CounterState(), samples({OK: {0: 500, 5: 510}}))

    assert grown(samples({OK: {10: 520}, fresh: {10: 30}}, started={"fresh": 10.0}), known)[fresh] == {10: 0}


def test_of_two_proxies_that_started_under_our_eyes_at_moments_of_their_own_both_count_from_zero() -> None:
    """A renamed process would have kept its moment: these are two."""
    one, other = counter(target="one"), counter(target="other")
    _, known = increase(CounterState(), samples({OK: {0: 500, 5: 510}}))

    read = grown(samples({OK: {10: 520}, one: {10: 30}, other: {10: 40}}, started={"one": 7.0, "other": 8.0}), known)

    assert (read[one], read[other]) == ({10: 30}, {10: 40})
