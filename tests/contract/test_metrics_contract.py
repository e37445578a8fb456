"""What any source of samples promises: series of one proxy each, with counters that only grow."""

from __future__ import annotations

from datetime import datetime, timedelta

import numpy as np
import pytest

from analysis.scrapes.increase import CounterState, increase
from analysis.scrapes.reading import counted_by_pods, is_failure, observed_share
from analysis.scrapes.samples import BUCKET, COUNT, REQUESTS, SUM, Samples
from rollout.errors import NoSamplesError
from rollout.model import Track, Weights
from tests.contract.contracted import Contracted

# The cluster backend reads the same Prometheus by the same reader; without a mesh there is nothing to read.
pytestmark = pytest.mark.parametrize("world", ["fake", "local"], indirect=True)


@pytest.fixture
def since(world: Contracted) -> datetime:
    """When the samples to be read begin; by now the gateway has been counted at least twice."""
    began = world.clock.now()

    def counted_twice() -> bool:
        try:
            return len(np.unique(world.metrics.read(began).times)) >= 3
        except NoSamplesError:
            return False

    assert world.wait(counted_twice, seconds=20)
    return began


def gateways(samples: Samples, metric: str, track: Track = Track.STABLE) -> Samples:
    """Return the gateways' series of one metric."""
    return samples.where((one.metric, one.track, one.pod) == (metric, str(track), "") for one in samples.series)


def last_values(samples: Samples) -> np.ndarray:
    return np.array([values[-1] for _, _, values in samples.each()])


def test_each_series_comes_once_with_samples_in_order_of_time_from_the_moment_that_was_asked_for(
    world: Contracted, since: datetime
) -> None:
    samples = world.metrics.read(since)

    assert len(set(samples.series)) == len(samples.series) > 0
    assert samples.times.min() >= since.timestamp()
    for _, times, values in samples.each():
        assert (np.diff(times) > 0).all()
        assert np.isfinite(values).all()


def test_samples_cannot_be_changed(world: Contracted, since: datetime) -> None:
    samples = world.metrics.read(since)

    with pytest.raises(ValueError, match="read-only"):
        samples.values[0] = 1.0


def test_counters_only_grow_while_nothing_restarts(world: Contracted, since: datetime) -> None:
    samples = world.metrics.read(since)

    assert all((np.diff(values) >= 0).all() for _, _, values in samples.each())


def test_a_series_names_its_track_and_its_target(world: Contracted, since: datetime) -> None:
    samples = world.metrics.read(since)

    assert {one.track for one in samples.series} <= {*map(str, Track), "unknown"}
    assert all(one.target for one in samples.series)


def test_every_request_has_an_answer_and_none_of_a_healthy_service_is_a_failure(
    world: Contracted, since: datetime
) -> None:
    samples = world.metrics.read(since)
    requests = gateways(samples, REQUESTS)

    assert {one.answer for one in requests.series} == {"200"}
    assert not any(map(is_failure, requests.series))
    assert counted_by_pods(samples, Track.STABLE)[1] == 0


def test_latency_buckets_are_cumulative_and_the_last_one_holds_every_request(
    world: Contracted, since: datetime
) -> None:
    samples = world.metrics.read(since)
    buckets, count = gateways(samples, BUCKET), last_values(gateways(samples, COUNT)).sum()

    by_edge: dict[float, float] = {}
    for series, value in zip(buckets.series, last_values(buckets).tolist(), strict=True):
        by_edge[series.le] = by_edge.get(series.le, 0.0) + value
    edges = sorted(by_edge)

    assert edges[:3] == [0.5, 1.0, 5.0]
    assert np.isinf(edges[-1])
    assert (np.diff([by_edge[edge] for edge in edges]) >= 0).all()
    assert by_edge[np.inf] == count
    assert last_values(gateways(samples, SUM)).sum() > 20 * count


def test_what_is_read_in_two_parts_grows_as_what_is_read_at_once(world: Contracted, since: datetime) -> None:
    samples = world.metrics.read(since)
    middle = float(np.median(samples.times))

    whole, _ = increase(CounterState(), samples)
    first, known = increase(CounterState(), samples.between(-np.inf, middle))
    second, _ = increase(known, samples)

    assert first.amount.sum() + second.amount.sum() == pytest.approx(whole.amount.sum())


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


def test_what_was_read_can_be_read_again_and_is_the_same(world: Contracted, since: datetime) -> None:
    first = world.metrics.read(since)

    again = world.metrics.read(since).between(-np.inf, first.latest)

    assert {one: values.tolist() for one, _, values in again.each()} == {
        one: values.tolist() for one, _, values in first.each()
    }
