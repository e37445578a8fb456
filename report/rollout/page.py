"""The record as one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from report.charts import timeline
from report.charts.geometry import HEIGHT, WIDTH, draw
from report.rollout import event_log, findings_by_step, key_facts, plan_summary
from report.rollout.chart_context import chart_context
from report.rollout.client_side import client_side
from report.rollout.evidence_charts import decision_line
from report.rollout.rollout_charts import charts
from rollout.formatting import format_count, format_odds, format_ratio
from rollout.record import RolloutRecord

_ODDS = re.compile(r"(?<=\d) : (?=\d)")
"""Odds, which no line may break apart."""
_UNSHOWABLE = dict.fromkeys(
    (*range(9), 11, 12, *range(14, 32), *range(127, 160), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), "\ufffd"
)
"""Control characters, and those that turn the direction of the text around them: a reason must not rewrite the page."""


def render(record: RolloutRecord, links: Mapping[str, str] | None = None) -> str:
    """Return the report on a rollout as an HTML page, with links to where else it is shown, by their names.

    The page needs nothing beside itself: no network, no scripts. The same record gives the same text. A record that
    was cut short, or holds nothing, makes a page that says so.
    """
    clock = timeline.clock_of(record)
    context = chart_context(record, clock)
    page = _template().render(
        headline=key_facts.headline(record),
        plan=context.plan,
        particulars=key_facts.particulars(record, clock),
        figures=key_facts.figures(record, clock),
        drawings=[draw(chart) for chart in charts(context)],
        marks=context.marks,
        steps=findings_by_step.by_step(record),
        log=event_log.event_log(record, clock),
        planned_steps=plan_summary.planned_steps(context.plan) if context.plan else [],
        promises=plan_summary.promises(context.plan) if context.plan else [],
        rollback_line=decision_line(context, "rollback"),
        promotion_line=decision_line(context, "promotion"),
        load=client_side(record, clock),
        links=links or {},
    )
    return shown_safely(page)


def shown_safely(page: str) -> str:
    """Return a page whose odds no line breaks apart, and whose texts cannot rewrite it."""
    return _ODDS.sub("\u00a0:\u00a0", page.translate(_UNSHOWABLE))


@cache
def _template() -> Template:
    package = files("report") / "templates"
    names = ("page.html", "chart.html")
    sources = {name: package.joinpath(name).read_text(encoding="utf-8") for name in names}
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, loader=DictLoader(sources), trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": format_ratio, "odds": format_odds, "count": format_count}
    style = package.joinpath("style.css").read_text(encoding="utf-8")
    environment.globals |= {"style": Markup(style), "WIDTH": WIDTH, "HEIGHT": HEIGHT}
    return environment.get_template("page.html")
