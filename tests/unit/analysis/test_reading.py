"""Reading counters: differences, resets, gaps and pods that come and go."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.scrapes import reading
from analysis.scrapes.increments import CANARY, STABLE, Scrapes
from analysis.scrapes.reading import Cursor
from analysis.scrapes.samples import BUCKET, COUNT, REQUESTS, SUM, Samples, Series
from rollout.model import Track
from tests.unit.analysis.frames import COLUMNS, Traffic, frame_of, samples_of, split_at

FIELDS = ("time", "span", "requests", "errors", "sums", "latency", "pods")


def read_scrapes(cursor: Cursor, frame: pd.DataFrame, **how: object) -> tuple[Scrapes, Cursor]:
    return reading.read_scrapes(cursor, samples_of(frame), **how)  # type: ignore[arg-type]


def counters(*rows: tuple[float, str, str, float], metric: str = "requests_total") -> pd.DataFrame:
    return pd.DataFrame([(t, track, pod, metric, np.nan, v) for t, track, pod, v in rows], columns=COLUMNS)


def both(times: dict[float, tuple[float | None, float | None]]) -> pd.DataFrame:
    """Samples of canary and stable by time; None is a missing scrape."""
    rows = [
        (time, track, "", value)
        for time, values in times.items()
        for track, value in zip(("canary", "stable"), values, strict=True)
        if value is not None
    ]
    return counters(*rows)


def assert_same(one: Scrapes, other: Scrapes) -> None:
    for name in FIELDS:
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), rtol=0, atol=1e-9, err_msg=name)


def test_a_first_sample_is_a_baseline_and_what_follows_is_counted() -> None:
    scrapes, _ = read_scrapes(Cursor(), both({0: (100, 900), 5: (110, 940), 10: (125, 990)}))

    assert scrapes.requests.tolist() == [[10, 40], [15, 50]]
    assert scrapes.span.tolist() == [5, 5]


def test_a_fall_is_a_reset_and_counts_as_the_new_value() -> None:
    scrapes, _ = read_scrapes(Cursor(), both({0: (100, 900), 5: (7, 940)}))

    assert scrapes.requests.tolist() == [[7, 40]]


def test_a_scrape_that_one_track_misses_is_merged_into_the_next_of_both() -> None:
    scrapes, _ = read_scrapes(Cursor(), both({0: (0, 0), 5: (10, 40), 10: (None, 80), 15: (30, 120)}))

    assert scrapes.time.tolist() == [5, 15]
    assert scrapes.requests.tolist() == [[10, 40], [20, 80]]
    assert scrapes.span.tolist() == [5, 10]


def test_a_track_that_is_gone_for_long_is_waited_for_no_more_and_begins_anew() -> None:
    times = {5.0 * i: (10.0 * i if i < 3 or i > 20 else None, 40.0 * i) for i in range(24)}

    scrapes, _ = read_scrapes(Cursor(), both(times))

    alone = scrapes.requests[(scrapes.time > 75) & (scrapes.time < 100)]
    assert (alone[:, CANARY] == 0).all()
    assert (alone[:, STABLE] > 0).all()
    back = scrapes.requests[scrapes.time == 105]
    assert back[0, CANARY] == 0


def test_an_error_series_that_appears_later_counts_from_zero() -> None:
    requests = both({0: (0, 0), 5: (10, 40), 10: (20, 80)})
    errors = counters((10, "canary", "", 3), metric="errors_total")

    scrapes, _ = read_scrapes(Cursor(), pd.concat([requests, errors]))

    assert scrapes.errors.tolist() == [[0, 0], [3, 0]]


def test_a_pod_that_comes_is_counted_from_its_second_sample() -> None:
    frame = counters(
        *((t, "stable", "a", 10.0 * t) for t in (0, 5, 10)),
        *((t, "stable", "b", 500 + 2.0 * t) for t in (5, 10)),
        *((t, "canary", "c", 1.0 * t) for t in (0, 5, 10)),
    )

    scrapes, _ = read_scrapes(Cursor(), frame)

    assert scrapes.requests[:, STABLE].tolist() == [50, 60]


def test_pods_are_not_added_to_what_the_gateway_counted() -> None:
    gateway = both({0: (0, 0), 5: (10, 40)})
    pods = counters((0, "stable", "a", 0), (5, "stable", "a", 40), (0, "canary", "c", 0), (5, "canary", "c", 10))

    scrapes, _ = read_scrapes(Cursor(), pd.concat([gateway, pods]))

    assert scrapes.requests.tolist() == [[10, 40]]
    assert scrapes.pods[0, :, 0, 1].tolist() == [10, 40]


def test_the_baseline_track_stands_in_for_stable_when_asked() -> None:
    frame = counters(
        *(
            (t, track, "", t * rate)
            for t in (0.0, 5.0)
            for track, rate in (("stable", 8), ("baseline", 2), ("canary", 3))
        )
    )

    scrapes, _ = read_scrapes(Cursor(), frame, against=Track.BASELINE)

    assert scrapes.requests.tolist() == [[15, 10]]


def test_the_observed_share_counts_the_gateways_rows() -> None:
    assert reading.observed_share(samples_of(both({0: (0, 0), 5: (10, 40), 10: (30, 70)}))) == (30, 100)


def test_a_frame_without_samples_counts_nothing() -> None:
    scrapes, cursor = read_scrapes(Cursor(), pd.DataFrame(columns=COLUMNS))

    assert len(scrapes) == 0
    assert cursor == Cursor()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), cuts=st.lists(st.integers(-30, 40), max_size=5), lost=st.floats(0, 0.3))
def test_reading_in_pieces_is_the_same_as_reading_at_once(seed: int, cuts: list[int], lost: float) -> None:
    frame = frame_of(Traffic(pods=2, scrapes=20), seed)
    rng = np.random.default_rng(seed)
    keep = {(time, track): rng.random() >= lost for time in frame["time"].unique() for track in ("canary", "stable")}
    frame = frame[[keep[time, track] for time, track in zip(frame["time"], frame["track"], strict=True)]]
    whole, _ = read_scrapes(Cursor(), frame)

    cursor, parts = Cursor(), []
    for piece in split_at(frame, [5.0 * cut for cut in cuts]):
        part, cursor = read_scrapes(cursor, piece)
        parts.append(part)

    for name in FIELDS[:5]:
        joined = np.concatenate([getattr(part, name) for part in parts])
        np.testing.assert_allclose(joined, getattr(whole, name), rtol=0, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(seed: int) -> None:
    frame = frame_of(Traffic(scrapes=10), seed)
    shuffled = frame.sample(frac=1.0, random_state=seed)

    assert_same(read_scrapes(Cursor(), shuffled)[0], read_scrapes(Cursor(), frame)[0])


@pytest.mark.parametrize("seed", range(3))
def test_counters_split_over_pods_add_up_to_the_same(seed: int) -> None:
    frame = frame_of(Traffic(scrapes=10), seed)
    parts = [
        frame.assign(pod=frame["track"] + pod, value=frame["value"] * part) for pod, part in (("a", 0.25), ("b", 0.75))
    ]

    whole, split = read_scrapes(Cursor(), frame)[0], read_scrapes(Cursor(), pd.concat(parts))[0]

    np.testing.assert_allclose(split.requests, whole.requests)
    np.testing.assert_allclose(split.latency, whole.latency, atol=1e-9)


def test_samples_seen_before_are_dropped() -> None:
    frame = frame_of(Traffic(scrapes=10), 1)
    _, cursor = read_scrapes(Cursor(), frame)

    again, after = read_scrapes(cursor, frame[frame["time"] > 30])

    assert len(again) == 0
    assert after == cursor


@pytest.mark.parametrize("lacks", ["sum", "bucket"])
def test_a_proxy_whose_histogram_lacks_its_sum_or_its_buckets_says_nothing_of_latency(lacks: str) -> None:
    """Its requests would halve the mean without their sum, and be slower than every edge without their buckets."""
    rows: list[tuple[float, Series, float]] = []
    for time in (0.0, 5.0):
        for target in ("10.0.0.1", "10.0.0.2"):
            for track in ("canary", "stable"):
                rows.append((time, Series(track, "", REQUESTS, target=target), 20 * time))
                rows.append((time, Series(track, "", COUNT, target=target), 20 * time))
                if not (target == "10.0.0.2" and lacks == "sum"):
                    rows.append((time, Series(track, "", SUM, target=target), 20 * time * 300.0))
                if not (target == "10.0.0.2" and lacks == "bucket"):
                    edges = ((250.0, 0.0), (500.0, 20 * time), (np.inf, 20 * time))
                    rows += [(time, Series(track, "", BUCKET, le, target=target), value) for le, value in edges]

    scrapes, _ = reading.read_scrapes(Cursor(), Samples.of_rows(rows))

    assert scrapes.requests.tolist() == [[200.0, 200.0]]
    assert scrapes.latency.tolist() == [[[0.0, 100.0, 0.0]] * 2]
    assert scrapes.sums.tolist() == [[30_000.0, 30_000.0]]
