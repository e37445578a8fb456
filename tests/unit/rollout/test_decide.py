from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rollout.decide import (
    Advance,
    Hold,
    Progress,
    Promote,
    RollBack,
    decide,
    time_left,
)
from rollout.model import (
    Basis,
    Finding,
    Outcome,
    Verdict,
)
from rollout.plan import RolloutPlan, WhenInconclusive, parse_plan

PLAN = parse_plan((Path(__file__).parents[3] / "rollout.yaml").read_text())
SINCE = datetime(2026, 1, 5, 9, tzinfo=UTC)
ABORT = Finding("abort", Basis.TRIGGER, Outcome.FAIL, "aborted by ann: wrong build")


def verdict(outcome: Outcome) -> Verdict:
    return Verdict(outcome, (Finding("errors", Basis.RELATIVE, outcome, f"errors say {outcome}"),))


PASSED = verdict(Outcome.PASS)


def at(minutes: float) -> datetime:
    return SINCE + timedelta(minutes=minutes)


def progress(step_index: int = 0, policy: str = "pause") -> Progress:
    plan: RolloutPlan = PLAN.model_copy(update={"when_inconclusive": WhenInconclusive(policy)})
    return Progress(plan, step_index, SINCE)


def test_a_passed_step_advances_only_after_its_bake_time() -> None:
    assert decide(progress(), verdict(Outcome.PASS), (), at(29)) == Hold(PASSED.reason)
    assert decide(progress(), verdict(Outcome.PASS), (), at(30)) == Advance(PASSED.reason)


def test_the_last_step_promotes() -> None:
    assert decide(progress(2), verdict(Outcome.PASS), (), at(24 * 60)) == Promote(PASSED.reason)


def test_a_failed_verdict_rolls_back_at_once() -> None:
    assert decide(progress(), verdict(Outcome.FAIL), (), at(0)) == RollBack("errors say fail")


@given(st.sampled_from(Outcome), st.floats(0, 1e4), st.integers(0, 2), st.sampled_from(WhenInconclusive))
def test_a_trigger_wins_over_everything(outcome: Outcome, minutes: float, step: int, policy: str) -> None:
    assert decide(progress(step, policy), verdict(outcome), (ABORT,), at(minutes)) == RollBack(ABORT.reason)


@given(st.floats(0, 59.9), st.sampled_from(WhenInconclusive))
def test_without_evidence_a_step_never_advances_before_its_deadline(minutes: float, policy: str) -> None:
    assert isinstance(decide(progress(policy=policy), verdict(Outcome.INCONCLUSIVE), (), at(minutes)), Hold)


@pytest.mark.parametrize(
    ("policy", "kind", "said"),
    [("pause", Hold, "inconclusive"), ("rollback", RollBack, "inconclusive"), ("promote", Advance, "without evidence")],
)
def test_at_the_deadline_the_plans_policy_decides_and_says_so(policy: str, kind: type, said: str) -> None:
    decision = decide(progress(policy=policy), verdict(Outcome.INCONCLUSIVE), (), at(60))

    assert isinstance(decision, kind)
    assert said in decision.reason
    assert "errors say inconclusive" in decision.reason
    assert not isinstance(decision, Hold) or decision.needs_person


def test_at_the_deadline_it_is_said_how_many_requests_were_missing_though_the_first_reason_cannot() -> None:
    slow = Finding("latency ratio", Basis.RELATIVE, Outcome.INCONCLUSIVE, "110 requests are not enough")
    lacking = Finding("errors", Basis.ABSOLUTE, Outcome.INCONCLUSIVE, "110 of about 3,792 needed", requests_needed=3682)

    told = decide(progress(), Verdict(Outcome.INCONCLUSIVE, (slow, lacking)), (), at(61)).reason

    assert told.endswith("110 requests are not enough; 110 of about 3,792 needed")


def test_evidence_that_comes_after_the_deadline_still_counts() -> None:
    assert decide(progress(), verdict(Outcome.PASS), (), at(90)) == Advance(PASSED.reason)


def test_the_time_left_is_never_negative() -> None:
    assert time_left(progress(), at(10)) == timedelta(minutes=20)
    assert time_left(progress(), at(50)) == timedelta(0)


def test_a_pass_names_the_criterion_that_was_hardest_to_show() -> None:
    shown = [("errors", 3.1), ("latency", 14.0), ("pods", None)]
    findings = [
        Finding(name, Basis.ABSOLUTE, Outcome.PASS, f"{name} shown", log_evidence=log or 0.0, log_needed=log and 3.0)
        for name, log in shown
    ]

    assert Verdict(Outcome.PASS, tuple(findings)).reason == "all 3 criteria are met, the hardest one: errors shown"
