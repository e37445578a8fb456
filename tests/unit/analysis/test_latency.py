"""What histograms of a slower canary look like, and what buckets can show."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.evidence.latency import alternatives, bucket_warning, shifted

EDGES = (5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, math.inf)


def lognormal(median: float, sigma: float = 0.7) -> np.ndarray:
    return np.diff(stats.lognorm.cdf(EDGES, sigma, scale=median), prepend=0.0)


@pytest.mark.parametrize("factor", [1.1, 1.5, 3.0])
def test_a_shifted_lognormal_law_is_that_of_the_longer_median(factor: float) -> None:
    """Held against scipy's lognormal; the open ends, which know no shape, are allowed 0.3 %."""
    moved = lognormal(40) @ shifted(EDGES, lognormal(40), factor)

    np.testing.assert_allclose(moved, lognormal(40 * factor), atol=0.003)


def test_a_shift_by_one_leaves_all_as_it_is() -> None:
    np.testing.assert_allclose(shifted(EDGES, lognormal(40), 1.0), np.eye(len(EDGES)), atol=1e-9)


def test_every_alternative_is_a_law_and_excludes_no_bucket() -> None:
    law = np.stack([lognormal(40), lognormal(300)])

    moved = law[:, None, None] @ np.moveaxis(alternatives(EDGES, law), 2, 1)

    np.testing.assert_allclose(alternatives(EDGES, law).sum(axis=-1), 1.0)
    assert (moved[law[:, None, None] > 0 * moved] >= 0).all()
    assert (moved.squeeze() > 0.009 * law[:, None]).all()


def test_a_histogram_of_one_bucket_can_be_shifted() -> None:
    np.testing.assert_allclose(shifted((math.inf,), np.ones(1), 2.0), [[1.0]])


def test_a_limit_on_an_edge_needs_no_warning() -> None:
    assert bucket_warning(EDGES, 250.0) is None


def test_a_limit_between_edges_is_warned_of_with_both() -> None:
    assert bucket_warning(EDGES, 200.0) == (
        "200 ms is no bucket edge: the buckets can tell apart 100 and 250 ms; the mean is exact"
    )
