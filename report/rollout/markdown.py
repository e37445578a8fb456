"""The record in Markdown: the story so far, or the report once it has ended."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from report.charts.timeline import clock_of
from report.rollout import findings_by_step, key_facts
from report.rollout.event_log import describe_event
from rollout.events import (
    ApprovalRequested,
    StepStarted,
    WeightsSet,
)
from rollout.formatting import NOTHING
from rollout.model import Basis
from rollout.record import RolloutRecord

_TAIL = 12


def report_markdown(record: RolloutRecord, links: Mapping[str, str] | None = None) -> str:
    """Return what a person wants to know of a rollout, most telling first.

    Parameters
    ----------
    record
        Of a rollout that goes on or has ended.
    links
        Where else it can be seen, by name.
    """
    return "\n\n".join(part for part in (*_head(record), _links(links or {}), *_steps(record), _log(record)) if part)


def approval_markdown(record: RolloutRecord, until: datetime) -> str:
    """Return what a person has to know who is asked whether the latest step may be left, and until when."""
    requests = record.of(ApprovalRequested)
    steps = [step for step in findings_by_step.by_step(record) if step.answers]
    if record.started is None or not requests or not steps:
        return ""
    parts = [
        f"## {record.started.plan.canary.version} has passed step {steps[-1].name}, {steps[-1].share}",
        f"May it go on? Without an answer by {until:%d %b %H:%M} UTC: {requests[-1].otherwise}.",
        *_answered(steps[-1]),
    ]
    return "\n\n".join(parts)


def findings_table(record: RolloutRecord) -> list[dict[str, str]]:
    """Return the latest findings as the rows of a table, in few words; the report has their sentences."""
    steps = [step for step in findings_by_step.by_step(record) if step.answers]
    return [
        {
            "criterion": _compared(row),
            "says": f"{row.mark} {row.outcome}",
            "seen": row.estimate,
            "limit": f"{answers.limits}: {row.limit}" if answers.limits and row.limit != NOTHING else NOTHING,
            "evidence": _evidence(row),
        }
        for answers in (steps[-1].answers if steps else ())
        for row in answers.rows
    ]


def _compared(row: findings_by_step.FindingRow) -> str:
    """Return what the figures of a row are of."""
    if row.criterion == "success":  # judged by what fails
        return "success, as errors"
    is_relative = row.basis == Basis.RELATIVE and row.criterion != "latency ratio"  # which says so itself
    return f"{row.criterion} vs stable" if is_relative else row.criterion


def _evidence(row: findings_by_step.FindingRow) -> str:
    """What a finding rests on; the last column, for a page cuts off what is too wide."""
    if row.evidence == NOTHING:
        return row.reason
    return ". ".join(part for part in (f"{row.evidence}, {row.needed}", row.missing) if part)


def _head(record: RolloutRecord) -> Iterator[str]:
    started = record.started
    if started is None:
        return
    plan = started.plan
    yield f"# {plan.service} {plan.stable.version} → {plan.canary.version}"
    if record.ended is None:
        yield _under_way(record)
        return
    head = key_facts.headline(record)
    yield f"## {head.mark} {head.word}"
    yield head.reason
    if head.stands:
        yield head.stands
    yield _table(("", ""), [(figure.label, _valued(figure)) for figure in _figures(record)])


def _figures(record: RolloutRecord) -> list[key_facts.Figure]:
    return key_facts.figures(record, clock_of(record))


def _valued(figure: key_facts.Figure) -> str:
    return f"{figure.value} ({figure.note})" if figure.note else figure.value


def _under_way(record: RolloutRecord) -> str:
    weights, step, verdict = record.last(WeightsSet), record.last(StepStarted), record.last_verdict()
    where = f"Step **{step.step}**" if step else "Before the first step"
    share = f"{weights.canary if weights else 0} %"
    return f"{where}: the canary has **{share}** of the traffic." + (f" {verdict.reason}" if verdict else "")


def _links(links: Mapping[str, str]) -> str:
    return " · ".join(f"[{name}]({link})" for name, link in links.items())


def _steps(record: RolloutRecord) -> Iterator[str]:
    for step in findings_by_step.by_step(record):
        yield f"### {step.mark} {step.name} {step.share}"
        if step.facts:
            yield step.facts
        yield from _answered(step)


def _answered(step: findings_by_step.StepFindings) -> Iterator[str]:
    for answers in step.answers:
        yield "\n".join([f"*{answers.question}*", "", *map(_finding, answers.rows)])


def _finding(row: findings_by_step.FindingRow) -> str:
    # A list, not a table: pages cut off what does not fit into a cell.
    missing = f" ({row.missing})" if row.missing else ""
    return f"- {row.mark} **{row.criterion}**: {_one_line(row.reason)}{missing}"


def _log(record: RolloutRecord) -> str:
    if not record.events:
        return ""
    lines = (f"- `{event.at:%H:%M:%S}` {_one_line(describe_event(event))}" for event in record.events[-_TAIL:])
    return "\n".join(["### What happened last", "", *lines])


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    return _one_line(text).replace("|", "\\|")


def _one_line(text: str) -> str:
    return " ".join(text.split())
