"""A rollout's page in Prefect: how far it is, and what of it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.client.schemas.objects import Artifact

from backends.local.ledger import LocalLedger
from flows.page.publisher import PICTURE_AT_MOST, PICTURE_SHARE, Page, describe_progress, progress
from rollout.events import (
    Ended,
    EndState,
    Started,
    StepStarted,
)
from rollout.plan import parse_plan
from rollout.record import Event, RolloutRecord, SeriesPoint
from wiring.target import Target

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
    assert describe_progress(record, AT + since) == told


@dataclass
class Artifacts:
    """Prefect's artifacts, by their key: the one thing that a page asks of the server."""

    now: dict[str, object] = field(default_factory=dict)
    keys: dict[UUID, str] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    is_down: bool = False

    def create_artifact(self, artifact: ArtifactCreate) -> Artifact:
        assert artifact.key is not None
        assert artifact.key not in self.now
        self._take(artifact.key, artifact.data)
        made = uuid4()
        self.keys[made] = artifact.key
        return Artifact(id=made)

    def update_artifact(self, artifact_id: UUID, artifact: ArtifactUpdate) -> None:
        self._take(self.keys[artifact_id], artifact.data)

    def _take(self, key: str, data: object) -> None:
        if self.is_down:
            raise ConnectionError
        self.now[key] = data
        self.sent.append(key)

    @contextmanager
    def down(self) -> Iterator[None]:
        self.is_down = True
        yield
        self.is_down = False

    def publish(self, page: Page, at: datetime = SECOND.at) -> list[str]:
        self.sent.clear()
        page.publish(cast("SyncPrefectClient", self), at)
        return sorted(self.sent)


def test_only_what_has_changed_is_sent_again(tmp_path: Path) -> None:
    ledger, artifacts = LocalLedger(tmp_path), Artifacts()
    page = Page(ledger, Target(), uuid4())

    assert artifacts.publish(page) == []  # nothing has begun
    ledger.append(STARTED)
    assert artifacts.publish(page) == ["progress", "report"]
    assert artifacts.publish(page) == []
    ledger.append(SECOND)
    ledger.add_points([SeriesPoint.single("canary.requests", AT, 100.0)])
    assert artifacts.publish(page) == ["evidence", "progress", "report"]
    ledger.append(END)
    assert artifacts.publish(page) == ["progress", "report"]
    assert artifacts.now["progress"] == 100.0
    assert "Errors 5.1 % > 1 %" in str(artifacts.now["report"])


def test_what_could_not_be_sent_is_sent_later(tmp_path: Path) -> None:
    ledger, artifacts = LocalLedger(tmp_path), Artifacts()
    page = Page(ledger, Target(), uuid4())
    ledger.append(STARTED)

    with artifacts.down(), pytest.raises(ConnectionError):
        artifacts.publish(page)

    assert artifacts.publish(page) == ["progress", "report"]


def test_charts_are_drawn_anew_once_they_are_longer_and_at_the_end(tmp_path: Path) -> None:
    ledger, artifacts = LocalLedger(tmp_path), Artifacts()
    page = Page(ledger, Target(), uuid4())
    soon, later = SECOND.at + PICTURE_SHARE * (SECOND.at - AT) / 2, SECOND.at + PICTURE_AT_MOST

    ledger.append(STARTED)
    ledger.append(SECOND)
    ledger.add_points([SeriesPoint.single("share", AT, 0.1)])
    assert "evidence" in artifacts.publish(page)
    ledger.add_points([SeriesPoint.single("share", soon, 0.3)])
    assert "evidence" not in artifacts.publish(page, soon)
    assert "evidence" in artifacts.publish(page, later)
    ledger.add_points([SeriesPoint.single("share", later, 0.2)])
    ledger.append(END)
    assert "evidence" in artifacts.publish(page, later)
