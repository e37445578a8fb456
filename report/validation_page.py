"""A load test as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from report.charts import HEIGHT, WIDTH, drawn
from report.facts import Figure
from report.page import shown_safely
from report.validation_charts import charts
from report.wording import (
    NOTHING,
    OUTCOME_MARK,
    about,
    count,
    moment,
    number,
    percent,
    plural,
    quantity,
    sentence,
    span,
)
from rollout.model import Outcome
from rollout.record import FindingEntry
from rollout.validation import Comparison, Counted, Stair, ValidationResult

_WORDS = {Outcome.PASS: "Passed", Outcome.FAIL: "Failed", Outcome.INCONCLUSIVE: "Inconclusive"}
_STYLES = {Outcome.PASS: "good", Outcome.FAIL: "bad", Outcome.INCONCLUSIVE: "open"}
_NOBODY = "none"


@dataclass(frozen=True, slots=True)
class Headline:
    """The outcome in a word and a sentence."""

    word: str
    style: str
    """`good`, `bad` or `open`."""
    mark: str
    reason: str


@dataclass(frozen=True, slots=True)
class Row:
    """One criterion as a line of a table."""

    criterion: str
    reason: str
    missing: str
    estimate: str
    interval: str
    limit: str
    outcome: Outcome
    mark: str


def headline(result: ValidationResult) -> Headline:
    """Return the verdict; an inconclusive one says what is missing."""
    needed = [f.requests_needed for f in result.findings if f.requests_needed and f.outcome is Outcome.INCONCLUSIVE]
    more = (
        f" {count(max(needed))} more requests would tell." if needed and result.outcome is Outcome.INCONCLUSIVE else ""
    )
    outcome = result.outcome
    return Headline(_WORDS[outcome], _STYLES[outcome], OUTCOME_MARK[outcome], sentence(result.reason) + more)


def render_validation(result: ValidationResult) -> str:
    """Return the report on a load test as an HTML page.

    The page needs nothing beside itself: no network, no scripts. The same result gives the same text.
    """
    page = _template().render(
        result=result,
        headline=headline(result),
        particulars=_particulars(result),
        figures=list(_figures(result)),
        rows=[row_of(finding) for finding in result.findings],
        drawings=[drawn(chart) for chart in charts(result)],
        notes=[sentence(note) for note in result.notes],
        cells=[_cell(cell) for cell in (*result.counted, *_whole(result))],
        errors=[_error(kind, number_of, result) for kind, number_of in result.errors.items()],
        comparison=result.comparison and _compared(result.comparison),
        stairs=[_stair(stair) for stair in result.capacity.stairs] if result.capacity else [],
    )
    return shown_safely(page)


def _particulars(result: ValidationResult) -> list[Figure]:
    return [
        Figure("Target", result.url),
        Figure("Load", result.description),
        Figure("Began", moment(result.began)),
        Figure("Took", span(result.seconds)),
    ]


def _figures(result: ValidationResult) -> Iterator[Figure]:
    asked = f"successful, of {number(result.asked)} asked for" if result.asked else "successful"
    yield Figure("Answers", f"{number(result.reached)}/s", asked)
    failures, requests = result.total.failures + result.abandoned, result.total.requests + result.abandoned
    failed = f"{plural(failures, 'failure')}" + (f", {percent(failures / requests)}" if failures else "")
    yield Figure("Requests", count(requests), failed)
    if (latency := result.total.latency) is not None:
        yield Figure("Mean latency", f"{number(latency.mean)} ms", f"median {number(latency.p50)} ms")
        yield Figure("95th percentile", f"{number(latency.p95)} ms")
        yield Figure("99th percentile", f"{number(latency.p99)} ms")
    if result.capacity is not None:
        found = NOTHING if result.capacity.rate is None else f"{number(result.capacity.rate)}/s"
        yield Figure("Capacity", found, "highest rate that met the criteria")


def row_of(finding: FindingEntry) -> Row:
    """Return a finding in words."""
    unit = finding.unit
    return Row(
        criterion=finding.criterion,
        reason=sentence(finding.reason),
        missing=_missing(finding),
        estimate=NOTHING if finding.estimate is None else quantity(finding.estimate, unit),
        interval=" to ".join(quantity(end, unit) for end in finding.interval or ()),
        limit=NOTHING if finding.limit is None else quantity(finding.limit, unit),
        outcome=finding.outcome,
        mark=OUTCOME_MARK[finding.outcome],
    )


def _missing(finding: FindingEntry) -> str:
    if finding.requests_needed is None or finding.outcome is not Outcome.INCONCLUSIVE:
        return ""
    time = f", about {about(finding.seconds_needed)} at this rate" if finding.seconds_needed else ""
    return f"{plural(finding.requests_needed, 'more request')} needed{time}."


def _whole(result: ValidationResult) -> Sequence[Counted]:
    return [result.total] if len(result.counted) > 1 else []


def _cell(cell: Counted) -> dict[str, object]:
    latency = cell.latency
    told = [latency.mean, latency.p50, latency.p95, latency.p99] if latency else []
    return {
        "endpoint": cell.endpoint,
        "track": track_name(cell.track),
        "requests": count(cell.requests),
        "failures": count(cell.failures),
        "latencies": [f"{number(ms)} ms" for ms in told] or [NOTHING] * 4,
        "is_sum": cell.endpoint == cell.track == "all",
    }


def track_name(track: str) -> str:
    """Return who answered; where no answer names a track that is no fault."""
    return "not named" if track == _NOBODY else track


def _error(kind: str, number_of: int, result: ValidationResult) -> dict[str, str]:
    track, _, what = kind.partition(": ")
    share = percent(number_of / result.total.requests) if result.total.requests else NOTHING
    return {"track": track_name(track), "what": what or track, "count": count(number_of), "share": share}


def _compared(comparison: Comparison) -> dict[str, object]:
    words = {
        Outcome.PASS: "No regression",
        Outcome.FAIL: "Regression",
        Outcome.INCONCLUSIVE: "Cannot tell yet whether there is a regression",
    }
    return {
        "word": words[comparison.outcome],
        "with_run": comparison.with_run,
        "outcome": comparison.outcome,
        "mark": OUTCOME_MARK[comparison.outcome],
        "rows": [row_of(finding) for finding in comparison.findings],
    }


def _stair(stair: Stair) -> dict[str, object]:
    return {
        "rate": f"{number(stair.rate)}/s",
        "reached": f"{number(stair.reached)}/s",
        "reason": sentence(stair.reason),
        "outcome": stair.outcome,
        "mark": OUTCOME_MARK[stair.outcome],
    }


@cache
def _template() -> Template:
    package = files("report")
    names = ("validation.html", "chart.html")
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=DictLoader({name: package.joinpath(name).read_text(encoding="utf-8") for name in names}),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = package.joinpath("style.css").read_text(encoding="utf-8")
    environment.globals |= {"style": Markup(style), "WIDTH": WIDTH, "HEIGHT": HEIGHT}
    return environment.get_template("validation.html")
