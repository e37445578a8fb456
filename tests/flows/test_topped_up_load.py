"""Synthetic load beside the real traffic, on fakes: how much is asked for, and what is said of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from conductor.run import Ports, Run
from conductor.topup import fewest_requests, steer_load, synthetic_share, topped_up_rate, with_clients
from rollout.errors import PlanError
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
    run.step_index, run.step_since = 0, world.clock.now()
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
        "38% of the evidence is synthetic: 38 of 100 canary requests",
        "clients got 4 errors that no pod answered and so none counted: status 503 (4)",
    ]


def test_a_load_generator_that_is_gone_is_said_once():
    run, load = in_a_step()
    load.stop()

    steer_load(run, UNDECIDED, run.ports.clock.now())
    steer_load(run, UNDECIDED, run.ports.clock.now())

    assert run.alarms == {"the load generator has ended: the real traffic has to do"}


def test_a_bare_off_is_off_and_a_health_check_alone_is_refused():
    assert parse_plan(DEMO + "\nload: {mode: off}").load.mode is LoadMode.OFF
    with pytest.raises(PlanError, match=r"load.paths is \['/healthz'\], allowed: paths that do the service's work"):
        parse_plan(yaml.safe_dump(yaml.safe_load(DEMO) | {"load": {"mode": "top-up", "paths": ["/healthz"]}}))
