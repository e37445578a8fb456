from __future__ import annotations

import itertools

import pytest

from loadtest.shapes import constant


def test_a_constant_rate_is_due_at_equal_distances():
    assert list(itertools.islice(constant(4), 4)) == [0.0, 0.25, 0.5, 0.75]


def test_a_constant_rate_does_not_drift_over_an_hour():
    hour = next(itertools.islice(constant(700), 700 * 3600, None))

    assert hour == pytest.approx(3600, abs=1e-9)
