"""What people are told of a rollout: one notice for each event that is one for them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, assert_never

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
from rollout.hooks import WhenHookFails
from rollout.model import Occasion, Outcome
from rollout.quantities import format_duration
from rollout.record import Event
from rollout.verdict_entries import FindingEntry, VerdictEntry

MOST_FINDINGS = 5
MOST_ODDS = 1e6


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
        told = {"rollout": self.rollout, **self.figures, **self.links}
        return "\n".join([self.text, "", *(f"{name}: {value}" for name, value in told.items())])

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
class Scene:
    """What an event is told against: the little of the story so far that a notice needs."""

    started: Started | None = None
    step: str = ""
    canary: int = 0
    """The canary's share in force, in percent."""
    verdict: VerdictEntry | None = None

    @classmethod
    def of(cls, events: Iterable[Event]) -> Scene:
        """Return the scene after all of these events."""
        scene = cls()
        for event in events:
            scene = scene.after(event)
        return scene

    def after(self, event: Event) -> Scene:
        """Return the scene once this has happened."""
        if isinstance(event, Started):
            return Scene(started=event)
        if isinstance(event, WeightsSet):
            return replace(self, canary=event.canary)
        if isinstance(event, StepStarted):
            return replace(self, step=event.step)
        if isinstance(event, VerdictChanged | StepEnded):
            return replace(self, verdict=event.verdict)
        return self

    def notice(self, event: Event) -> Notice | None:
        """Return what people are to be told of an event that has just happened; None where it is none for them."""
        told = _told(event, self)
        if told is None or self.started is None:
            return None
        occasion, text = told
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
            figures["took"] = format_duration(timedelta(seconds=round((event.at - self.started.at).total_seconds())))
        return figures | (_evidence(self.verdict) if self.verdict else {})


def _told(event: Event, scene: Scene) -> tuple[Occasion, str] | None:
    match event:
        case Started():
            return Occasion.STARTED, _beginning(event)
        case StepStarted():
            return Occasion.STEP, _step(event, scene)
        case Alarm():
            return (Occasion.HELD if event.needs_person else Occasion.ALARM), event.text
        case DriftDetected(handled="held" | "reasserted"):
            said = f"{event.who} set canary {event.found} % where {event.asked} % was asked for: {event.handled}"
            return (Occasion.HELD if event.handled == "held" else Occasion.ALARM), said
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
            return _end(event.state), event.reason
        case BaselineChecked() | Scaled() | WeightsSet() | WeightsObserved() | TrafficMirrored() | DriftDetected():
            return None
        case VerdictChanged() | DecisionMade() | SignalReceived() | StepEnded() | StableChanged() | Fault():
            return None
        case LoadSummary() | DrillEnded() | HookEnded():
            return None
        case _:
            assert_never(event)


def _end(state: EndState) -> Occasion:
    match state:
        case EndState.PROMOTED:
            return Occasion.PROMOTED
        case EndState.ROLLED_BACK:
            return Occasion.ROLLED_BACK
        case EndState.HELD:
            return Occasion.HELD
        case EndState.FAILED:
            return Occasion.FAILED
        case _:
            assert_never(state)


def _beginning(event: Started) -> str:
    plan = event.plan
    shares = ", ".join(f"{step.canary} % for {format_duration(step.bake)}" for step in plan.steps)
    note = f"; {event.note}" if event.note else ""
    return f"{plan.stable.version} to {plan.canary.version} by {event.who} on {event.backend}: {shares}{note}"


def _step(event: StepStarted, scene: Scene) -> str:
    steps = scene.started.plan.steps if scene.started else ()
    bake = next((f", watched for {format_duration(step.bake)}" for step in steps if step.name == event.step), "")
    return f"step {event.step}: the canary has {event.canary} % of the traffic{bake}"


def _evidence(verdict: VerdictEntry) -> dict[str, str]:
    counted = [finding for finding in verdict.findings if finding.estimate is not None]
    telling = sorted(counted, key=lambda finding: finding.outcome is not Outcome.FAIL)[:MOST_FINDINGS]
    found = {f"{finding.criterion} ({finding.basis})": _figure(finding) for finding in telling}
    lines = {
        "evidence for a rollback": (verdict.rollback_evidence, verdict.rollback_needed),
        "evidence for a promotion": (verdict.promotion_evidence, verdict.promotion_needed),
    }
    odds = {name: f"{_odds(have)}, {_odds(needed)} needed" for name, (have, needed) in lines.items() if needed > 0}
    return found | odds


def _figure(finding: FindingEntry) -> str:
    limit = "" if finding.limit is None else f", limit {_amount(finding.limit, finding.unit)}"
    return f"{_amount(finding.estimate or 0.0, finding.unit)}{limit}"


def _amount(value: float, unit: str) -> str:
    if unit == "ratio":
        return f"{value * 100:.3g} %"
    return f"{value:.3g} {'times stable' if unit == 'x' else unit}".strip()


def _odds(log_evidence: float) -> str:
    odds = math.exp(min(log_evidence, math.log(MOST_ODDS)))
    return (
        f"{'over ' if log_evidence >= math.log(MOST_ODDS) else ''}{odds:,.0f} : 1" if odds >= 10 else f"{odds:.2g} : 1"
    )
