"""The decision where a time is just over, or just not, and where several reasons meet."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout.decide import Advance, Decision, Hold, Progress, Promote, RollBack, decide
from rollout.model import Basis, Finding, Outcome, Verdict
from rollout.plan import RolloutPlan
from tests.unit.rollout.test_decide import ABORT, SINCE, at, progress, verdict

SOURCE = yaml.safe_load((Path(__file__).parents[3] / "rollout.yaml").read_text())
MOMENT = timedelta(microseconds=1)


def plan(approval: dict[str, Any], **more: Any) -> RolloutPlan:
    first, *others = SOURCE["steps"]
    return RolloutPlan.model_validate({**SOURCE, "steps": [{**first, "approval": approval}, *others], **more})


def decided(of: RolloutPlan, minutes: float, *, asked: float | None = None, less: timedelta = timedelta(0)) -> Decision:
    waits = Progress(of, 0, SINCE, asked_since=None if asked is None else at(asked))
    return decide(waits, verdict(Outcome.PASS), (), at(minutes) - less)


def test_of_several_triggers_the_first_is_quoted() -> None:
    other = replace(ABORT, reason="crash loop")

    assert decide(progress(), verdict(Outcome.PASS), (ABORT, other), at(0)) == RollBack(ABORT.reason)


@pytest.mark.parametrize("minutes", [31, 61, 10_000])
@pytest.mark.parametrize("policy", ["pause", "promote", "rollback"])
def test_a_step_that_has_passed_is_decided_once_and_only_harm_counts_from_then_on(minutes: int, policy: str) -> None:
    passed = replace(progress(policy=policy), has_passed=True)

    assert decide(passed, verdict(Outcome.PASS), (), at(minutes)) == Hold("step introduce has passed")
    assert decide(passed, verdict(Outcome.INCONCLUSIVE), (), at(minutes), held="drift") == Hold("drift")
    assert decide(passed, verdict(Outcome.FAIL), (), at(minutes)) == RollBack("errors say fail")


def test_the_bake_and_the_deadline_end_to_the_moment() -> None:
    assert isinstance(decide(progress(), verdict(Outcome.PASS), (), at(30) - MOMENT), Hold)
    assert isinstance(decide(progress(policy="rollback"), verdict(Outcome.INCONCLUSIVE), (), at(60) - MOMENT), Hold)
    assert isinstance(decide(progress(policy="rollback"), verdict(Outcome.INCONCLUSIVE), (), at(60)), RollBack)


def test_what_keeps_the_rollout_keeps_it_though_the_evidence_would_let_it_go_on() -> None:
    assert decide(progress(), verdict(Outcome.PASS), (), at(30), held="drift") == Hold("drift")
    assert decide(progress(), verdict(Outcome.PASS), (), at(1), held="drift") == Hold("drift")
    at_deadline = decide(progress(), verdict(Outcome.PASS), (), at(60), held="drift")
    assert isinstance(at_deadline, Hold)
    assert at_deadline.needs_person
    assert "drift" in at_deadline.reason


def test_an_approval_is_waited_for_from_the_moment_it_was_asked_for_and_no_longer_than_the_plan_says() -> None:
    patient = plan({"within": "1h", "otherwise": "rollback", "by": ["ann", "bob"]})

    first = decided(patient, 30)
    assert isinstance(first, Hold)
    assert first.asks_approval
    assert "by ann, bob until 2026-01-05 10:30 UTC" in first.reason
    assert isinstance(decided(patient, 90, asked=30, less=MOMENT), Hold)
    assert isinstance(decided(patient, 90, asked=30), RollBack)


@pytest.mark.parametrize(("otherwise", "kind"), [("pause", Hold), ("rollback", RollBack), ("promote", Advance)])
def test_without_an_approval_the_plans_own_word_is_done(otherwise: str, kind: type) -> None:
    decision = decided(plan({"within": "1h", "otherwise": otherwise}), 95, asked=30)

    assert isinstance(decision, kind)
    assert "no approval within 1 h" in decision.reason
    assert not isinstance(decision, Advance) or decision.reason.startswith("promoted without approval")


def test_of_several_criteria_that_lack_requests_the_one_that_lacks_most_is_named() -> None:
    first = Finding("latency", Basis.RELATIVE, Outcome.INCONCLUSIVE, "too few")
    few = Finding("errors", Basis.ABSOLUTE, Outcome.INCONCLUSIVE, "10 lacking", requests_needed=10)
    many = Finding("success", Basis.ABSOLUTE, Outcome.INCONCLUSIVE, "900 lacking", requests_needed=900)
    shown = Finding("pods", Basis.ABSOLUTE, Outcome.PASS, "5,000 lacking", requests_needed=5000)

    reason = decide(progress(), Verdict(Outcome.INCONCLUSIVE, (first, few, many, shown)), (), at(61)).reason

    assert reason.endswith("too few; 900 lacking")


def test_a_first_reason_that_says_how_many_requests_are_missing_is_enough() -> None:
    first = Finding("errors", Basis.ABSOLUTE, Outcome.INCONCLUSIVE, "10 lacking", requests_needed=10)
    many = Finding("success", Basis.ABSOLUTE, Outcome.INCONCLUSIVE, "900 lacking", requests_needed=900)

    reason = decide(progress(), Verdict(Outcome.INCONCLUSIVE, (first, many)), (), at(61)).reason

    assert reason.endswith("10 lacking")


def test_what_keeps_the_rollout_keeps_it_while_an_approval_is_waited_for() -> None:
    waits = Progress(plan({"within": "1h", "otherwise": "promote"}), 0, SINCE, asked_since=at(30))

    assert decide(waits, verdict(Outcome.PASS), (), at(95), held="drift") == Hold("drift")


def test_a_decision_is_named_as_records_and_metrics_have_it_and_asks_nobody_unless_it_says_so() -> None:
    kinds = [decision.kind for decision in (Hold(""), Advance(""), Promote(""), RollBack(""))]

    assert kinds == ["hold", "advance", "promote", "roll back"]
    assert not Hold("bakes").needs_person
    assert not Hold("bakes").asks_approval
