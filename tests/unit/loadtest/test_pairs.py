"""Base and change in one run: sent in turns, compared pairwise."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

from loadtest.profile import validate_profile
from loadtest.validation.paired import compare_interleaved
from loadtest.validation.validation_run import run_load_test
from loadtest.windows import Window
from rollout.errors import PlanError
from rollout.model import Outcome
from tests.unit.loadtest.commandline import canary

LENIENT = {"errors_below": "2%", "success_above": "98%", "throughput_above": "95%", "slower_below": "30%"}


def run(slower: float, *, seed: int, seconds: int = 60, rate: int = 200) -> tuple[list[Window], list[Window]]:
    """Return the windows of a change and of its base, on a machine whose speed wanders by a third and more."""
    draw = np.random.default_rng(seed)
    speed = np.exp(0.2 * np.sin(np.arange(seconds) / 7) + draw.normal(0, 0.15, seconds))
    return _side(draw, 0.05 * slower * speed, rate), _side(draw, 0.05 * speed, rate)


def _side(draw: np.random.Generator, means: np.ndarray, rate: int) -> list[Window]:
    windows = [Window(index) for index in range(len(means))]
    for window, mean in zip(windows, means, strict=True):
        for latency in draw.gamma(100, mean / 100, rate):
            window.record(float(latency), failed=False)
    return windows


def outcomes(slower: float, *, seed: int, margin: float) -> tuple[Outcome, Outcome]:
    """Return what is found of the typical and of the mean latency."""
    change, base = run(slower, seed=seed, seconds=60, rate=60)
    typical, mean, _ = compare_interleaved(change, base, against="http://old/", slower_below=margin).findings
    return typical.outcome, mean.outcome


def test_a_change_two_percent_slower_is_seen_on_a_machine_that_wanders_by_a_third():
    slower = [outcomes(1.02, seed=seed, margin=0.005) for seed in range(40)]
    equal = [outcomes(1.0, seed=seed, margin=0.005) for seed in range(100, 140)]

    assert all(Outcome.FAIL in comparison for comparison in slower)
    assert not any(Outcome.FAIL in comparison for comparison in equal)


@pytest.mark.simulation
def test_a_change_at_the_margin_is_called_slower_no_more_often_than_promised():
    """5 % for both findings together: three standard errors of 400 runs."""
    found = [Outcome.FAIL in outcomes(1.02, seed=seed, margin=0.02) for seed in range(400)]

    assert sum(found) / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.simulation
def test_spells_in_which_one_of_both_is_slow_make_no_regression():
    """Spells of half a second, of 2 % up or down for either: 5 %, and three standard errors of 200 runs."""
    found = 0
    for seed in range(200):
        change, base = run(1.0, seed=seed, seconds=300, rate=10)
        spells = np.repeat(np.random.default_rng(1000 + seed).normal(0, 0.02, 60), 5)
        for window, spell in zip(change, spells, strict=True):
            window.seconds *= float(np.exp(spell))
        typical = compare_interleaved(change, base, against="http://old/", slower_below=0.0).findings[0]
        found += typical.outcome is Outcome.FAIL

    assert found / 200 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 200)


def test_a_change_that_rarely_stalls_is_seen_by_its_mean_and_one_slow_throughout_by_its_typical_latency():
    change, base = run(1.0, seed=1, seconds=120, rate=50)
    for window in change[::8]:
        window.record(2.0, failed=False)
    typical, mean, _ = compare_interleaved(change, base, against="http://old/", slower_below=0.05).findings
    assert (typical.outcome, mean.outcome) == (Outcome.PASS, Outcome.FAIL)

    change, base = run(1.06, seed=2, seconds=120, rate=50)
    for window in base[::8]:
        window.record(2.0, failed=False)  # the machine stood still
    typical, mean, _ = compare_interleaved(change, base, against="http://old/", slower_below=0.02).findings
    assert (typical.outcome, mean.outcome) == (Outcome.FAIL, Outcome.PASS)


def test_the_typical_difference_is_the_median_of_all_walsh_averages():
    change, base = run(1.05, seed=3, seconds=30)  # a block for each stretch
    ratios = np.array([np.log(a.seconds / b.seconds) for a, b in zip(change, base, strict=True)])
    walsh = [(ratios[i] + ratios[j]) / 2 for i in range(len(ratios)) for j in range(i, len(ratios))]

    typical = compare_interleaved(change, base, against="http://old/", slower_below=0.02).findings[0]

    assert typical.estimate == pytest.approx(np.exp(np.median(walsh)))
    assert typical.interval is not None
    assert typical.interval[0] < 1.05 < typical.interval[1]


def test_stretches_that_one_side_lacks_are_left_out():
    change, base = run(1.0, seed=1, seconds=20, rate=20)

    whole = compare_interleaved(change[:15], base[5:], against="http://old/", slower_below=0.1)
    part = compare_interleaved(change[5:15], base[5:15], against="http://old/", slower_below=0.1)

    assert whole == part
    nothing = compare_interleaved([], base, against="http://old/", slower_below=0.1)
    assert nothing.outcome is Outcome.INCONCLUSIVE


@pytest.mark.parametrize("model", [{"rate": 60}, {"model": "closed", "users": 2, "think": {"most": "20ms"}}])
def test_both_are_sent_the_same_requests_and_a_slower_change_fails(model: dict, service: str, tmp_path: Path):
    profile = validate_profile({"duration": "3s", "criteria": LENIENT} | model)

    result = run_load_test(profile, f"{service}/slow", folder=tmp_path / "load", against=f"{service}/")

    comparison = result.comparison
    assert comparison is not None
    assert comparison.base is not None
    assert (result.outcome, comparison.outcome) == (Outcome.FAIL, Outcome.FAIL)
    assert comparison.base.requests == pytest.approx(result.total.requests, abs=2)
    # Of the closed model's two users each may be stopped while it waits for an answer.
    seen = int(httpx.get(f"{service}/seen").text)
    assert comparison.base.requests + result.total.requests == pytest.approx(seen, abs=2)
    assert comparison.base.endpoint == "all"
    assert {entry.endpoint for entry in result.counted} == {"/slow"}


def test_an_equal_change_is_no_regression_and_the_report_names_the_base(service: str, tmp_path: Path):
    (tmp_path / "p.yaml").write_text(f"rate: 60\nduration: 3s\nprocesses: 2\ncriteria: {LENIENT}".replace("'", ""))

    done = canary("--url", service, "--against", f"{service}/", "--profile", "p.yaml", "-o", "out", cwd=tmp_path)

    assert done.returncode in (0, 4), done.stderr  # a machine that is busy may leave it open
    assert f"beside the base at {service}/: mean latency" in done.stdout
    assert f"Beside the base at {service}/" in (tmp_path / "out/report.html").read_text()
    assert not (tmp_path / ".canary/loadtests/accepted").exists()


def test_a_base_that_does_not_answer_is_told(service: str, tmp_path: Path):
    done = canary("--url", service, "--against", "http://127.0.0.1:9/", "--rate", "50", cwd=tmp_path)

    assert done.returncode == 1
    assert "http://127.0.0.1:9" in done.stderr


def test_a_base_with_a_locustfile_is_refused(tmp_path: Path):
    (tmp_path / "mine.py").touch()
    profile = validate_profile({"model": "closed", "users": 1, "locustfile": "mine.py"}, folder=tmp_path)

    with pytest.raises(PlanError, match="against: got it with a locustfile"):
        run_load_test(profile, "http://127.0.0.1:9/", folder=tmp_path, files=tmp_path, against="http://127.0.0.1:9/")
