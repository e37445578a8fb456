"""The user's own ratios and gauges: what they condemn, what they never say, and what must not change it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.evidence.gauges import GAP_SECONDS, GaugeState, observe_gauges
from analysis.judge import Judge, Replay, dump_state, load_state
from analysis.offline.backtest import backtest
from analysis.offline.traces import read_trace
from rollout.errors import ConflictError
from rollout.model import Basis, Finding, Outcome, Verdict
from rollout.plan import parse_plan, validate_plan
from tests.unit.analysis.frames import COLUMNS, Traffic, backtest_of, frame_of, samples_of

PLAN = parse_plan(Path("rollout.yaml").read_text(encoding="utf-8"))
EPOCH = datetime.fromtimestamp(0, UTC)
MIB = 2.0**20
CALM = Traffic(rps=100, error_ratio=0.0)
RATIO = {"name": "failed checkouts", "events": "failures_total", "total": "checkouts_total"}
MEMORY = {"name": "memory", "metric": "memory_bytes", "rollback_above": "512Mi", "for": "30s"}


def judge_with(**criteria: object) -> Judge:
    written = PLAN.model_dump(mode="json")
    return Judge.for_plan(validate_plan(written | {"criteria": written["criteria"] | criteria}))


RATIOS, GAUGES = judge_with(ratios=[RATIO]), judge_with(gauges=[MEMORY])


def with_checkouts(frame: pd.DataFrame, seed: int, *, canary: float = 0.02, stable: float = 0.02) -> pd.DataFrame:
    """Return the frame with every tenth request a checkout, of which some fail, counted by two pods a track."""
    rng, parts = np.random.default_rng(seed), [frame]
    for track, ratio in (("canary", canary), ("stable", stable)):
        requests = frame[(frame["metric"] == "requests_total") & (frame["track"] == track)]
        for pod in ("a", "b"):
            checkouts = rng.binomial(np.diff(requests["value"], prepend=0.0).astype(int), 0.05)
            counted = {"checkouts_total": checkouts, "failures_total": rng.binomial(checkouts, ratio)}
            parts += [
                requests.assign(metric=name, pod=f"{track}-{pod}", value=1000.0 + np.cumsum(count))
                for name, count in counted.items()
            ]
    return pd.concat(parts)[COLUMNS].sort_values("time", kind="stable", ignore_index=True)


def with_memory(frame: pd.DataFrame, levels: dict[str, list[float]], every: float = 10.0) -> pd.DataFrame:
    """Return the frame with samples in MiB from time 0 on, by `track/pod`."""
    rows = [
        (every * index, *place.split("/"), "memory_bytes", np.nan, level * MIB)
        for place, sampled in levels.items()
        for index, level in enumerate(sampled)
    ]
    return pd.concat([frame, pd.DataFrame(rows, columns=COLUMNS)]).sort_values("time", kind="stable")


def look_at(judge: Judge, frame: pd.DataFrame) -> Verdict:
    state, _ = judge.learn(judge.begin(), samples_of(frame[frame["time"] <= 0]))
    now = EPOCH + timedelta(seconds=float(frame["time"].max()))
    return judge.look(state, samples_of(frame[frame["time"] > 0]), canary_share=0.2, now=now).verdict


def named(verdict: Verdict, name: str) -> list[Finding]:
    return [finding for finding in verdict.findings if finding.criterion == name]


def replayed(frame: pd.DataFrame, cuts: list[int]) -> np.ndarray:
    scrapes, _ = RATIOS.read(RATIOS.begin().cursor, samples_of(frame))
    began = int((scrapes.time <= 0).sum())
    state, said = RATIOS.learn_scrapes(RATIOS.begin(), scrapes[:began]), []
    ends = [began + cut for cut in sorted(cuts)]
    for start, end in zip([began, *ends], [*ends, len(scrapes)], strict=True):
        state = load_state(dump_state(state))
        state, part = RATIOS.replay(state, scrapes[start:end], np.full(end - start, 0.2))
        said.append(_numbers(part))
    return np.concatenate(said, axis=1)


def _numbers(said: Replay) -> np.ndarray:
    return np.stack([said.rollback, said.promotion, said.fails, said.passes])


def test_failed_checkouts_condemn_where_requests_are_all_well() -> None:
    verdict = look_at(RATIOS, with_checkouts(frame_of(CALM, 1), 1, canary=0.3))

    assert verdict.outcome is Outcome.FAIL
    assert verdict.findings[0].criterion == "failed checkouts"
    assert "checkouts" in verdict.reason


def test_checkouts_that_fail_alike_condemn_nobody() -> None:
    result = backtest_of("alike", with_checkouts(frame_of(replace(CALM, scrapes=200), 2), 2), RATIOS)

    assert result.rollback_at is None
    assert result.promote_at is not None


@pytest.mark.parametrize(
    ("lost", "basis", "said"),
    [
        (("canary", "checkouts_total"), Basis.SERIES_ABSENT, "no series checkouts_total of the canary"),
        (("stable", "checkouts_total"), Basis.SERIES_ABSENT, "no series checkouts_total of stable"),
    ],
)
def test_a_ratio_without_its_series_is_no_data_and_never_a_verdict(
    lost: tuple[str, str], basis: Basis, said: str
) -> None:
    frame = with_checkouts(frame_of(replace(CALM, scrapes=200), 3), 3, canary=0.5)
    frame = frame[~((frame["track"] == lost[0]) & frame["metric"].isin(["checkouts_total", "failures_total"]))]

    verdict, result = look_at(RATIOS, frame), backtest_of("lost", frame, RATIOS)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert [f.basis for f in named(verdict, "failed checkouts") if said in f.reason] == [basis]
    assert (result.rollback_at, result.promote_at) == (None, None)


def test_a_backtest_misses_no_metric_that_was_recorded() -> None:
    both = judge_with(ratios=[RATIO], gauges=[MEMORY])
    frame = with_checkouts(frame_of(replace(CALM, scrapes=200), 2), 2)
    frame = with_memory(frame, {"canary/a": [100.0] * 100, "stable/a": [100.0] * 100})

    assert "no series" not in backtest_of("well", frame, both).reason


def test_a_total_that_stands_still_is_no_data() -> None:
    frame = with_checkouts(frame_of(CALM, 4), 4)
    still = (frame["track"] == "canary") & frame["metric"].isin(["checkouts_total", "failures_total"])

    verdict = look_at(RATIOS, frame.assign(value=frame["value"].where(~still, 7.0)))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert any(f.basis is Basis.NO_TRAFFIC for f in named(verdict, "failed checkouts"))


def test_scrapes_with_more_events_than_there_could_be_are_left_out_and_said() -> None:
    frame = with_checkouts(frame_of(CALM, 5), 5)
    odd = (frame["track"] == "canary") & (frame["metric"] == "failures_total")

    verdict = look_at(RATIOS, frame.assign(value=np.where(odd, frame["value"] * 50, frame["value"])))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert any("scrapes left out" in f.reason and f.basis is Basis.NOTE for f in named(verdict, "failed checkouts"))


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99), cuts=st.lists(st.integers(1, 39), max_size=5, unique=True))
def test_any_chunking_gives_the_same_evidence_of_a_ratio(seed: int, cuts: list[int]) -> None:
    frame = with_checkouts(frame_of(CALM, seed), seed, canary=0.06)

    np.testing.assert_allclose(replayed(frame, cuts), replayed(frame, []), rtol=0, atol=1e-9)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 99), end=st.integers(2, 39))
def test_a_cut_changes_nothing_that_a_ratio_said_before(seed: int, end: int) -> None:
    frame = with_checkouts(frame_of(CALM, seed), seed, canary=0.06)

    cut = replayed(frame[frame["time"] <= 5.0 * end], [])

    np.testing.assert_array_equal(cut, replayed(frame, [])[:, : cut.shape[1]])


@pytest.mark.parametrize("seed", range(2))
def test_order_pods_resets_and_lost_scrapes_change_no_ratio(seed: int) -> None:
    frame = with_checkouts(frame_of(CALM, seed), seed, canary=0.06)
    own = frame["metric"].isin(["checkouts_total", "failures_total"])
    summed = frame[own].groupby(["time", "track", "metric"], as_index=False)["value"].sum().assign(pod="", le=np.nan)
    level = frame[own & (frame["time"] == 50)].set_index(["pod", "metric"])["value"]
    places = pd.MultiIndex.from_frame(frame[["pod", "metric"]])
    after = own & (frame["time"] > 50)
    was_reset = frame.assign(value=np.where(after, frame["value"] - level.reindex(places).to_numpy(), frame["value"]))
    holed = frame[~(own & frame["time"].isin([20.0, 70.0, 75.0]))]

    whole = replayed(frame, [])

    np.testing.assert_allclose(replayed(frame.sample(frac=1.0, random_state=seed), []), whole, atol=1e-9)
    np.testing.assert_allclose(replayed(pd.concat([frame[~own], summed[COLUMNS]]), []), whole, atol=1e-9)
    np.testing.assert_allclose(replayed(was_reset, []), whole, atol=1e-9)
    assert (replayed(holed, [])[2, -1], replayed(holed, [])[3, -1]) == (whole[2, -1], whole[3, -1])


def test_memory_above_its_limit_at_every_sample_condemns() -> None:
    frame = with_memory(frame_of(CALM, 1), {"canary/c-0": [600, 610, 620, 630], "stable/s-0": [300] * 4})

    verdict, result = look_at(GAUGES, frame), backtest_of("leak", frame, GAUGES)

    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == "memory 630 MiB on c-0, limit 512 MiB: above it at every sample for 30 s"
    assert (verdict.findings[0].estimate, verdict.findings[0].limit, verdict.findings[0].unit) == (630, 512, "MiB")
    assert (result.rollback_at, result.reason) == (30.0, verdict.reason)


@pytest.mark.parametrize("sampled", [[600, 600, 600, 500, 600, 600, 600], [600, 600, 600], [512, 512, 512, 512, 512]])
def test_memory_that_was_below_for_one_sample_or_is_not_watched_for_long_condemns_nobody(sampled: list[float]) -> None:
    frame = with_memory(frame_of(CALM, 1), {"canary/c-0": sampled})

    assert look_at(GAUGES, frame).outcome is not Outcome.FAIL
    assert backtest_of("short", frame, GAUGES).rollback_at is None


def test_memory_that_stable_uses_too_is_common_mode_and_no_promotion() -> None:
    frame = with_memory(frame_of(replace(CALM, scrapes=200), 1), {"canary/c-0": [600] * 100, "stable/s-0": [700] * 100})

    verdict, result = look_at(GAUGES, frame), backtest_of("both", frame, GAUGES)

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert [finding.basis for finding in named(verdict, "memory")] == [Basis.COMMON_MODE]
    assert (result.rollback_at, result.promote_at) == (None, None)


def test_a_gauge_that_is_not_there_is_no_data() -> None:
    verdict = look_at(GAUGES, frame_of(CALM, 1))

    assert verdict.outcome is Outcome.INCONCLUSIVE
    assert [finding.basis for finding in named(verdict, "memory")] == [Basis.SERIES_ABSENT]


def test_a_counter_is_watched_by_its_increase_a_second() -> None:
    judge = judge_with(
        gauges=[{"name": "cpu", "metric": "cpu_usage_seconds_total", "rollback_above": 0.8, "for": "20s"}]
    )
    rows = [(10.0 * i, "canary", "c-0", "cpu_usage_seconds_total", np.nan, 100 + 9.0 * i) for i in range(5)]

    verdict = look_at(judge, pd.concat([frame_of(CALM, 1), pd.DataFrame(rows, columns=COLUMNS)]))

    assert verdict.outcome is Outcome.FAIL
    assert verdict.reason == "cpu 0.9 cores on c-0, limit 0.8 cores: above it at every sample for 20 s"


def test_a_counter_chosen_by_labels_is_watched_by_its_increase_too() -> None:
    metric = 'cpu_usage_seconds_total{container="app"}'
    judge = judge_with(gauges=[{"name": "cpu", "metric": metric, "rollback_above": 0.8, "for": "20s"}])
    rows = [(10.0 * i, "canary", "c-0", metric, np.nan, 100 + 9.0 * i) for i in range(5)]

    verdict = look_at(judge, pd.concat([frame_of(CALM, 1), pd.DataFrame(rows, columns=COLUMNS)]))

    assert verdict.reason == "cpu 0.9 cores on c-0, limit 0.8 cores: above it at every sample for 20 s"


def test_a_recording_holds_a_metric_by_its_selectors_text(tmp_path: Path) -> None:
    chosen = {"failures_total": 'orders{status=~"5..", uri="/a,b"}', "checkouts_total": "orders"}
    judge = judge_with(ratios=[{"name": "orders", "events": chosen["failures_total"], "total": "orders"}])
    frame = with_checkouts(frame_of(CALM, 1), 1, canary=0.3).replace({"metric": chosen})
    file = tmp_path / "orders.csv"
    frame.rename(columns={"time": "timestamp"}).to_csv(file, index=False)

    result = backtest(read_trace(file), judge)

    assert result.rollback_at is not None
    assert result.reason.startswith("orders")


def test_ratios_with_one_total_are_each_compared() -> None:
    ratios = [RATIO | {"name": name, "events": events} for name, events in (("failed", "failures_total"), ("odd", "b"))]

    verdict = look_at(judge_with(ratios=ratios), with_checkouts(frame_of(CALM, 1), 1, canary=0.3))

    assert verdict.outcome is Outcome.FAIL
    assert verdict.findings[0].criterion == "failed"


def test_a_gap_in_the_samples_begins_the_window_anew() -> None:
    rows = [(time, "canary", "c-0", "memory_bytes", np.nan, 600 * MIB) for time in (0.0, 1.0, 2.0 + GAP_SECONDS)]

    watch = observe_gauges(GaugeState(), GAUGES.plan.criteria.gauges, samples_of(pd.DataFrame(rows, columns=COLUMNS)))

    assert watch.breach is None


@settings(max_examples=20, deadline=None)
@given(
    sampled=st.lists(st.sampled_from([400.0, 600.0]), min_size=1, max_size=12),
    cuts=st.lists(st.integers(0, 120), max_size=4),
)
def test_any_chunking_gives_the_same_watch_of_a_gauge(sampled: list[float], cuts: list[int]) -> None:
    gauges = GAUGES.plan.criteria.gauges
    frame = with_memory(pd.DataFrame(columns=COLUMNS), {"canary/c-0": sampled, "stable/s-0": sampled[::-1]})
    watch = GaugeState()
    for end in [*sorted(cuts), 1000]:
        watch = observe_gauges(watch, gauges, samples_of(frame[frame["time"] <= end]))

    assert repr(watch) == repr(observe_gauges(GaugeState(), gauges, samples_of(frame)))  # NaN is not equal to itself


def test_a_limit_that_is_no_bucket_edge_is_noted_and_keeps_nobody_from_anything() -> None:
    result = backtest_of("calm", frame_of(replace(CALM, scrapes=400), 1), Judge.for_plan(PLAN))
    verdict = look_at(Judge.for_plan(PLAN), frame_of(CALM, 1))

    assert result.promote_at is not None
    assert result.notes[0] == "200 ms is no bucket edge: the buckets can tell apart 100 and 250 ms; the mean is exact"
    assert [finding.reason for finding in verdict.findings if finding.basis is Basis.NOTE] == list(result.notes)


def test_evidence_of_another_version_is_refused() -> None:
    kept = json.loads(dump_state(GAUGES.begin()))

    with pytest.raises(ConflictError, match="version 9"):
        load_state(json.dumps(kept | {"version": 9}))
    with pytest.raises(ConflictError, match="another version"):
        load_state(json.dumps(kept | {"evidence": {}}))


def test_the_warm_up_silences_the_comparison_of_latencies_and_nothing_else() -> None:
    judge, fine = Judge.for_plan(PLAN), replace(CALM, edges=(25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, np.inf))
    slower, late, failing = (
        backtest_of("", frame_of(replace(fine, **how), 1), judge).rollback_at
        for how in ({"canary_scale": 1.5}, {"canary_scale": 12.0}, {"canary_errors": 0.05})
    )

    assert PLAN.warm_up == timedelta(seconds=60)
    assert slower is not None
    assert slower > 60
    assert late is not None
    assert late < 60
    assert failing is not None
    assert failing <= 30
