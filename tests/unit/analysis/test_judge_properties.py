"""What must not change a verdict: how the samples are cut, ordered, split over pods or saved in between."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.judge import Judge, JudgeState, dump_state, load_state, no_data
from analysis.scrapes.increments import Scrapes
from rollout.model import Basis, Outcome, Verdict
from rollout.plan import parse_plan, validate_plan
from tests.unit.analysis.frames import COLUMNS, Traffic, frame_of, samples_of

JUDGE = Judge.for_plan(parse_plan(Path("rollout.yaml").read_text(encoding="utf-8")))
EPOCH = datetime.fromtimestamp(0, UTC)
SICK = Traffic(canary_errors=0.03, canary_scale=1.15)


def judge_with(**criteria: object) -> Judge:
    written = JUDGE.plan.model_dump(mode="json")
    return Judge.for_plan(validate_plan(written | {"criteria": written["criteria"] | criteria}))


def learnt(frame: pd.DataFrame, judge: Judge = JUDGE) -> tuple[JudgeState, Scrapes]:
    scrapes, _ = judge.read(judge.begin().cursor, samples_of(frame))
    began = int((scrapes.time <= 0).sum())
    return judge.learn_scrapes(judge.begin(), scrapes[:began]), scrapes[began:]


def shares_of(scrapes: Scrapes) -> np.ndarray:
    return np.where(scrapes.time <= 100, 0.2, 0.5)


def evidence_of(frame: pd.DataFrame) -> np.ndarray:
    state, scrapes = learnt(frame)
    _, said = JUDGE.replay(state, scrapes, shares_of(scrapes))
    return np.stack([said.rollback, said.promotion])


def look_at(frame: pd.DataFrame, *, share: float = 0.2, judge: Judge = JUDGE, now: float | None = None) -> Verdict:
    state, _ = judge.learn(judge.begin(), samples_of(frame[frame["time"] <= 0]))
    moment = EPOCH + timedelta(seconds=float(frame["time"].max()) if now is None else now)
    return judge.look(state, samples_of(frame[frame["time"] > 0]), canary_share=share, now=moment).verdict


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(1, 39), max_size=6, unique=True))
def test_any_chunking_gives_the_same_evidence(seed: int, cuts: list[int]) -> None:
    state, scrapes = learnt(frame_of(SICK, seed))
    shares = shares_of(scrapes)
    _, whole = JUDGE.replay(state, scrapes, shares)

    rollback, promotion = [], []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(scrapes)], strict=True):
        state, said = JUDGE.replay(load_state(dump_state(state)), scrapes[start:end], shares[start:end])
        rollback.append(said.rollback)
        promotion.append(said.promotion)

    np.testing.assert_allclose(np.concatenate(rollback), whole.rollback, rtol=0, atol=1e-9)
    np.testing.assert_allclose(np.concatenate(promotion), whole.promotion, rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_looking_at_every_scrape_gives_the_evidence_of_a_replay(seed: int) -> None:
    frame = frame_of(SICK, seed)
    replayed = evidence_of(frame[frame["time"] <= 100])[0]
    state, _ = JUDGE.learn(JUDGE.begin(), samples_of(frame[frame["time"] <= 0]))

    looked = []
    for time in np.arange(5.0, 105.0, 5.0):
        seen = frame[(frame["time"] > time - 20) & (frame["time"] <= time)]
        look = JUDGE.look(state, samples_of(seen), canary_share=0.2, now=EPOCH + timedelta(seconds=time))
        state = look.state
        looked.append(look.verdict.rollback_evidence)

    condemned = np.logical_or.accumulate(replayed >= JUDGE.rollback_needed)
    expected = np.where(condemned & (replayed < JUDGE.rollback_needed), np.maximum.accumulate(replayed), replayed)
    np.testing.assert_allclose(looked, expected, rtol=0, atol=1e-9)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 999), end=st.integers(1, 39))
def test_what_was_said_does_not_depend_on_what_comes_later(seed: int, end: int) -> None:
    frame = frame_of(SICK, seed)

    whole = evidence_of(frame)
    cut = evidence_of(frame[frame["time"] <= 5.0 * end])

    np.testing.assert_array_equal(cut, whole[:, : cut.shape[1]])


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_rows_and_their_split_over_series_do_not_matter(seed: int) -> None:
    frame = frame_of(SICK, seed)
    shuffled = frame.sample(frac=1.0, random_state=seed)

    np.testing.assert_array_equal(evidence_of(shuffled), evidence_of(frame))


@pytest.mark.parametrize("seed", range(3))
def test_a_reset_of_all_counters_changes_nothing(seed: int) -> None:
    frame = frame_of(SICK, seed)
    last = frame[frame["time"] == 50].set_index(["track", "metric", frame[frame["time"] == 50]["le"].fillna(-1)])[
        "value"
    ]
    keys = pd.MultiIndex.from_arrays([frame["track"], frame["metric"], frame["le"].fillna(-1)])
    base = last.reindex(keys).to_numpy()
    was_reset = frame.assign(value=np.where(frame["time"] > 50, frame["value"] - base, frame["value"]))
    # A counter that has grown by less than it had before cannot be told from one that went on: those have to fall.
    falls = was_reset[was_reset["time"] == 55]["value"].to_numpy() < last.to_numpy()[: (was_reset["time"] == 55).sum()]

    if falls.all():
        np.testing.assert_allclose(evidence_of(was_reset), evidence_of(frame), atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_lost_scrapes_lose_no_counts_and_leave_the_verdict(seed: int) -> None:
    frame = frame_of(replace(SICK, scrapes=80), seed)
    rng = np.random.default_rng(seed)
    lost = {time for time in frame["time"].unique() if time > 0 and rng.random() < 0.2} - {frame["time"].max()}
    kept = frame[~frame["time"].isin(lost)]

    whole, holed = evidence_of(frame)[0], evidence_of(kept)[0]

    assert (whole[-1] >= np.log(100)) == (holed[-1] >= np.log(100))


def test_the_state_is_the_same_after_a_round_trip_through_text() -> None:
    frame = frame_of(replace(SICK, pods=3), 4)
    state, scrapes = learnt(frame)
    state, _ = JUDGE.replay(state, scrapes, shares_of(scrapes))

    assert dump_state(load_state(dump_state(state))) == dump_state(state)


def test_a_sick_canary_fails_with_its_errors_as_the_reason() -> None:
    verdict = look_at(frame_of(Traffic(canary_errors=0.05, scrapes=20), 1))

    assert verdict.outcome is Outcome.FAIL
    assert verdict.findings[0].criterion == "errors"
    assert "canary requests failed" in verdict.reason
    assert verdict.rollback_evidence >= verdict.rollback_needed


def test_a_hold_says_how_many_requests_are_missing() -> None:
    verdict = look_at(frame_of(Traffic(error_ratio=0.0, scrapes=40), 1))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    errors = next(f for f in verdict.findings if f.criterion == "errors" and f.requests_needed is not None)
    assert errors.requests_needed is not None
    assert 1000 < errors.requests_needed < 4000
    assert errors.time_needed is not None


def test_a_canary_that_gets_no_requests_is_an_alarm_and_no_verdict() -> None:
    frame = frame_of(Traffic(scrapes=30), 1)
    silent = frame["track"].eq("canary") & frame["time"].gt(50)
    level = frame[frame["track"].eq("canary") & frame["time"].eq(50)].set_index(["metric", "le"])["value"]
    keys = pd.MultiIndex.from_frame(frame[["metric", "le"]])
    frame = frame.assign(value=np.where(silent, level.reindex(keys).to_numpy(), frame["value"]))

    verdict = look_at(frame)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.findings[0].basis is Basis.NO_TRAFFIC


def test_a_canary_once_condemned_stays_condemned() -> None:
    frame = frame_of(Traffic(canary_errors=0.05, scrapes=30), 1)
    state, _ = JUDGE.learn(JUDGE.begin(), samples_of(frame[frame["time"] <= 0]))
    sick = JUDGE.look(state, samples_of(frame[frame["time"] > 0]), canary_share=0.2, now=EPOCH + timedelta(seconds=150))
    later = frame_of(Traffic(scrapes=200, history=0), 2)
    later = later.assign(time=later["time"] + 150)

    healed = JUDGE.look(sick.state, samples_of(later), canary_share=0.2, now=EPOCH + timedelta(seconds=1150))

    assert sick.verdict.outcome is Outcome.FAIL
    assert healed.verdict.outcome is Outcome.FAIL


def test_samples_that_have_stopped_are_called_stale() -> None:
    verdict = look_at(frame_of(Traffic(scrapes=20), 1), now=200.0)

    assert verdict.findings[0].basis is Basis.STALE


def test_a_split_that_is_not_the_configured_one_is_an_alarm_and_no_rollback() -> None:
    verdict = look_at(frame_of(Traffic(rps=200, share=0.3, scrapes=40), 1), share=0.5)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert any(finding.basis is Basis.SAMPLE_RATIO for finding in verdict.findings)


def test_no_data_is_inconclusive_with_its_kind() -> None:
    verdict = no_data(JUDGE, JUDGE.begin(), Basis.SOURCE_DOWN, "Prometheus is away")

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert verdict.findings[0].basis is Basis.SOURCE_DOWN


@pytest.mark.parametrize("worse_way", ["higher", "lower"])
def test_a_ratio_of_the_users_own_condemns_in_its_direction(worse_way: str) -> None:
    judge = judge_with(
        ratios=[{"name": "checkouts", "events": "checkouts_total", "total": "visits_total", "worse": worse_way}]
    )
    frame = frame_of(Traffic(rps=100, error_ratio=0.0), 2)
    worse, usual = (0.3, 0.6) if worse_way == "lower" else (0.6, 0.3)
    visits = frame[frame["metric"] == "requests_total"]
    part = np.where(visits["track"] == "canary", worse, usual)
    frame = pd.concat(
        [
            frame,
            visits.assign(metric="visits_total"),
            visits.assign(metric="checkouts_total", value=(visits["value"] * part).round()),
        ]
    )[COLUMNS]

    verdict = look_at(frame, judge=judge)

    assert verdict.outcome is Outcome.FAIL
    assert verdict.findings[0].criterion == "checkouts"


def test_a_fresh_copy_of_stable_can_be_compared_with_instead() -> None:
    judge = Judge.for_plan(JUDGE.plan.model_copy(update={"compare_with": "baseline"}))
    frame = frame_of(Traffic(rps=100, canary_errors=0.05, scrapes=40), 3)
    baseline = frame[(frame["track"] == "stable") & (frame["time"] >= 0)].assign(track="baseline")

    verdict = look_at(pd.concat([frame, baseline]), judge=judge)

    assert verdict.outcome is Outcome.FAIL
