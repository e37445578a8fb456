"""Notices as events of Prefect, for its automations: `canary.rolled-back` and the like."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_UI_URL

from conductor.run import Run
from rollout.notices import Notice
from rollout.ports import Notices

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WithEvents:
    """Notices that also become events, and that say where the flow run is shown."""

    way: Notices
    flow_run: str
    """Its id."""

    def send(self, notice: Notice) -> None:
        """Put the notice on its way, and the event, which nobody waits for either."""
        page = f"{str(PREFECT_UI_URL.value() or '').rstrip('/')}/runs/flow-run/{self.flow_run}"
        linked = notice.with_links({"Prefect": page})
        self.way.send(linked)
        try:
            emit_event(**event_of(linked, self.flow_run))
        except Exception as error:  # whatever Prefect does not like about it, the rollout goes on
            log.warning("no event of Prefect: %s", error)

    def undelivered(self) -> tuple[str, ...]:
        """Return what did not reach people."""
        return self.way.undelivered()


def event_of(notice: Notice, flow_run: str) -> dict[str, Any]:
    """Return what Prefect is told: the service is the resource, so that an automation can name one or all."""
    return {
        "event": f"canary.{notice.occasion}",
        "occurred": notice.at,
        "resource": {
            "prefect.resource.id": f"canary.service.{notice.service}",
            "prefect.resource.name": notice.service,
            "canary.rollout": notice.rollout,
            "canary.version": notice.version,
        },
        "related": [{"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}],
        "payload": notice.as_json(),
    }


def emit_events(run: Run) -> None:
    """Let the notices of a run become events of the flow run that it is carried out in, if there is one."""
    context = FlowRunContext.get()
    if context is not None and context.flow_run is not None:
        run.ports = replace(run.ports, notices=WithEvents(run.ports.notices, str(context.flow_run.id)))
