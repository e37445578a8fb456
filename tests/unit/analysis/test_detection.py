from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from benchmarks.detection import Effort, main, measured, the_judge
from benchmarks.simulated.contenders import Decisions, first_time, peeked_z_test
from benchmarks.simulated.families import Family, Fault
from benchmarks.simulated.figures import Figure, as_json, figure, pooled, tables, unmet, upper_limit
from benchmarks.simulated.picture import picture
from benchmarks.simulated.simulator import CANARY, STABLE, simulate

FAMILY = Family("errors x5", fault=Fault(error_factor=5, onset=100.0))
FOUND = Decisions(np.array([110.0, 130.0, np.inf, 150.0]), np.array([np.inf, 120.0, np.inf, 160.0]))
TINY = Effort(runs=4, day_runs=0, peer_runs=2, history=300.0)


def again() -> list[Figure]:
    return list(chain.from_iterable(measured(the_judge(), TINY, seed=1, only="errors 5 %")))


@pytest.fixture(scope="module")
def figures() -> list[Figure]:
    return again()


def test_delays_count_from_the_onset_and_promotions_only_before_a_rollback():
    row = figure(FAMILY, "faulty", "judge", FOUND, horizon=1800.0, bound=20.0)

    assert (row.rolled_back, row.promoted, row.runs) == (3, 1, 4)
    assert row.median == 50.0
    assert row.p95 == math.inf
    assert row.ratio == 2.5


def test_what_happens_after_the_horizon_does_not_count():
    row = figure(FAMILY, "faulty", "judge", FOUND, horizon=120.0)

    assert (row.rolled_back, row.promoted) == (1, 1)


def test_the_upper_limit_is_clopper_and_pearsons():
    """The rule of three: no event in 300 runs leaves 1 % at 95 %."""
    assert upper_limit(0, 300) == pytest.approx(0.00994, abs=1e-5)
    assert upper_limit(5, 5) == 1.0


def test_false_alarms_are_pooled_over_the_longest_watch():
    rows = [
        replace(figure(FAMILY, "healthy", "judge", FOUND, horizon=seconds), rolled_back=events, runs=300)
        for seconds, events in ((1800.0, 7), (86_400.0, 0))
    ]

    assert list(pooled(rows)) == ["healthy canaries rolled back: 0 of 300, at most 0.99% at 95 %"]


def test_the_first_time_is_infinite_where_nothing_holds():
    holds = np.array([[False, True, True], [False, False, False]])

    assert first_time(np.array([5.0, 10.0, 15.0]), holds).tolist() == [10.0, np.inf]


def test_the_peeked_z_test_is_the_textbook_one():
    runs = simulate(replace(FAMILY, duration=60.0, fault=Fault(error_factor=50)), runs=1, seed=3, history=30.0)
    n, k = (array[0, runs.time > 0].cumsum(0) for array in (runs.requests, runs.errors))
    pooled = k.sum(1) / n.sum(1)
    sigma = np.sqrt(pooled * (1 - pooled) * (1 / n).sum(1))
    z = (k[:, CANARY] / n[:, CANARY] - k[:, STABLE] / n[:, STABLE]) / sigma

    assert peeked_z_test(runs, alpha=0.01).rollback_at[0] == 5.0 * (1 + int((z > 2.3263478740408408).argmax()))


def test_the_same_seed_gives_the_same_figures(figures: list[Figure]):
    assert again() == figures


def test_gross_faults_are_found_by_the_judge_and_named_in_the_tables(figures: list[Figure]):
    ours = {each.family: each for each in figures if each.contender == "judge"}

    assert ours["errors 5 %"].rolled_back == 4
    assert ours["errors 5 %"].promoted == 0
    assert "| errors 5 % | 3.38 |" in tables(figures)


def test_figures_become_json_without_infinities(figures: list[Figure]):
    text = json.dumps(as_json([*figures, replace(figures[0], median=math.inf)]), allow_nan=False)

    assert json.loads(text)[-1]["median"] is None


def test_the_picture_is_well_formed_and_names_every_family(figures: list[Figure]):
    text = picture(figures)

    ET.fromstring(text)
    assert all(each.family in text for each in figures)


def test_goals_that_are_missed_are_named():
    late = Figure("errors x5", "faulty", "judge", 1800.0, 100, 100, 5, median=300.0, p95=500.0, bound=83.0)
    alarms = Figure("diurnal", "healthy", "judge", 86400.0, 100, 10, 0, median=math.inf, p95=math.inf, bound=math.nan)
    slow = Figure("healthy 0.01 %", "promotable", "judge", 3600.0, 100, 0, 100, median=400.0, p95=600.0, bound=math.nan)

    assert list(unmet([late, alarms, slow])) == [
        "false rollback in 10 of 100 runs over 24 h, allowed 1 %",
        "diurnal: false rollback in 10 of 100 runs, not consistent with 1 %",
        "errors x5: found after 300 s median, allowed 124",
        "false promotion in 5 of 100 runs of a bad canary, allowed 1 %",
        "healthy 0.01 %: promotable after 400 s median, allowed 300",
    ]


def test_the_command_writes_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr("benchmarks.detection.QUICK", TINY)
    wanted = [
        "--quick",
        "--only",
        "errors 5 %, 10",
        "--json",
        str(tmp_path / "f.json"),
        "--picture",
        str(tmp_path / "f.svg"),
    ]

    assert main(wanted) == 0

    assert "errors 5 %, 10 rps" in capsys.readouterr().out
    assert main([*wanted, "--resume"]) == 0
    assert "errors 5 %, 10 rps:" not in capsys.readouterr().err
    assert json.loads((tmp_path / "f.json").read_text())[0]["family"] == "errors 5 %, 10 rps"
    ET.fromstring((tmp_path / "f.svg").read_text())
