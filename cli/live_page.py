"""The terminal's view of a rollout under way, drawn from its record alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from report.rollout.event_log import describe_event
from rollout.decide import Progress, time_left
from rollout.events import (
    DecisionMade,
    StepStarted,
    VerdictChanged,
    WeightsSet,
)
from rollout.formatting import format_count, format_ms, format_odds, format_ratio, format_span
from rollout.model import Outcome
from rollout.plan import RolloutPlan
from rollout.record import RolloutRecord

_TAIL = 6
_WIDTH = 110
_FRAMES_A_SECOND = 4
_COLOURS = {"rollback": "red", "promotion": "green"}
_MARKS = {Outcome.PASS: ("✓", "green"), Outcome.FAIL: ("✗", "red"), Outcome.INCONCLUSIVE: ("…", "yellow")}


class Screen:
    """A page that redraws itself on a terminal."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, record: RolloutRecord, plan: RolloutPlan, note: str = "") -> None:
        """Draw the record as it stands now, and a note on what it does not say."""
        self._live.update(page(record, plan, datetime.now(UTC), note))


class Log:
    """One line an event, for where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = 0
        self._noted = ""

    def show(self, record: RolloutRecord, plan: RolloutPlan, note: str = "") -> None:  # noqa: ARG002 - as Screen's
        """Print the events that have come since, and the note when it is another."""
        for event in record.events[self._told :]:
            self._console.print(f"{event.at:%H:%M:%S}  {describe_event(event)}", soft_wrap=True)
        self._told = len(record.events)
        if note not in ("", self._noted):
            self._console.print(note, soft_wrap=True)
        self._noted = note


@contextmanager
def screen_on(console: Console) -> Iterator[Screen | Log]:
    """Show a rollout on this console: a page on a terminal, lines elsewhere."""
    if not console.is_terminal:
        yield Log(console)
        return
    with Live(console=console, refresh_per_second=_FRAMES_A_SECOND) as live:
        yield Screen(live)


def page(record: RolloutRecord, plan: RolloutPlan, now: datetime, note: str = "") -> RenderableType:
    """Return what the terminal shows at this moment."""
    title = Text.assemble((plan.service, "bold"), f"  {plan.stable.version} → {plan.canary.version}")
    noted = Text(note, style="yellow") if note else None
    parts = [phases(record, plan, now), tracks(record, plan), evidence(record), noted, tail(record)]
    spaced = [line for part in parts if part is not None for line in (part, Text())]
    return Panel(Group(*spaced[:-1]), title=title, title_align="left", padding=(1, 2), width=_WIDTH)


def phases(record: RolloutRecord, plan: RolloutPlan, now: datetime) -> RenderableType:
    """One line a phase: what it is, whether it is done, and how long it goes on."""
    table = Table.grid(padding=(0, 2))
    started = {event.step: event.at for event in record.of(StepStarted)}
    shares = [event.canary for event in record.of(WeightsSet)]
    names = [step.name for step in plan.steps]
    current = max((index for index, name in enumerate(names) if name in started), default=-1)
    table.add_row(
        _mark(current >= 0, bool(record.events)), "baseline", "  0 %", _baseline_left(record, plan, now, current)
    )
    for index, step in enumerate(plan.steps):
        is_done = index < current or (record.ended is not None and record.ended.state == "promoted")
        is_current = index == current and not is_done
        left = _left(plan, index, started[step.name], now) if is_current else ""
        if index == current + 1 and shares and shares[-1] == step.canary:
            is_current, left = True, "waiting to see the split in the traffic"
        table.add_row(_mark(is_done, is_current), step.name, f"{step.canary:3} %", left)
    return table


def _mark(is_done: bool, is_current: bool) -> Text:
    return Text("✓", "green") if is_done else Text("▶", "cyan") if is_current else Text("·", "dim")


def _baseline_left(record: RolloutRecord, plan: RolloutPlan, now: datetime, current: int) -> str:
    if current >= 0 or record.started is None:
        return ""
    left = plan.baseline.observe - (now - record.started.at)
    return (
        f"{math.ceil(max(left, timedelta(0)).total_seconds())} s left" if left > timedelta(0) else "starting the canary"
    )


def _left(plan: RolloutPlan, index: int, since: datetime, now: datetime) -> str:
    left = time_left(Progress(plan, index, since), now)
    if left > timedelta(0):
        return f"{math.ceil(left.total_seconds())} s of {format_span(plan.steps[index].bake)} left"
    return f"waiting for evidence, until {format_span(plan.steps[index].deadline)}"


def tracks(record: RolloutRecord, plan: RolloutPlan) -> RenderableType:
    """Stable beside canary: share, requests, and where there are any, errors and latency over the last seconds."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("", "weight", "observed", "requests/scrape", "errors", "latency"):
        table.add_column(heading, justify="right" if heading else "left")
    canary_weight, share = record.latest("weight_asked") or 0.0, record.latest("share")
    for track, version, weight, seen in (
        ("stable", plan.stable.version, 100 - canary_weight, None if share is None else 1 - share),
        ("canary", plan.canary.version, canary_weight, share),
    ):
        requests = record.latest(f"{track}.requests")
        table.add_row(
            f"{track} {version}",
            f"{weight:.0f} %",
            _shown(seen, format_ratio),
            _shown(requests, format_count),
            _shown(record.latest(f"{track}.error_ratio") if requests else None, format_ratio),
            _shown(record.latest(f"{track}.latency_ms") if requests else None, format_ms),
        )
    return table


def evidence(record: RolloutRecord) -> RenderableType | None:
    """How far the evidence has come towards either line."""
    last = record.last_verdict()
    if last is None:
        return None
    table = Table.grid(padding=(0, 2))
    for name, value, needed in record.evidence():
        done, colour = min(max(value / needed, 0.0), 1.0), _COLOURS[name]
        bar = ProgressBar(total=1.0, completed=done, width=30, complete_style=colour, finished_style=colour)
        table.add_row(f"evidence for {name}", bar, f"{format_odds(value)}, {format_odds(needed)} needed")
    return Group(table, Text.assemble(_MARKS[last.outcome], " ", last.reason))


def tail(record: RolloutRecord) -> RenderableType:
    """The last events in words."""
    lines = [
        Text(f"{event.at:%H:%M:%S}  {describe_event(event)}", style="dim", no_wrap=True, overflow="ellipsis")
        for event in record.events
        if not isinstance(event, VerdictChanged | DecisionMade)
    ]
    return Group(*lines[-_TAIL:])


def _shown(value: float | None, wording: object) -> str:
    return "–" if value is None else str(wording(value))  # type: ignore[operator]
