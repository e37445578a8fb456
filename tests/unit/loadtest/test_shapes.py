from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.schedule import Stage, cut, due_times, duration, even, poisson, rate_at, requests_due, steady

LEGS = st.lists(st.builds(Stage, st.floats(0.1, 20), st.floats(0, 50), st.floats(0, 50)), min_size=1, max_size=4).map(
    tuple
)


def test_a_constant_rate_is_due_at_equal_distances():
    assert list(itertools.islice(due_times(steady(4), even()), 4)) == [0.0, 0.25, 0.5, 0.75]


def test_a_constant_rate_does_not_drift_over_an_hour():
    hour = next(itertools.islice(due_times(steady(700), even()), 700 * 3600, None))

    assert hour == pytest.approx(3600, abs=1e-9)


@given(LEGS)
def test_due_times_grow_and_are_as_many_as_the_legs_ask_for(stages: tuple[Stage, ...]):
    times = list(due_times(stages, even()))

    assert times == sorted(times)
    assert len(times) == pytest.approx(requests_due(stages), abs=1)
    assert all(time <= duration(stages) for time in times)


@given(LEGS, st.floats(0.05, 60))
def test_what_is_due_by_a_moment_is_the_same_when_the_rest_is_cut_off(stages: tuple[Stage, ...], moment: float):
    assert requests_due(cut(stages, moment)) == pytest.approx(requests_due(stages, moment), rel=1e-6, abs=1e-6)


def test_several_generators_send_together_what_one_would():
    stages = (Stage(5, 10, 40), Stage(5, 40, 40))

    parts = [due_times(stages, even(slot=slot, slots=3)) for slot in range(3)]

    assert sorted(itertools.chain(*parts)) == list(due_times(stages, even()))


def test_a_ramp_is_as_steep_as_asked():
    stages = (Stage(10, 0, 100),)

    times = np.array(list(due_times(stages, even())))

    assert np.count_nonzero(times < 5) == pytest.approx(125, abs=1)
    assert rate_at(stages, 5) == 50
    assert rate_at(stages, 11) == 0


def test_poisson_arrivals_come_independently_at_the_rate_asked_for():
    """The distances' mean and deviation are both 1 / rate; three standard errors of 20,000 draws."""
    times = np.array(list(itertools.islice(due_times(steady(50), poisson("7")), 20_000)))
    gaps = np.diff(times)

    assert gaps.mean() == pytest.approx(1 / 50, rel=3 / math.sqrt(len(gaps)))
    assert gaps.std() == pytest.approx(1 / 50, rel=3 * math.sqrt(2 / len(gaps)))


def test_nothing_is_due_at_rate_nought():
    assert list(due_times(steady(0, seconds=10), even())) == []
