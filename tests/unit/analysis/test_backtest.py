from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.judge import Judge
from analysis.offline.backtest import (
    HOLD,
    PROMOTE,
    ROLLBACK,
    Backtest,
    backtest,
    backtest_samples,
    shares_at,
    since_canary,
)
from analysis.offline.peer_replay import PeerVerdict
from analysis.offline.recording import Trace
from analysis.offline.traces import read_trace
from benchmarks.simulated.families import Family, Fault, Weather
from benchmarks.simulated.simulator import simulate
from benchmarks.simulated.trace_writer import Rows, write_trace
from rollout.plan import parse_plan
from tests.unit.analysis.frames import backtest_of, recorded_frame, samples_of

JUDGE = Judge.for_plan(parse_plan(Path("rollout.yaml").read_text()))
SICK = Family("sick", fault=Fault(error_ratio=0.05), duration=300.0, steps=((0.0, 0.2), (150.0, 0.5)), pods=3)
WELL = Family("well", error_ratio=0.0001, duration=900.0, steps=((0.0, 0.2), (600.0, 0.5)))
LOST = replace(SICK, name="lost", weather=Weather(lost=0.2))
OUTAGE = Family("outage", weather=Weather(outage=60.0), duration=400.0)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    @cache
    def write(family: Family, rows: Rows = Rows.GATEWAY) -> Trace:
        path = tmp_path_factory.mktemp("traces") / "trace.parquet"
        write_trace(simulate(family, runs=1, seed=4, history=600.0), 0, path, rows=rows)
        return read_trace(path)

    return write


def decided(result: Backtest) -> list[str]:
    return [word for _, word in result.decisions]


def test_a_sick_canary_is_rolled_back_with_its_reason(recorded):
    result = backtest(recorded(SICK), JUDGE)

    assert result.rollback_at is not None
    assert 5 <= result.rollback_at <= 60
    assert result.promote_at is None
    assert "errors" in result.reason


def test_a_healthy_canary_could_be_promoted_and_is_not_rolled_back(recorded):
    result = backtest(recorded(WELL), JUDGE)

    assert result.rollback_at is None
    assert result.promote_at is not None
    assert result.promote_at <= 900


def test_an_outage_of_both_tracks_is_not_held_against_the_canary(recorded):
    assert backtest(recorded(OUTAGE), JUDGE).rollback_at is None


def test_every_scrape_since_the_canarys_first_traffic_has_its_decision(recorded):
    result = backtest(recorded(SICK), JUDGE)
    words = decided(result)
    turn = words.index(ROLLBACK)

    assert [time for time, _ in result.decisions] == [5.0 * number for number in range(1, 61)]
    assert result.decisions[turn][0] == result.rollback_at
    assert set(words[:turn]) <= {HOLD}
    assert set(words[turn:]) == {ROLLBACK}


def test_the_first_promotion_among_the_decisions_is_the_one_that_is_told(recorded):
    result = backtest(recorded(WELL), JUDGE)

    assert result.decisions[decided(result).index(PROMOTE)][0] == result.promote_at


@pytest.mark.parametrize("family", [SICK, WELL, OUTAGE, LOST], ids=lambda family: family.name)
@pytest.mark.parametrize("end", [3.0, 40.0, 152.0, 299.0])
def test_what_is_said_of_a_moment_does_not_depend_on_what_comes_later(family: Family, end: float, recorded):
    frame = recorded_frame(recorded(family))
    whole = backtest_of("whole", frame, JUDGE)

    cut = backtest_of("cut", frame[frame["time"] <= end], JUDGE)

    assert cut.decisions == tuple(each for each in whole.decisions if each[0] <= end)


def test_counters_split_over_pods_give_the_same_decisions(recorded):
    whole = backtest(recorded(SICK), JUDGE)

    split = backtest(recorded(SICK, Rows.PODS), JUDGE)

    assert split.rollback_at == whole.rollback_at


def test_the_order_of_rows_within_a_scrape_changes_nothing(recorded):
    frame = recorded_frame(recorded(SICK))
    shuffled = frame.sample(frac=1, random_state=5).sort_values("time", kind="stable")

    assert backtest_of("a", shuffled, JUDGE) == backtest_of("a", frame, JUDGE)


def test_counters_that_start_again_from_zero_change_nothing(recorded):
    frame = recorded_frame(recorded(WELL))
    reset = frame[(frame["time"] > 200) & (frame["metric"] != "weight")]
    base = frame[frame["time"] == 200].set_index(["track", "metric", "le"])["value"]
    names = pd.MultiIndex.from_frame(reset[["track", "metric", "le"]])
    lower = frame.copy()
    lower.loc[reset.index, "value"] = reset["value"].to_numpy() - base.reindex(names).to_numpy()

    assert backtest_of("a", lower, JUDGE) == backtest_of("a", frame, JUDGE)


def restarts(times: list[float], track: str, pod: str) -> pd.DataFrame:
    scrapes = np.arange(-5.0, 305.0, 5.0)
    counts = [float(sum(time <= scrape for time in times)) for scrape in scrapes]
    return pd.DataFrame(
        {"time": scrapes, "track": track, "pod": pod, "metric": "restarts_total", "le": np.nan, "value": counts}
    )


def with_restarts(trace: Trace, *parts: pd.DataFrame) -> pd.DataFrame:
    frame = recorded_frame(trace)
    return pd.concat([frame, *parts]).sort_values("time", kind="stable")


def test_two_restarts_of_a_canary_pod_are_a_crash_loop(recorded):
    healthy = recorded(replace(WELL, duration=300.0))

    result = backtest_of("crash", with_restarts(healthy, restarts([20, 60], "canary", "a")), JUDGE)

    assert result.rollback_at == 60
    assert result.reason == "crash loop: pod canary/a restarted 2 times in 5 min"
    assert dict(result.decisions)[60.0] == ROLLBACK
    assert dict(result.decisions)[55.0] != ROLLBACK


def test_restarts_of_several_pods_or_of_stable_too_are_none(recorded):
    healthy = recorded(replace(WELL, duration=300.0))
    drained = with_restarts(healthy, *(restarts([20], "canary", pod) for pod in "abc"))
    shared = with_restarts(healthy, restarts([20, 60], "canary", "a"), restarts([30], "stable", "a"))

    assert backtest_of("drain", drained, JUDGE).rollback_at is None
    assert backtest_of("shared", shared, JUDGE).rollback_at is None


def test_the_share_in_force_is_the_last_weight_recorded(recorded):
    frame = recorded_frame(recorded(SICK))

    assert shares_at(samples_of(frame), np.array([-1.0, 0.0, 149.0, 150.0, 400.0])).tolist() == [
        0.5,
        0.2,
        0.2,
        0.5,
        0.5,
    ]


def test_a_recording_without_weights_is_judged_as_one_step(recorded):
    frame = recorded_frame(recorded(SICK))

    result = backtest_of("none", frame[frame["metric"] != "weight"], JUDGE)

    assert result.rollback_at is not None


def test_a_recording_of_stable_alone_says_so(recorded):
    frame = recorded_frame(recorded(SICK))

    result = backtest_of("alone", frame[(frame["time"] <= 0) & (frame["track"] == "stable")], JUDGE)

    assert result == Backtest("alone", None, None, "no scrape that both tracks have", (), notes=result.notes)


def test_unix_times_are_told_from_the_canarys_first_sample(recorded):
    frame = recorded_frame(recorded(SICK))
    clock = frame.assign(time=frame["time"] + 1.7e9)

    assert backtest_samples("a", since_canary(samples_of(clock)), JUDGE) == backtest_of("a", frame, JUDGE)
    stable = clock[clock["track"] == "stable"]
    assert since_canary(samples_of(stable)).latest == 0


def test_the_peers_are_replayed_beside_the_judge(recorded):
    result = backtest(recorded(SICK), JUDGE, rules=("argo",))

    assert result.peers == (PeerVerdict("argo", rollback_at=240.0),)


def test_unix_times_are_told_by_and_count_from_the_canarys_first_sample(recorded):
    trace = recorded(SICK)
    later = replace(trace, time=trace.time + 1_700_000_000.0)

    moved, usual = backtest(later, JUDGE), backtest(trace, JUDGE)

    assert (moved.rollback_at, moved.reason) == (usual.rollback_at, usual.reason)
    assert moved.notes[0] == (
        "timestamps are taken for Unix times: 0 is the canary's first sample at 2023-11-14 22:13:20 UTC"
    )


def test_a_recording_that_does_not_say_how_requests_were_answered_is_noted(recorded):
    frame = recorded_frame(recorded(WELL))

    silent = backtest_of("silent", frame[frame["metric"] != "errors_total"], JUDGE)

    assert "neither errors_total nor answers are recorded: that no request failed is assumed" in silent.notes
    assert not any("assumed" in note for note in backtest_of("told", frame, JUDGE).notes)
