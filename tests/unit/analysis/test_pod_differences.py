"""How much stable's pods differ from each other, as a placebo for a canary of a few pods."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.evidence import kernel
from analysis.evidence.blocks import STABLE, Block
from analysis.evidence.pod_differences import allowance, compare_groups
from analysis.scrapes.increments import GROUPS, group_of
from analysis.scrapes.reading import Cursor, read_scrapes
from tests.unit.analysis.frames import samples_of

HALF_LIVES = np.array([15.0, 300.0])
EDGES = (50.0, 100.0, 250.0, np.inf)


def block(means_ms: np.ndarray, *, requests: float = 400.0) -> Block:
    """Stable alone; means_ms (T, P) is the mean latency of each of its pods, one a group."""
    scrapes, pods = means_ms.shape
    groups = np.zeros((scrapes, 1, GROUPS, 3))
    groups[:, 0, :pods] = np.stack([np.full_like(means_ms, requests), requests * means_ms, np.ones_like(means_ms)], -1)
    latency = np.zeros((scrapes, 1, 2, len(EDGES)))
    latency[:, 0, STABLE, 1] = requests * pods
    nothing = np.zeros((scrapes, 1, 2))
    return Block(
        time=5.0 * np.arange(scrapes),
        span=np.full(scrapes, 5.0),
        requests=nothing,
        events=nothing[:, :, None],
        totals=nothing[:, :, None],
        pods=np.zeros((scrapes, 1, 2, 0, 2)),
        groups=groups,
        latency=latency,
        sums=nothing,
        weight=np.zeros((scrapes, 1)),
        edges=EDGES,
    )


def allowed(means_ms: np.ndarray, *, canary: int = 2) -> np.ndarray:
    """Return the allowance after the last scrape, for each half-life."""
    known = block(means_ms)
    histogram = known.latency[:, :, STABLE].cumsum(axis=0)
    state = kernel.blank(1, EDGES)
    _, group_variance = compare_groups(with_half_lives(state), known, histogram, HALF_LIVES)
    pods = np.broadcast_to(np.array([canary, means_ms.shape[1]]), (len(means_ms), 1, 2))
    return allowance(group_variance, pods)[-1, 0]


def with_half_lives(state: kernel.Evidence) -> kernel.Evidence:
    return replace(state, group_latency=np.zeros((1, 2, GROUPS, 2)), group_variance=np.zeros((1, 2, 2)))


def test_pods_that_do_not_differ_allow_nothing() -> None:
    assert allowed(np.full((300, 5), 60.0)) == pytest.approx([0.0, 0.0])


def test_a_single_pod_has_nothing_to_be_set_against() -> None:
    assert allowed(np.full((300, 1), 60.0)) == pytest.approx([0.0, 0.0])


def test_pods_that_differ_allow_two_and_a_half_standard_deviations_of_a_difference() -> None:
    rng = np.random.default_rng(3)
    spread, pods = 0.05, 8
    found = [allowed(np.tile(60 * np.exp(spread * rng.standard_normal(pods)), (100, 1)))[1] for _ in range(200)]

    wanted = 2.5 * spread * np.sqrt(1 / 2 + 1 / pods)
    assert np.sqrt(np.mean(np.square(found))) == pytest.approx(wanted, rel=0.1)


@given(st.integers(1, 59))
def test_cutting_the_scrapes_changes_nothing(cut: int) -> None:
    rng = np.random.default_rng(5)
    whole = block(60 * np.exp(0.1 * rng.standard_normal((60, 4))))
    histogram = whole.latency[:, :, STABLE].cumsum(axis=0)
    state = with_half_lives(kernel.blank(1, EDGES))
    group_latency, group_variance = compare_groups(state, whole, histogram, HALF_LIVES)

    first = compare_groups(state, whole[:cut], histogram[:cut], HALF_LIVES)
    middle = replace(state, group_latency=first[0][-1], group_variance=first[1][-1])
    last = compare_groups(middle, whole[cut:], histogram[cut:], HALF_LIVES)

    assert last[0][-1] == pytest.approx(group_latency[-1], rel=1e-9)
    assert last[1][-1] == pytest.approx(group_variance[-1], rel=1e-9)


def test_a_pod_is_counted_in_the_group_of_its_name_whatever_the_order_of_rows() -> None:
    rows = [
        (time, "stable", pod, metric, np.nan, value * time)
        for time in (0.0, 5.0)
        for pod, ms in (("b", 300.0), ("a", 200.0))
        for metric, value in (("requests_total", 4.0), ("duration_ms_count", 4.0), ("duration_ms_sum", ms))
    ]
    frame = pd.DataFrame(rows, columns=["time", "track", "pod", "metric", "le", "value"])

    forwards, _ = read_scrapes(Cursor(), samples_of(frame))
    backwards, _ = read_scrapes(Cursor(), samples_of(frame.iloc[::-1]))

    assert forwards.groups[0, group_of("a")] == pytest.approx([20.0, 1000.0, 1.0])
    assert forwards.groups[0, group_of("b")] == pytest.approx([20.0, 1500.0, 1.0])
    assert backwards.groups == pytest.approx(forwards.groups)
