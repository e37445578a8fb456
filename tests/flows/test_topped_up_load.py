"""Synthetic load beside the real traffic, on fakes: how much is asked for, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from conductor.load.topup import fewest_requests, steer_load, synthetic_share, topped_up_rate, with_clients
from conductor.state.rollout_run import Ports, Run
from rollout.errors import PlanError, SetupError
from rollout.events import Alarm
from rollout.load import ClientCounts, LoadMode
from rollout.model import Basis, Finding, Outcome, Verdict
from rollout.plan import RolloutPlan, parse_plan
from tests.fakes import FakeLoad, FakeWorld

DEMO = (Path(__file__).parents[2] / "demo.yaml").read_text()
PLAN = parse_plan(DEMO + "\nload: {mode: top-up, ceiling: 300}")
UNDECIDED = Verdict(Outcome.INCONCLUSIVE, ())


def in_a_step(plan: RolloutPlan = PLAN) -> tuple[Run, FakeLoad]:
    """A run that has been at its first step for ten seconds."""
    world = FakeWorld()
    world.load.start()
    ports = Ports.of(world, "r1", owner="o", notices=world.notices, clock=world.clock)  # type: ignore[arg-type]
    run = Run.begin(plan, replace(ports, load=world.load))
    run.step_index, run.step_since, run.load.rate = 0, world.clock.now(), 200.0
    world.clock.sleep(timedelta(seconds=10))
    return run, world.load


def needing(requests: int) -> Verdict:
    finding = Finding("errors", Basis.RELATIVE, Outcome.INCONCLUSIVE, "needs more", requests_needed=requests)
    return replace(UNDECIDED, findings=(finding,))


def test_just_as_much_is_sent_as_the_decision_still_needs():
    run, load = in_a_step()

    steer_load(run, needing(400), run.ports.clock.now())

    assert load.rate == pytest.approx(1.1 * 400 / 20 / 0.2)  # 20 of 30 s are left, and the canary gets a fifth


def test_real_traffic_is_taken_off_what_is_sent():
    run, load = in_a_step()
    run.step_requests = 500  # 50 a second for ten seconds

    steer_load(run, needing(400), run.ports.clock.now())

    assert load.rate == pytest.approx(1.1 * 400 / 20 / 0.2 - 50)


def test_the_ceiling_is_never_passed_and_the_canary_is_never_left_alone():
    run, load = in_a_step()

    steer_load(run, needing(1_000_000), run.ports.clock.now())
    assert load.rate == 300

    steer_load(run, replace(UNDECIDED, outcome=Outcome.PASS), run.ports.clock.now())
    assert load.rate == pytest.approx(2 / 0.2)


def test_before_the_judge_can_say_what_it_needs_the_plans_limits_do():
    """The rule of three for 0.1 % is 2,995; a mixture over effects takes a quarter more."""
    run, load = in_a_step()

    steer_load(run, None, run.ports.clock.now())

    assert fewest_requests(PLAN) == 3743
    assert load.rate == 300
    assert topped_up_rate(need=3743, seconds=300, share=0.2, real=2, ceiling=300) == pytest.approx(66.6, abs=0.1)


def test_the_synthetic_share_and_errors_that_no_pod_counted_are_findings_that_do_not_decide():
    run, load = in_a_step()
    steer_load(run, UNDECIDED, run.ports.clock.now())
    run.step_canary_requests = 100
    load.counted = ClientCounts(
        requests={"canary": 38, "stable": 150, "none": 4},
        errors={"canary": 0, "stable": 0, "none": 4},
        kinds={"none: status 503": 4},
    )

    steer_load(run, UNDECIDED, run.ports.clock.now())
    verdict = with_clients(run, UNDECIDED)

    assert synthetic_share(run) == 0.38
    assert verdict.outcome is UNDECIDED.outcome
    assert [finding.reason for finding in verdict.findings] == [
        "38 % of the evidence is synthetic: 38 of 100 canary requests",
        "clients got 4 errors that no pod answered and so none counted: status 503 (4)",
    ]


def test_the_rate_is_at_most_doubled_from_one_look_to_the_next():
    run, load = in_a_step()
    run.load.rate = 0.0

    rates = []
    for _ in range(7):
        steer_load(run, needing(400), run.ports.clock.now())
        rates.append(round(load.rate))

    assert rates == [10, 20, 40, 80, 110, 110, 110]


def test_a_wild_estimate_is_believed_as_far_as_the_plans_limits_and_what_was_counted_go():
    plan = parse_plan(DEMO + "\nload: {mode: top-up, ceiling: 5000}")
    run, load = in_a_step(plan)
    run.load.rate = 5000.0

    steer_load(run, needing(1_000_000), run.ports.clock.now())
    assert load.rate == pytest.approx(1.1 * 3743 / 20 / 0.2)

    run.step_canary_requests = run.step_requests = 10_000  # 1,000 a second of them are real
    steer_load(run, needing(1_000_000), run.ports.clock.now())
    assert load.rate == pytest.approx(1.1 * 10_000 / 20 / 0.2 - 1000)


def test_what_the_judge_learns_from_is_spread_over_some_scrapes_where_stable_is_not_observed_at_all():
    plan = parse_plan(DEMO.replace("observe: 15s", "observe: 0s") + "\nload: {mode: top-up, ceiling: 5000}")
    run, load = in_a_step(plan)
    run.step_index = None

    steer_load(run, None, run.ports.clock.now())

    assert load.rate == pytest.approx(1.1 * 1000 / (10 * plan.scrape.total_seconds()))


def alarms(run: Run) -> list[str]:
    return [event.what for event in run.ports.ledger.read_events() if isinstance(event, Alarm)]


def ticks(run: Run, seconds: int) -> None:
    for _ in range(seconds):
        steer_load(run, UNDECIDED, run.ports.clock.now())
        run.ports.clock.sleep(timedelta(seconds=1))


def test_a_load_generator_that_ended_is_started_again_and_that_is_said():
    run, load = in_a_step()
    load.stop()

    ticks(run, 3)

    assert load.running
    (said,) = alarms(run)
    assert said.startswith("the load generator ended by itself (Killed, exit code -9), missed at ")
    assert said.endswith("restarted, 1 of 5 times; what it counted in its last second may be missing")


def test_one_that_ends_again_and_again_is_given_up_after_longer_and_longer_pauses():
    run, load = in_a_step()

    restarts = []
    for second in range(120):
        load.stop()
        before = load.calls["restart"]
        ticks(run, 1)
        restarts += [second] * (load.calls["restart"] - before)

    assert restarts == [1, 4, 9, 18, 35]
    assert "the load generator ended after 5 restarts: the real traffic has to do" in alarms(run)


def test_one_that_cannot_be_started_again_is_no_reason_to_stop_watching():
    run, load = in_a_step()
    load.stop()
    load.fail("restart", SetupError("start locust in /load: No space left on device"))

    ticks(run, 10)

    assert load.running
    assert any("restart 1 of 5 failed: start locust in /load: No space left on device" in said for said in alarms(run))


def test_after_ten_quiet_minutes_earlier_ends_are_forgotten():
    run, load = in_a_step()
    load.stop()
    ticks(run, 3)

    ticks(run, 601)

    assert run.load.restarts == 0


def test_a_bare_off_is_off_and_a_health_check_alone_is_refused():
    assert parse_plan(DEMO + "\nload: {mode: off}").load.mode is LoadMode.OFF
    with pytest.raises(PlanError, match=r"load.paths is \['/healthz'\], allowed: paths that do the service's work"):
        parse_plan(yaml.safe_dump(yaml.safe_load(DEMO) | {"load": {"mode": "top-up", "paths": ["/healthz"]}}))
