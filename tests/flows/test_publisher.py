"""How far a rollout is, as its flow run's page tells it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from flows.publisher import progress, progress_told
from rollout.plan import parse_plan
from rollout.record import Ended, EndState, Event, RolloutRecord, Started, StepStarted

AT = datetime(2026, 1, 5, 9, tzinfo=UTC)
PLAN = parse_plan((Path(__file__).parents[2] / "demo.yaml").read_text())
PARTS = [PLAN.baseline.observe, *(step.bake for step in PLAN.steps)]
STARTED = Started(at=AT, rollout="r1", plan=PLAN, who="me", backend="local")
SECOND = StepStarted(at=AT + timedelta(hours=1), step=PLAN.steps[1].name, canary=PLAN.steps[1].canary)
END = Ended(at=AT, state=EndState.ROLLED_BACK, reason="errors 5.1 % > 1 %")


@pytest.mark.parametrize(
    ("events", "since", "over", "told"),
    [
        ((), timedelta(0), 0.0, "Stable alone is watched."),
        ((STARTED,), PARTS[0] / 2, PARTS[0] / 2 / sum(PARTS, timedelta(0)), "Stable alone is watched."),
        (
            (STARTED, SECOND),
            timedelta(hours=3),  # longer than its bake time: no more than that is done
            sum(PARTS[:3], timedelta(0)) / sum(PARTS, timedelta(0)),
            f"Step {SECOND.step}, {SECOND.canary} %, for 120 min",
        ),
        ((STARTED, SECOND, END), timedelta(0), 1.0, "Rolled back: errors 5.1 % > 1 %"),
    ],
)
def test_progress_is_the_share_of_the_planned_time(
    events: tuple[Event, ...], since: timedelta, over: float, told: str
) -> None:
    record = RolloutRecord(events=events)

    assert progress(record, AT + since) == round(100 * over)
    assert progress_told(record, AT + since) == told
