"""What any source of samples promises: the tidy frame, with counters that only grow."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from analysis.samples import observed_share
from rollout.errors import NoSamplesError
from rollout.model import Track, Weights
from tests.contract.contracted import Contracted

# The cluster backend reads the same Prometheus by the same reader; without a mesh there is nothing to read.
pytestmark = pytest.mark.parametrize("world", ["fake", "local"], indirect=True)
KEYS = ["track", "pod", "metric", "le"]


@pytest.fixture
def since(world: Contracted) -> datetime:
    """When the samples to be read begin; by now the gateway has been counted at least twice."""
    began = world.clock.now()

    def counted_twice() -> bool:
        try:
            return bool(world.metrics.read(began)["time"].nunique() >= 3)
        except NoSamplesError:
            return False

    assert world.wait(counted_twice, seconds=20)
    return began


def test_the_frame_has_the_six_columns_in_order_of_time_from_the_asked_moment_on(
    world: Contracted, since: datetime
) -> None:
    frame = world.metrics.read(since)

    assert list(frame.columns) == ["time", "track", "pod", "metric", "le", "value"]
    assert frame["time"].is_monotonic_increasing
    assert frame["time"].min() >= since.timestamp()
    assert not frame["value"].isna().any()


def test_each_series_has_one_sample_a_scrape_and_only_grows(world: Contracted, since: datetime) -> None:
    frame = world.metrics.read(since)

    assert not frame.duplicated(["time", *KEYS]).any()
    grown = frame.groupby(KEYS, dropna=False)["value"].diff().dropna()
    assert (grown >= 0).all()


def test_errors_are_said_to_be_zero_before_the_first_one(world: Contracted, since: datetime) -> None:
    frame = world.metrics.read(since)

    requests, errors = (frame[frame["metric"] == metric] for metric in ("requests_total", "errors_total"))
    assert len(requests) == len(errors) > 0
    assert (errors["value"] == 0).all()


def test_latency_buckets_are_cumulative_and_the_last_one_holds_every_request(
    world: Contracted, since: datetime
) -> None:
    frame = world.metrics.read(since)
    one = frame[(frame["time"] == frame["time"].max()) & (frame["pod"] == "") & (frame["track"] == "stable")]

    buckets = one[one["metric"] == "duration_ms_bucket"].sort_values("le")
    count = one.loc[one["metric"] == "duration_ms_count", "value"].item()

    assert list(buckets["le"])[:3] == [0.5, 1.0, 5.0]
    assert np.isinf(buckets["le"].iloc[-1])
    assert buckets["value"].is_monotonic_increasing
    assert buckets["value"].iloc[-1] == count
    assert one.loc[one["metric"] == "duration_ms_sum", "value"].item() > 20 * count


def test_a_split_that_is_in_force_shows_in_the_requests_of_both_tracks(world: Contracted) -> None:
    world.workloads.scale(Track.CANARY, 1)
    assert world.wait_for(Track.CANARY, 1)
    world.router.set_weights(Weights.with_canary(50))
    began = world.clock.now() + timedelta(seconds=1.5)

    world.wait_for_traffic(5)
    canary, total = observed_share(world.metrics.read(began))

    # Three standard errors around one half.
    assert abs(canary / total - 0.5) < 1.5 / np.sqrt(total)


def test_no_sample_is_an_error_of_its_own_and_never_a_number(world: Contracted) -> None:
    with pytest.raises(NoSamplesError):
        world.metrics.read(world.clock.now() + timedelta(hours=1))


def test_a_frame_can_be_read_again_and_says_the_same(world: Contracted, since: datetime) -> None:
    first = world.metrics.read(since)

    again = world.metrics.read(since)

    pd.testing.assert_frame_equal(again[again["time"] <= first["time"].max()], first)
