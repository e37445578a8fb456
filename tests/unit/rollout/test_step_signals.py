"""What people say to a rollout, and what the rule makes of it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rollout.decide import (
    Advance,
    Decision,
    Hold,
    Progress,
    Promote,
    RollBack,
    decide,
)
from rollout.errors import PlanError
from rollout.model import (
    Basis,
    Finding,
    Outcome,
    Verdict,
)
from rollout.plan import RolloutPlan, parse_plan
from rollout.signals import (
    NO_SIGNALS,
    Signal,
    SignalKind,
    StepSignals,
    signals_for_step,
)
from rollout.triggers import PodHistory, find_triggers

TEXT = (Path(__file__).parents[3] / "rollout.yaml").read_text()
SINCE = datetime(2026, 1, 5, 9, tzinfo=UTC)


def said(kind: SignalKind, step: str = "introduce", *, minutes: float = 0, count: int = 1) -> Signal:
    return Signal(kind, "because", "ann", SINCE + timedelta(minutes=minutes), count=count, step=step)


def plan(approval: Any = None, policy: str = "pause") -> RolloutPlan:
    data = yaml.safe_load(TEXT)
    data["when_inconclusive"] = policy
    if approval is not None:
        data["steps"][0]["approval"] = approval
    return parse_plan(yaml.safe_dump(data))


def verdict(outcome: Outcome) -> Verdict:
    return Verdict(outcome, (Finding("errors", Basis.RELATIVE, outcome, f"errors say {outcome}"),))


def decided(
    minutes: float,
    outcome: Outcome = Outcome.PASS,
    *,
    words: StepSignals = NO_SIGNALS,
    of: RolloutPlan | None = None,
    asked: float | None = None,
    held: str = "",
) -> Decision:
    since = None if asked is None else SINCE + timedelta(minutes=asked)
    progress = Progress(of or plan(), 0, SINCE, since)
    return decide(progress, verdict(outcome), (), SINCE + timedelta(minutes=minutes), held=held, signals=words)


def test_a_pause_stands_until_the_next_resume() -> None:
    assert signals_for_step([said(SignalKind.PAUSE)], "introduce").paused == "paused by ann: because"
    assert signals_for_step([said(SignalKind.PAUSE), said(SignalKind.RESUME)], "introduce").paused == ""
    assert signals_for_step([said(SignalKind.PAUSE), said(SignalKind.RESUME), said(SignalKind.PAUSE)], "full").paused


@pytest.mark.parametrize("kind", [SignalKind.SKIP, SignalKind.APPROVE])
def test_a_word_for_one_step_does_not_count_for_the_next(kind: SignalKind) -> None:
    assert signals_for_step([said(kind)], "introduce") != NO_SIGNALS
    assert signals_for_step([said(kind)], "increase") == NO_SIGNALS


def test_promote_counts_for_every_later_step() -> None:
    assert signals_for_step([said(SignalKind.PROMOTE)], "full").skipped == "promoted at once by ann: because"


def test_a_pause_keeps_a_passed_step_where_it_is() -> None:
    words = signals_for_step([said(SignalKind.PAUSE)], "introduce")

    assert decided(45, words=words) == Hold("paused by ann: because")


@pytest.mark.parametrize(("policy", "kind"), [("pause", Hold), ("promote", Hold), ("rollback", RollBack)])
def test_a_pause_at_the_deadline_never_lets_the_step_pass(policy: str, kind: type) -> None:
    words = signals_for_step([said(SignalKind.PAUSE)], "introduce")

    assert isinstance(decided(61, words=words, of=plan(policy=policy)), kind)


def test_a_skipped_step_is_left_before_its_bake_time_and_says_who_did_it() -> None:
    words = signals_for_step([said(SignalKind.SKIP)], "introduce")

    decision = decided(1, Outcome.INCONCLUSIVE, words=words)

    assert decision == Advance("the rest of the step skipped by ann: because; errors say inconclusive")


def test_nobody_skips_past_a_split_that_somebody_else_changed() -> None:
    words = signals_for_step([said(SignalKind.SKIP)], "introduce")

    assert decided(1, words=words, held="held: drift") == Hold("held: drift")


def test_a_passed_step_waits_for_the_approval_that_its_plan_asks_for() -> None:
    decision = decided(30, of=plan("required"))

    assert isinstance(decision, Hold)
    assert decision.asks_approval
    assert decision.reason == "waits for approval until 2026-01-06 09:30 UTC; " + verdict(Outcome.PASS).reason


def test_an_approval_said_before_the_bake_time_is_over_waits_for_it() -> None:
    words = signals_for_step([said(SignalKind.APPROVE)], "introduce")

    assert isinstance(decided(10, words=words, of=plan("required")), Hold)
    assert decided(30, Outcome.INCONCLUSIVE, words=words, of=plan("required")) == Hold("errors say inconclusive")
    assert isinstance(decided(30, words=words, of=plan("required")), Advance)


def test_an_approval_counts_though_the_evidence_has_weakened_since_it_was_asked_for() -> None:
    words = signals_for_step([said(SignalKind.APPROVE)], "introduce")

    decision = decided(200, Outcome.INCONCLUSIVE, words=words, of=plan("required"), asked=30)

    assert decision == Advance("approved by ann: because; errors say inconclusive")


@pytest.mark.parametrize("kind", [SignalKind.SKIP, SignalKind.PROMOTE])
def test_a_step_that_is_skipped_waits_for_its_approval_all_the_same(kind: SignalKind) -> None:
    words = signals_for_step([said(kind)], "introduce")

    decision = decided(1, Outcome.INCONCLUSIVE, words=words, of=plan("required"))

    assert isinstance(decision, Hold)
    assert decision.asks_approval
    agreed = signals_for_step([said(kind), said(SignalKind.APPROVE)], "introduce")
    after = decided(2, Outcome.INCONCLUSIVE, words=agreed, of=plan("required"), asked=1)
    assert isinstance(after, Advance)
    assert after.reason.startswith("approved by ann: because; ")


@pytest.mark.parametrize("kind", [SignalKind.SKIP, SignalKind.PROMOTE])
def test_a_plan_may_say_that_an_approval_may_be_skipped(kind: SignalKind) -> None:
    words = signals_for_step([said(kind)], "introduce")

    assert isinstance(decided(1, words=words, of=plan({"may_be_skipped": True})), Advance)


def test_a_policy_at_the_deadline_does_not_go_on_without_the_approval() -> None:
    decision = decided(61, Outcome.INCONCLUSIVE, of=plan("required", "promote"))

    assert isinstance(decision, Hold)
    assert decision.asks_approval


@pytest.mark.parametrize(
    ("approvers", "counts"),
    [(["ann"], True), (["bob", "ann@ops"], True), (["ann@home"], False), (["bob"], False), (["an"], False), ([], True)],
)
def test_the_approval_of_those_whom_the_plan_names_counts(approvers: list[str], counts: bool) -> None:
    approval = replace(said(SignalKind.APPROVE), who="ann@ops")
    words = signals_for_step([approval], "introduce", approvers)

    decision = decided(30, words=words, of=plan({"by": approvers}))

    assert isinstance(decision, Advance) is counts
    assert counts or f"waits for approval by {', '.join(approvers)} until " in getattr(decision, "reason", "")


def test_whoever_may_not_approve_may_refuse() -> None:
    words = signals_for_step([said(SignalKind.REFUSE)], "introduce", ["bob"])

    assert words == NO_SIGNALS
    assert find_triggers(PodHistory(), [said(SignalKind.REFUSE)], plan().criteria, SINCE)


@given(st.lists(st.sampled_from([SignalKind.SKIP, SignalKind.PROMOTE, SignalKind.RESUME])), st.floats(0, 1e4))
def test_without_an_approval_no_other_word_and_no_policy_leaves_the_step(
    kinds: list[SignalKind], minutes: float
) -> None:
    words = signals_for_step([said(kind) for kind in kinds], "introduce")
    for outcome, asked in product(Outcome, (None, 1.0)):
        decision = decided(minutes, outcome, words=words, of=plan("required", "promote"), asked=asked)
        assert not isinstance(decision, Advance | Promote)


@pytest.mark.parametrize(("otherwise", "kind"), [("pause", Hold), ("rollback", RollBack), ("promote", Advance)])
def test_without_an_approval_the_plan_says_what_happens(otherwise: str, kind: type) -> None:
    asks = plan({"within": "2h", "otherwise": otherwise})

    assert getattr(decided(149, of=asks, asked=30), "asks_approval", False)
    decision = decided(150, of=asks, asked=30)

    assert isinstance(decision, kind)
    assert "no approval within 2 h" in decision.reason
    assert not isinstance(decision, Hold) or decision.needs_person


def test_a_rollback_does_not_wait_for_an_approval() -> None:
    assert decided(40, Outcome.FAIL, of=plan("required"), asked=30) == RollBack("errors say fail")


@pytest.mark.parametrize("kind", [SignalKind.ABORT, SignalKind.REFUSE])
def test_a_refusal_or_an_abort_is_a_reason_to_roll_back(kind: SignalKind) -> None:
    (found,) = find_triggers(PodHistory(), [said(kind)], plan().criteria, SINCE)

    assert found.reason in ("aborted by ann: because", "refused by ann: because")


def test_complaints_within_the_plans_time_roll_back() -> None:
    spread = [said(SignalKind.COMPLAINT, minutes=minutes) for minutes in (0, 20, 40)]
    criteria = plan().criteria

    assert find_triggers(PodHistory(), spread, criteria, spread[-1].at) == ()
    (found,) = find_triggers(PodHistory(), [*spread, said(SignalKind.COMPLAINT, minutes=41)], criteria, spread[-1].at)
    assert found.reason == "user complaints: 3 in 30 min, the last note: because"
    (one,) = find_triggers(PodHistory(), [said(SignalKind.COMPLAINT, count=3)], criteria, SINCE)
    assert one.criterion == "complaints"


WORDS = st.lists(st.builds(said, st.sampled_from(SignalKind), st.sampled_from(["introduce", "increase", ""])))
APPROVALS = st.sampled_from([None, "required", {"within": "1h", "otherwise": "promote"}])
POLICIES = st.sampled_from(["pause", "rollback", "promote"])


@given(WORDS, APPROVALS, POLICIES, st.floats(0, 1e4))
def test_nothing_that_is_said_keeps_bad_evidence_from_rolling_back(
    words: list[Signal], approval: Any, policy: str, minutes: float
) -> None:
    decision = decided(minutes, Outcome.FAIL, words=signals_for_step(words, "introduce"), of=plan(approval, policy))

    assert isinstance(decision, RollBack)


@given(WORDS, APPROVALS, POLICIES, st.floats(0, 1e4), st.sampled_from(Outcome))
def test_a_paused_rollout_never_goes_on(
    words: list[Signal], approval: Any, policy: str, minutes: float, outcome: Outcome
) -> None:
    said_last = signals_for_step([*words, said(SignalKind.PAUSE)], "introduce")

    decision = decided(minutes, outcome, words=said_last, of=plan(approval, policy))

    assert not isinstance(decision, Advance | Promote)


@given(APPROVALS.filter(lambda approval: approval == "required"), st.floats(0, 1e4), st.sampled_from(Outcome))
def test_without_a_word_no_step_that_asks_for_approval_is_left(approval: Any, minutes: float, outcome: Outcome) -> None:
    decision = decided(minutes, outcome, of=plan(approval), asked=30 if minutes > 30 else None)

    assert not isinstance(decision, Advance | Promote)


def test_a_wrong_approval_names_the_field() -> None:
    with pytest.raises(PlanError, match=r"steps\.0\.approval\.within.*0s|within is 0s"):
        plan({"within": "0s"})
    with pytest.raises(PlanError, match="approval"):
        plan("maybe")
