"""What people are told of each event."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rollout.events import (
    Alarm,
    ApprovalRequested,
    ComparisonRestarted,
    DecisionMade,
    DriftDetected,
    Ended,
    EndState,
    HookEnded,
    Started,
    StepStarted,
    TakenOver,
    VerdictChanged,
    WeightsSet,
)
from rollout.hooks import HookMoment, WhenHookFails
from rollout.model import Basis, Occasion, Outcome
from rollout.notices import Notice, NoticeContext
from rollout.plan import WhenInconclusive, WhenOrphaned, parse_plan
from rollout.record import Event
from rollout.verdict_entries import FindingEntry, VerdictEntry
from tests.fakes import START

PLAN = parse_plan((Path(__file__).parents[3] / "rollout.yaml").read_text())
STARTED = Started(at=START, rollout="r1", plan=PLAN, who="ada@here", backend="fake")
WEIGHTS = WeightsSet(at=START, stable=80, canary=20, reason="step introduce", milliseconds=3)
STEP = StepStarted(at=START, step="introduce", canary=20)
LATER = START + timedelta(minutes=9, milliseconds=300)


def verdict() -> VerdictChanged:
    found = FindingEntry(
        criterion="errors",
        basis=Basis.ABSOLUTE,
        outcome=Outcome.FAIL,
        reason="errors 5.1 %",
        estimate=0.051,
        limit=0.01,
        unit="ratio",
    )
    fast = found.model_copy(update={"criterion": "latency", "outcome": Outcome.PASS, "estimate": 35.0, "unit": "ms"})
    entry = VerdictEntry(
        outcome=Outcome.FAIL,
        reason="errors 5.1 %",
        findings=(fast.model_copy(update={"limit": None}), found),
        rollback_evidence=5.0,
        rollback_needed=4.605,
        promotion_evidence=-1.0,
        promotion_needed=3.0,
    )
    return VerdictChanged(at=START, step="introduce", verdict=entry)


def told(event: Event, *before: Event) -> Notice | None:
    return NoticeContext.of((STARTED, WEIGHTS, STEP, *before, event)).notice(event)


def hook(**said: Any) -> HookEnded:
    return HookEnded(
        **{"at": LATER, "hook": "migrate", "when": HookMoment.BEFORE_STEP, "reason": "answered 500", "seconds": 1}
        | said
    )


@pytest.mark.parametrize(
    ("event", "occasion", "text"),
    [
        (STARTED, Occasion.STARTED, "v1 to v2 by ada@here on fake: 20 % for 30 min, 50 % for 1 h, 100 % for 24 h"),
        (STEP, Occasion.STEP, "step introduce: the canary has 20 % of the traffic, watched for 30 min"),
        (Alarm(at=LATER, what="cannot renew"), Occasion.ALARM, "cannot renew"),
        (Alarm(at=LATER, what="held: why", needs_person=True), Occasion.HELD, "held: why"),
        (
            DriftDetected(at=LATER, asked=20, found=50, who="bob", handled="held"),
            Occasion.HELD,
            "bob set canary 50 % where 20 % was asked for: held",
        ),
        (
            DriftDetected(at=LATER, asked=20, found=50, who="bob", handled="reasserted"),
            Occasion.ALARM,
            "bob set canary 50 % where 20 % was asked for: reasserted",
        ),
        (
            ComparisonRestarted(at=LATER, step="introduce", reason="ConfigMap a changed"),
            Occasion.ALARM,
            "the comparison begins again: ConfigMap a changed",
        ),
        (
            TakenOver(at=LATER, who="guard", before="ada", policy=WhenOrphaned.RESTORE, found="canary has 20 %"),
            Occasion.TAKEN_OVER,
            "guard after ada, to restore: canary has 20 %",
        ),
        (
            ApprovalRequested(
                at=LATER, step="full", until=LATER, otherwise=WhenInconclusive.ROLLBACK, reason="all 3 criteria are met"
            ),
            Occasion.APPROVAL_ASKED,
            "step full waits for approval until 2026-01-05 09:09 UTC, else: rollback; all 3 criteria are met",
        ),
        (hook(ok=False, on_failure=WhenHookFails.IGNORE), Occasion.ALARM, "hook migrate answered 500"),
        (Ended(at=LATER, state=EndState.PROMOTED, reason="all met"), Occasion.PROMOTED, "all met"),
        (Ended(at=LATER, state=EndState.ROLLED_BACK, reason="errors 5.1 %"), Occasion.ROLLED_BACK, "errors 5.1 %"),
        (Ended(at=LATER, state=EndState.HELD, reason="too few"), Occasion.HELD, "too few"),
        (Ended(at=LATER, state=EndState.FAILED, reason="interrupted"), Occasion.FAILED, "interrupted"),
    ],
)
def test_each_kind_of_event_that_is_for_people_says_its_reason(event: Event, occasion: Occasion, text: str) -> None:
    notice = told(event)

    assert notice is not None
    assert (notice.occasion, notice.text) == (occasion, text)
    assert notice.title == f"canary-app v2: {occasion.replace('-', ' ')}"


@pytest.mark.parametrize(
    "event",
    [
        WEIGHTS,
        verdict(),
        DecisionMade(at=LATER, step="introduce", decision="hold", reason="more to see"),
        DriftDetected(at=LATER, asked=20, found=50, who="bob", handled="rolled back"),
        hook(ok=True, on_failure=WhenHookFails.IGNORE),
        hook(ok=False, on_failure=WhenHookFails.ROLLBACK),
    ],
)
def test_what_another_notice_will_tell_is_told_once(event: Event) -> None:
    assert told(event) is None


def test_the_end_comes_with_the_figures_it_rests_on_the_broken_one_first() -> None:
    notice = told(Ended(at=LATER, state=EndState.ROLLED_BACK, reason="errors 5.1 %"), verdict())

    assert notice is not None
    assert dict(notice.figures) == {
        "canary's share": "20 %",
        "step": "introduce",
        "took": "9 min",
        "errors (absolute)": "5.1 %, limit 1 %",
        "latency (absolute)": "35 ms",
        "evidence for a rollback": "148 : 1, 100 : 1 needed",
        "evidence for a promotion": "0.37 : 1, 20 : 1 needed",
    }
    assert list(notice.figures)[3] == "errors (absolute)"


def test_a_notice_reads_as_lines_and_as_json_with_its_links() -> None:
    notice = told(Alarm(at=LATER, what="cannot renew"))
    assert notice is not None

    linked = notice.with_links({"report": "http://reports/r1"})

    assert linked.body.splitlines() == [
        "cannot renew",
        "",
        "rollout: r1",
        "canary's share: 20 %",
        "step: introduce",
        "report: http://reports/r1",
    ]
    assert linked.as_json() == {
        "occasion": "alarm",
        "at": LATER.isoformat(),
        "service": "canary-app",
        "canary": "v2",
        "rollout": "r1",
        "reason": "cannot renew",
        "figures": {"canary's share": "20 %", "step": "introduce"},
        "links": {"report": "http://reports/r1"},
    }


def test_overwhelming_evidence_is_a_number_that_can_be_read() -> None:
    sure = verdict().verdict.model_copy(update={"rollback_evidence": float("inf")})
    notice = told(Alarm(at=LATER, what="x"), VerdictChanged(at=START, step="introduce", verdict=sure))

    assert notice is not None
    assert notice.figures["evidence for a rollback"] == "over 1,000,000 : 1, 100 : 1 needed"
