"""Notices as events of Prefect, for its automations: `canary.rolled-back` and the like."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Any

from prefect.context import FlowRunContext
from prefect.events import emit_event
from prefect.settings import PREFECT_UI_URL

from conductor.commands.commands import Desk
from conductor.state.rollout_run import Run
from rollout.notices import Notice
from rollout.plan import RolloutPlan
from rollout.ports import Notices, Undelivered

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WithEvents:
    """Notices that also become events, and that say where the flow run is shown.

    A drill's become none: what pauses releases after a rollback must not do so after a proof that one works.
    """

    way: Notices
    flow_run: str
    """Its id."""

    def send(self, notice: Notice) -> None:
        """Put the notice on its way, and the event, which nobody waits for either."""
        page = f"{str(PREFECT_UI_URL.value() or '').rstrip('/')}/runs/flow-run/{self.flow_run}"
        linked = notice.with_links({"Prefect": page})
        self.way.send(linked)
        if notice.is_drill:
            return
        try:
            emit_event(**event_of(linked, self.flow_run))
        except Exception as error:  # whatever Prefect does not like about it, the rollout goes on
            log.warning("no event of Prefect: %s", error)

    def undelivered(self) -> tuple[Undelivered, ...]:
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


def emit_events(run: Run) -> Run:
    """Let the notices of a run become events of the flow run that carries it out, if one does; return it."""
    run.ports = replace(run.ports, notices=with_events(run.ports.notices))
    return run


def emit_events_of_commands(desk: Desk) -> Desk:
    """Return the context whose notices, and those of the rollouts that it takes over, become events in the same way."""

    def open_run(plan: RolloutPlan, rollout: str) -> Run:
        return emit_events(desk.open_run(plan, rollout))

    return replace(desk, notices=with_events(desk.notices), open_run=open_run)


def with_events(way: Notices) -> Notices:
    """Return the notices as events of this flow run too; as they are where it is none."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return way
    return WithEvents(way, str(context.flow_run.id))
