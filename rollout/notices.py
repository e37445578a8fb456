"""Notices of a rollout to people: one for each event that is for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Final, assert_never

from rollout.events import (
    Alarm,
    ApprovalRequested,
    BaselineChecked,
    ComparisonRestarted,
    DecisionMade,
    DriftDetected,
    DrillEnded,
    Ended,
    EndState,
    Fault,
    HookEnded,
    LoadSummary,
    Scaled,
    SignalReceived,
    StableChanged,
    Started,
    StepEnded,
    StepStarted,
    TakenOver,
    TrafficMirrored,
    VerdictChanged,
    WeightsObserved,
    WeightsSet,
)
from rollout.formatting import format_limit, format_measure, format_odds, format_span
from rollout.hooks import WhenHookFails
from rollout.model import Occasion, Outcome
from rollout.record import Event
from rollout.verdict_entries import FindingEntry, VerdictEntry

MOST_FINDINGS = 5
_END_OCCASIONS: Final = {
    EndState.PROMOTED: Occasion.PROMOTED,
    EndState.ROLLED_BACK: Occasion.ROLLED_BACK,
    EndState.HELD: Occasion.HELD,
    EndState.FAILED: Occasion.FAILED,
}


@dataclass(frozen=True, slots=True)
class Notice:
    """Something to be told, with the reason, the figures and where to look."""

    occasion: Occasion
    at: datetime
    service: str
    version: str
    rollout: str
    text: str
    """The reason, as a person reads it."""
    figures: Mapping[str, str]
    links: Mapping[str, str] = field(default_factory=dict)
    """Addresses by what is found there."""
    is_wanted: bool = True
    """Whether the plan has chosen it for people; automations get every one."""
    is_drill: bool = False
    """Whether it is about a drill of the rollback, and no release."""

    @property
    def title(self) -> str:
        """The notice in a few words."""
        return f"{self.service} {self.version}: {self.occasion.replace('-', ' ')}"

    @property
    def body(self) -> str:
        """All but the title, a line each."""
        details = {"rollout": self.rollout, **self.figures, **self.links}
        return "\n".join([self.text, "", *(f"{name}: {value}" for name, value in details.items())])

    def with_links(self, links: Mapping[str, str]) -> Notice:
        """Return the notice with more places to look."""
        return replace(self, links={**self.links, **links})

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON's own values; the time in ISO 8601."""
        return {
            "occasion": self.occasion.value,
            "at": self.at.isoformat(),
            "service": self.service,
            "canary": self.version,
            "rollout": self.rollout,
            "reason": self.text,
            "figures": dict(self.figures),
            "links": dict(self.links),
        }


@dataclass(frozen=True, slots=True)
class NoticeContext:
    """What a notice needs to know of the rollout so far."""

    started: Started | None = None
    step: str = ""
    canary: int = 0
    """The canary's share in force, in percent."""
    verdict: VerdictEntry | None = None

    @classmethod
    def of(cls, events: Iterable[Event]) -> NoticeContext:
        """Return the context after all of these events."""
        context = cls()
        for event in events:
            context = context.after(event)
        return context

    def after(self, event: Event) -> NoticeContext:
        """Return the context once this has happened."""
        if isinstance(event, Started):
            return NoticeContext(started=event)
        if isinstance(event, WeightsSet):
            return replace(self, canary=event.canary)
        if isinstance(event, StepStarted):
            return replace(self, step=event.step)
        if isinstance(event, VerdictChanged | StepEnded):
            return replace(self, verdict=event.verdict)
        return self

    def notice(self, event: Event) -> Notice | None:
        """Return the notice of an event that has just happened; None where it is not for people."""
        described = _describe(event, self)
        if described is None or self.started is None:
            return None
        occasion, text = described
        return Notice(
            occasion=occasion,
            at=event.at,
            service=self.started.plan.service,
            version=self.started.plan.canary.version,
            rollout=self.started.rollout,
            text=text,
            figures=self._figures(event),
            is_wanted=occasion in self.started.plan.notify,
            is_drill=bool(self.started.drill),
        )

    def _figures(self, event: Event) -> dict[str, str]:
        figures = {"canary's share": f"{self.canary} %"}
        if self.step:
            figures["step"] = self.step
        if isinstance(event, Ended) and self.started:
            figures["took"] = format_span(timedelta(seconds=round((event.at - self.started.at).total_seconds())))
        return figures | (_evidence(self.verdict) if self.verdict else {})


def _describe(event: Event, context: NoticeContext) -> tuple[Occasion, str] | None:
    match event:
        case Started():
            return Occasion.STARTED, _describe_start(event)
        case StepStarted():
            return Occasion.STEP, _describe_step(event, context)
        case Alarm():
            return (Occasion.HELD if event.needs_person else Occasion.ALARM), event.text
        case DriftDetected(handled="held" | "reasserted"):
            change = f"{event.who} set canary {event.found} % where {event.asked} % was asked for: {event.handled}"
            return (Occasion.HELD if event.handled == "held" else Occasion.ALARM), change
        case ApprovalRequested():
            until = f"until {event.until:%Y-%m-%d %H:%M} UTC, else: {event.otherwise}"
            return Occasion.APPROVAL_ASKED, f"step {event.step} waits for approval {until}; {event.reason}"
        case ComparisonRestarted():
            return Occasion.ALARM, f"the comparison begins again: {event.reason}"
        case TakenOver():
            return Occasion.TAKEN_OVER, f"{event.who} after {event.before}, to {event.policy}: {event.found}"
        case HookEnded(ok=False, on_failure=WhenHookFails.IGNORE):
            return Occasion.ALARM, f"hook {event.hook} {event.reason}"
        case Ended():
            return _END_OCCASIONS[event.state], event.reason
        case BaselineChecked() | Scaled() | WeightsSet() | WeightsObserved() | TrafficMirrored() | DriftDetected():
            return None
        case VerdictChanged() | DecisionMade() | SignalReceived() | StepEnded() | StableChanged() | Fault():
            return None
        case LoadSummary() | DrillEnded() | HookEnded():
            return None
        case _:
            assert_never(event)


def _describe_start(event: Started) -> str:
    plan = event.plan
    shares = ", ".join(f"{step.canary} % for {format_span(step.bake)}" for step in plan.steps)
    note = f"; {event.note}" if event.note else ""
    return f"{plan.stable.version} to {plan.canary.version} by {event.who} on {event.backend}: {shares}{note}"


def _describe_step(event: StepStarted, context: NoticeContext) -> str:
    steps = context.started.plan.steps if context.started else ()
    bake = next((f", watched for {format_span(step.bake)}" for step in steps if step.name == event.step), "")
    return f"step {event.step}: the canary has {event.canary} % of the traffic{bake}"


def _evidence(verdict: VerdictEntry) -> dict[str, str]:
    measured = [finding for finding in verdict.findings if finding.estimate is not None]
    telling = sorted(measured, key=lambda finding: finding.outcome is not Outcome.FAIL)[:MOST_FINDINGS]
    figures = {f"{finding.criterion} ({finding.basis})": _describe_figure(finding) for finding in telling}
    lines = {
        "evidence for a rollback": (verdict.rollback_evidence, verdict.rollback_needed),
        "evidence for a promotion": (verdict.promotion_evidence, verdict.promotion_needed),
    }
    odds = {
        name: f"{format_odds(evidence)}, {format_odds(needed)} needed"
        for name, (evidence, needed) in lines.items()
        if needed > 0
    }
    return figures | odds


def _describe_figure(finding: FindingEntry) -> str:
    limit = "" if finding.limit is None else f", limit {format_limit(finding.limit, finding.unit)}"
    return f"{format_measure(finding.estimate or 0.0, finding.unit)}{limit}"
