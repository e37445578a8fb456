"""A rollout's page in Prefect, kept true from the record by a thread of its own: nothing waits for it."""

from __future__ import annotations

import json
import logging
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import thread_time
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.context import FlowRunContext

from flows.page.prefect_address import answers, prefect_url
from report.rollout.charts_image import picture
from report.rollout.links import links_of
from report.rollout.markdown import findings_table, report_markdown
from rollout.events import StepStarted
from rollout.ports import Ledger
from rollout.record import Event, RolloutRecord
from wiring.settings import Settings
from wiring.target import Target

FIRST_SECONDS, EVERY_SECONDS = 5.0, 25.0
"""With the looks at the run's state this stays below one call a second to Prefect's server."""
SHARE = 0.01
"""Of a core, at most: the record of a long watch takes longer to draw, and is then drawn less often."""
PICTURE_SHARE, PICTURE_AT_MOST = 0.05, timedelta(minutes=5)
"""Charts are drawn anew once they are this much longer: their series are most of the work, and a pixel of a day's chart
is a minute and a half."""
LAST_WITHIN_SECONDS = 20.0
"""How long the end of a run waits for its last page; the traffic is where it belongs by then."""
log = logging.getLogger(__name__)


@contextmanager
def published(ledger: Ledger, target: Target) -> Iterator[None]:
    """Show the rollout on its flow run's page while the body runs, and once more at its end."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        yield
        return
    page, done = Page(ledger, target, context.flow_run.id), threading.Event()
    thread = threading.Thread(target=_publish_until, args=(page, done), name="publisher", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(LAST_WITHIN_SECONDS)


def _publish_until(page: Page, done: threading.Event) -> None:
    is_last, pause = False, FIRST_SECONDS
    with get_client(sync_client=True) as client:
        while not is_last:
            is_last, began = done.wait(pause), thread_time()
            if is_last and (url := prefect_url()) and not answers(url):  # Prefect's client would try for a minute
                return
            try:
                page.publish(client, datetime.now(UTC))
            except Exception as error:  # a page that cannot be written changes nothing of the rollout
                log.info("not on the flow run's page: %s", error)
            pause = max(EVERY_SECONDS, (thread_time() - began) / SHARE)


@dataclass
class Page:
    """The artifacts of one flow run; what has not changed is not sent again."""

    ledger: Ledger
    target: Target
    flow_run: UUID
    _shown: dict[str, tuple[UUID, object]] = field(default_factory=dict)
    _reported: tuple[Event, ...] = ()
    """The events that the page shows."""
    _drawn: datetime | None = None
    """When the charts were last drawn."""

    def publish(self, client: SyncPrefectClient, now: datetime) -> None:
        """Show the record as it stands."""
        record = RolloutRecord(events=self.ledger.read_events())
        if record.started is None:
            return
        is_due = record.ended is not None or self._is_picture_due(record.started.at, now)
        if is_due:
            record = self.ledger.read()
        self._show(client, "progress", "progress", progress(record, now), describe_progress(record, now))
        if record.events != self._reported:
            self._show_report(client, record)
        if is_due:
            self._show_charts(client, record, now)

    def _show_report(self, client: SyncPrefectClient, record: RolloutRecord) -> None:
        self._show(client, "report", "markdown", report_markdown(record, self._links(record)), "")
        if rows := findings_table(record):
            self._show(client, "findings", "table", json.dumps(rows), "The latest findings.")
        self._reported = record.events

    def _show_charts(self, client: SyncPrefectClient, record: RolloutRecord, now: datetime) -> None:
        if record.series:
            self._show(client, "evidence", "image", _as_address(picture(record)), "Traffic, errors, latency, evidence.")
            self._drawn = now

    def _is_picture_due(self, started: datetime, now: datetime) -> bool:
        return self._drawn is None or now - self._drawn >= min(PICTURE_SHARE * (now - started), PICTURE_AT_MOST)

    def _links(self, record: RolloutRecord) -> dict[str, str]:
        settings, started = Settings(), record.started
        assert started is not None
        namespace = self.target.namespace if self.target.backend == "cluster" else ""
        links = links_of(record, grafana=settings.grafana, kiali=settings.kiali, namespace=namespace)
        if settings.report_url and record.ended:
            address = settings.report_url.replace("{service}", started.plan.service)
            links |= {"report": address.replace("{rollout}", started.rollout)}
        return links

    def _show(self, client: SyncPrefectClient, key: str, kind: str, data: object, description: str) -> None:
        before, shown = self._shown.get(key), (data, description)
        if before is None:
            made = ArtifactCreate(key=key, type=kind, data=data, description=description, flow_run_id=self.flow_run)
            self._shown[key] = (client.create_artifact(made).id, shown)
        elif before[1] != shown:
            client.update_artifact(before[0], ArtifactUpdate(data=data, description=description))
            self._shown[key] = (before[0], shown)


def _as_address(svg: str) -> str:
    return f"data:image/svg+xml;base64,{b64encode(svg.encode()).decode()}"


def progress(record: RolloutRecord, now: datetime) -> float:
    """Return how much of the planned time is over, in whole percent; 100 once the rollout has ended."""
    started = record.started
    if started is None or record.ended:
        return 100.0 if record.ended else 0.0
    parts = [started.plan.baseline.observe, *(step.bake for step in started.plan.steps)]
    begun = record.of(StepStarted)
    names = [step.name for step in started.plan.steps]
    index = names.index(begun[-1].step) + 1 if begun else 0
    since = begun[-1].at if begun else started.at
    done = sum(parts[:index], timedelta(0)) + min(now - since, parts[index])
    return float(round(100 * done / sum(parts, timedelta(0))))


def describe_progress(record: RolloutRecord, now: datetime) -> str:
    """Return where the rollout stands, in a sentence."""
    if record.ended:
        return f"{record.ended.state.capitalize()}: {record.ended.reason}"
    begun = record.of(StepStarted)
    minutes = round((now - begun[-1].at).total_seconds() / 60) if begun else 0
    return f"Step {begun[-1].step}, {begun[-1].canary} %, for {minutes} min" if begun else "Stable alone is watched."
