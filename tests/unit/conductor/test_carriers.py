"""Which of the scheduler's runs have nothing more to say, by a rollout's record alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from conductor.commands.flow_runs import GRACE, lost_by
from rollout.events import (
    Ended,
    EndState,
    Started,
    TakenOver,
)
from rollout.plan import WhenOrphaned
from rollout.record import Event, RolloutRecord
from tests.unit.conductor.processes import PLAN

AT = datetime(2026, 1, 1, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
ENDED = Ended(at=AT, state=EndState.ROLLED_BACK, reason="because")


def started(flow_run: str = "one") -> Started:
    return Started(at=AT, rollout="r1", plan=PLAN, who="ada", backend="fake", flow_run=flow_run)


def taken(flow_run: str = "") -> TakenOver:
    return TakenOver(at=AT, who="guard", before="ada", policy=WhenOrphaned.RESTORE, found="", flow_run=flow_run)


def lost(*events: Event, now: datetime = LATER) -> list[tuple[str, Ended | None]]:
    return [(one.flow_run, one.ended) for one in lost_by("r1", RolloutRecord(events=events), now)]


def test_a_run_that_carries_a_rollout_under_way_is_left_alone() -> None:
    assert lost(started()) == []


def test_a_run_whose_rollout_has_ended_has_time_to_say_so_itself() -> None:
    assert lost(started(), ENDED, now=AT + GRACE) == []
    assert lost(started(), ENDED) == [("one", ENDED)]


def test_a_run_that_was_taken_over_from_is_lost_though_the_rollout_goes_on() -> None:
    assert lost(started(), taken("two")) == [("one", None)]


def test_a_run_that_prefect_retries_is_the_same_one_and_alive() -> None:
    assert lost(started(), taken("one")) == []
    assert lost(started(), taken(""), taken("one")) == []


def test_a_rollout_without_a_scheduler_has_no_run_to_end() -> None:
    assert lost(started(""), taken(), ENDED) == []
