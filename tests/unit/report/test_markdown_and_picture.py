"""The record as Markdown and as one picture, for pages that are not ours."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

from report.rollout.charts_image import picture
from report.rollout.markdown import approval_markdown, findings_table, report_markdown
from rollout.events import (
    ApprovalRequested,
    Ended,
    EndState,
    Started,
    StepStarted,
    VerdictChanged,
    WeightsSet,
)
from rollout.model import Basis, Outcome, Question
from rollout.plan import WhenInconclusive, parse_plan
from rollout.record import RolloutRecord, SeriesPoint
from rollout.verdict_entries import FindingEntry, VerdictEntry

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
PLAN = parse_plan((Path(__file__).parents[3] / "demo.yaml").read_text())
STARTED = Started(at=AT, rollout="r1", plan=PLAN, who="me", backend="local")
SHARE = SeriesPoint.single("share", AT + timedelta(seconds=9), 0.2)


def test_an_empty_record_makes_an_empty_page() -> None:
    assert report_markdown(RolloutRecord()) == ""
    assert findings_table(RolloutRecord()) == []
    ElementTree.fromstring(picture(RolloutRecord()))


def test_the_page_says_where_it_stands_and_then_how_it_ended() -> None:
    moved = WeightsSet(at=AT, stable=80, canary=20, reason="step introduce", milliseconds=3)
    ended = Ended(at=AT + timedelta(seconds=60), state=EndState.ROLLED_BACK, reason="errors 5.1 % | too many")

    under_way = report_markdown(RolloutRecord(events=(STARTED, moved)), {"Grafana": "http://grafana/d/1"})
    over = report_markdown(RolloutRecord(events=(STARTED, moved, ended)))

    assert "**20 %** of the traffic" in under_way
    assert "[Grafana](http://grafana/d/1)" in under_way
    assert "Rolled back" in over
    assert "Errors 5.1 % | too many" in over


def test_the_picture_is_well_formed_whatever_a_version_is_called() -> None:
    record = RolloutRecord(events=(STARTED,), series={"share": (SHARE,)})

    drawn = ElementTree.fromstring(picture(record))

    assert any("share" in (text.text or "") for text in drawn.iter("{http://www.w3.org/2000/svg}text"))


def test_whoever_is_asked_reads_the_findings_the_deadline_and_what_comes_of_silence() -> None:
    finding = FindingEntry(
        criterion="errors", basis=Basis.ABSOLUTE, outcome=Outcome.PASS, reason="errors 0.1 % shown below 1 %"
    )
    verdict = VerdictEntry(
        outcome=Outcome.PASS,
        reason="",
        findings=(finding,),
        rollback_evidence=0,
        rollback_needed=4.6,
        promotion_evidence=5,
        promotion_needed=3,
    )
    asked = ApprovalRequested(
        at=AT, step="introduce", until=AT + timedelta(hours=4), otherwise=WhenInconclusive.ROLLBACK, reason=""
    )
    events = (StepStarted(at=AT, step="introduce", canary=20), VerdictChanged(at=AT, step="introduce", verdict=verdict))

    until = AT + timedelta(hours=5)  # it was paused for an hour

    told = approval_markdown(RolloutRecord(events=(STARTED, *events, asked)), until)

    assert "## v2 has passed step introduce, 20 %" in told
    assert "Without an answer by 05 Jan 14:00 UTC: rollback." in told
    assert "**errors**: Errors 0.1 % shown below 1 %" in told
    assert approval_markdown(RolloutRecord(events=(STARTED, *events)), until) == ""


def test_the_table_holds_the_figures_in_few_words_and_a_sentence_where_there_are_none() -> None:
    found = (
        FindingEntry(
            criterion="success",
            basis=Basis.ABSOLUTE,
            answers=Question.HEALTH,
            outcome=Outcome.INCONCLUSIVE,
            reason="too long for a cell of a table",
            unit="ratio",
            estimate=0.001,
            limit=0.005,
            log_evidence=1.0,
            log_needed=3.0,
            seconds_needed=7,
        ),
        FindingEntry(
            criterion="errors",
            basis=Basis.RELATIVE,
            answers=Question.HARM,
            outcome=Outcome.FAIL,
            reason="too long for a cell of a table",
            unit="ratio",
            estimate=0.05,
            limit=0.001,
            log_evidence=5.0,
            log_needed=4.6,
        ),
        FindingEntry(criterion="pods", basis=Basis.TRIGGER, outcome=Outcome.FAIL, reason="no ready pod"),
    )
    verdict = VerdictEntry(
        outcome=Outcome.FAIL,
        reason="",
        findings=found,
        rollback_evidence=0,
        rollback_needed=4.6,
        promotion_evidence=5,
        promotion_needed=3,
    )

    rows = findings_table(RolloutRecord(events=(STARTED, VerdictChanged(at=AT, step="introduce", verdict=verdict))))

    by = {row["criterion"]: row for row in rows}
    assert list(by["success, as errors"].values())[1:4] == ["? not yet", "0.1 %", "healthy: 0.5 %"]
    assert by["success, as errors"]["evidence"].endswith("needed. About 7 s more.")
    assert by["errors vs stable"]["limit"] == "harm: 0.1 %"
    assert by["pods"]["evidence"] == "No ready pod."
    assert max(len(value) for row in rows for value in row.values()) < 50
