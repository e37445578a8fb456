"""Whether the traffic is split as asked, at all times."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.evidence.split import Mismatch, SplitMonitor, mismatch, observe_split
from analysis.judge import Judge, JudgeState, dump_state, load_state
from rollout.model import Basis, Finding, Outcome, Verdict
from rollout.plan import parse_plan
from tests.unit.analysis.frames import Traffic, frame_of, samples_of

EPOCH = datetime.fromtimestamp(0, UTC)
JUDGE = Judge.for_plan(parse_plan(Path("rollout.yaml").read_text(encoding="utf-8")))
SCRAPE = 5.0


def requests(seed: int, *parts: tuple[float, float], rps: float = 100.0) -> np.ndarray:
    """Return Poisson requests (T, 2) of parts with a canary's true share for so many seconds."""
    rng = np.random.default_rng(seed)
    shares = np.concatenate([np.full(round(seconds / SCRAPE), share) for share, seconds in parts])
    return rng.poisson(rps * SCRAPE * np.stack([shares, 1 - shares], axis=-1)).astype(np.float64)


def seen(counted: np.ndarray, asked: float | np.ndarray = 0.2) -> list[Mismatch | None]:
    """Return what the watch says after each scrape."""
    watch, said = SplitMonitor(), []
    shares = np.broadcast_to(asked, len(counted))
    for index, row in enumerate(counted):
        time = np.array([SCRAPE * (index + 1)])
        watch, _ = observe_split(watch, time, np.array([SCRAPE]), row[None], shares[index : index + 1])
        said.append(mismatch(watch))
    return said


def first(said: list[Mismatch | None]) -> float:
    """Return after how many seconds the split is wrong first."""
    return next((SCRAPE * (index + 1) for index, wrong in enumerate(said) if wrong), math.inf)


@pytest.mark.parametrize("seed", range(5))
def test_a_share_that_halves_after_an_hour_is_seen_in_about_a_minute_and_named_as_it_is_now(seed: int) -> None:
    said = seen(requests(seed, (0.2, 3600), (0.1, 300)))

    assert 3600 < first(said) <= 3600 + 120
    assert said[-1] is not None
    assert said[-1].observed == pytest.approx(0.1, abs=0.02)
    assert said[-1].configured == 0.2
    assert said[-1].requests < 100 * 600


@pytest.mark.parametrize("seed", range(3))
def test_probes_alone_instead_of_a_fifth_of_the_users_are_a_wrong_split(seed: int) -> None:
    said = seen(requests(seed, (0.2, 3600), (0.005, 180)))

    assert 3600 < first(said) <= 3660


@pytest.mark.parametrize("seed", range(3))
def test_a_split_that_was_never_right_is_seen_in_the_first_minutes(seed: int) -> None:
    assert first(seen(requests(seed, (0.1, 600)))) <= 180


@pytest.mark.parametrize("seed", range(3))
def test_a_split_that_is_right_again_for_some_minutes_is_no_longer_wrong(seed: int) -> None:
    said = seen(requests(seed, (0.2, 3600), (0.1, 900), (0.2, 1200)))

    mended = said[round(4500 / SCRAPE) :]
    assert all(mended[:24])
    assert not any(mended[-60:])


@pytest.mark.parametrize("seed", range(3))
def test_a_split_that_stays_wrong_never_clears(seed: int) -> None:
    said = seen(requests(seed, (0.2, 1200), (0.14, 7200)))

    assert math.isfinite(first(said))
    began = round((first(said) + 60) / SCRAPE)  # within its first minute the evidence may still fall below the line
    assert all(said[began:])


def test_one_that_goes_wrong_the_other_way_is_not_taken_for_mended() -> None:
    said = seen(requests(1, (0.2, 3600), (0.1, 600), (0.4, 900)))

    assert all(said[round((3600 + 180) / SCRAPE) :])


@pytest.mark.parametrize("seed", range(3))
def test_a_share_within_the_tolerance_is_right(seed: int) -> None:
    assert not any(seen(requests(seed, (0.195, 4 * 3600))))


def test_scrapes_that_straddle_a_new_weight_are_not_counted() -> None:
    counted = np.concatenate([requests(1, (0.2, 600)), requests(2, (0.2, 2 * SCRAPE)), requests(3, (0.5, 1800))])
    asked = np.concatenate([np.full(120, 0.2), np.full(len(counted) - 120, 0.5)])

    assert not any(seen(counted, asked))


def test_where_all_traffic_is_the_canarys_there_is_no_split() -> None:
    assert not any(seen(requests(1, (0.9, 1800)), 1.0))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99), cuts=st.lists(st.integers(1, 239), max_size=8, unique=True))
def test_any_chunking_and_saving_gives_the_same_watch(seed: int, cuts: list[int]) -> None:
    counted = requests(seed, (0.2, 600), (0.1, 300), (0.2, 300))
    time, span = SCRAPE * (np.arange(len(counted)) + 1), np.full(len(counted), SCRAPE)
    asked = np.where(time <= 100, 0.1, 0.2)
    whole, wrong = observe_split(SplitMonitor(), time, span, counted, asked)

    state, parts = JudgeState(), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(counted)], strict=True):
        part = slice(start, end)
        watch, said = observe_split(state.split, time[part], span[part], counted[part], asked[part])
        state = load_state(dump_state(replace(state, split=watch)))
        parts.append(said)

    assert state.split.processes == whole.processes
    assert state.split == whole
    np.testing.assert_array_equal(np.concatenate(parts), wrong)


def test_what_is_kept_is_little_however_long_it_runs() -> None:
    counted = requests(1, (0.2, 24 * 3600))
    time, span = SCRAPE * (np.arange(len(counted)) + 1), np.full(len(counted), SCRAPE)

    watch, _ = observe_split(SplitMonitor(), time, span, counted, np.full(len(counted), 0.2))

    assert len(watch.processes) <= 1 + 2 * math.ceil(math.log2(24 * 60) + 1)


def looked_at(frame: pd.DataFrame, until: list[float]) -> list[Verdict]:
    """Return the judge's verdict at some moments; time 0 is the canary's first sample."""
    state, _ = JUDGE.learn(JUDGE.begin(), samples_of(frame[frame["time"] <= 0]))
    verdicts, before = [], 0.0
    for moment in until:
        part = frame[(frame["time"] > before - 15) & (frame["time"] <= moment)]
        look = JUDGE.look(state, samples_of(part), canary_share=0.2, now=EPOCH + timedelta(seconds=moment))
        state, before = load_state(dump_state(look.state)), moment
        verdicts.append(look.verdict)
    return verdicts


def joined(*frames: pd.DataFrame) -> pd.DataFrame:
    """Return counters that go on from frame to frame."""
    whole = frames[0]
    for frame in frames[1:]:
        later = frame[frame["time"] > frame["time"].min()]
        last = whole[whole["time"] == whole["time"].max()].set_index(["track", "metric", "le"])["value"]
        keys = pd.MultiIndex.from_frame(later[["track", "metric", "le"]])
        moved = later["value"] + last.reindex(keys).to_numpy()
        whole = pd.concat([whole, later.assign(time=later["time"] + whole["time"].max(), value=moved)])
    return whole.reset_index(drop=True)


def of_the_split(verdict: Verdict) -> Finding | None:
    return next((finding for finding in verdict.findings if finding.basis is Basis.SAMPLE_RATIO), None)


def test_a_share_that_halves_after_an_hour_blocks_promotion_with_its_cause_until_it_is_mended() -> None:
    traffic = Traffic(rps=100, error_ratio=0.0005, scrape=15.0)
    frame = joined(
        frame_of(replace(traffic, scrapes=240), 1),
        frame_of(replace(traffic, share=0.1, scrapes=40, history=0), 2),
        frame_of(replace(traffic, scrapes=60, history=0), 3),
    )

    _, before, soon, wrong, mended = looked_at(frame, [3000.0, 3600.0, 3720.0, 4200.0, 5100.0])

    assert before.outcome is mended.outcome is Outcome.PASS
    assert of_the_split(before) is of_the_split(mended) is None
    assert soon.outcome is wrong.outcome is Outcome.INCONCLUSIVE
    finding = of_the_split(wrong)
    assert finding is not None
    assert wrong.findings[0] == finding
    assert finding.mismatch is not None
    assert "keep clients on stable" in finding.mismatch.cause
    assert "20 % was asked for" in finding.reason
    assert wrong.rollback_evidence < JUDGE.rollback_needed
