"""A load test as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from report.charts.geometry import HEIGHT, WIDTH, draw
from report.loadtest.validation_charts import charts
from report.loadtest.validation_rows import error_row, row_of, track_name
from report.rollout.key_facts import Figure
from report.rollout.page import shown_safely
from rollout.formatting import (
    NOTHING,
    OUTCOME_MARK,
    format_count,
    format_moment,
    format_ms,
    format_number,
    format_plural,
    format_ratio,
    format_span,
    to_sentence,
)
from rollout.load_test_result import CapacityStep, Comparison, EndpointCounts, ValidationResult
from rollout.model import Outcome

_WORDS = {Outcome.PASS: "Passed", Outcome.FAIL: "Failed", Outcome.INCONCLUSIVE: "Inconclusive"}
_STYLES = {Outcome.PASS: "good", Outcome.FAIL: "bad", Outcome.INCONCLUSIVE: "open"}


@dataclass(frozen=True, slots=True)
class Headline:
    """The outcome in a word and a sentence."""

    word: str
    style: str
    """`good`, `bad` or `open`."""
    mark: str
    reason: str


def headline(result: ValidationResult) -> Headline:
    """Return the verdict; an inconclusive one says what is missing."""
    needed = [f.requests_needed for f in result.findings if f.requests_needed and f.outcome is Outcome.INCONCLUSIVE]
    more = (
        f" {format_count(max(needed))} more requests would tell."
        if needed and result.outcome is Outcome.INCONCLUSIVE
        else ""
    )
    outcome = result.outcome
    return Headline(_WORDS[outcome], _STYLES[outcome], OUTCOME_MARK[outcome], to_sentence(result.reason) + more)


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
        drawings=[draw(chart) for chart in charts(result)],
        notes=[to_sentence(note) for note in result.notes],
        cells=[_cell(cell) for cell in (*result.counted, *_whole(result))],
        raised=[{"what": kind, "count": format_count(times)} for kind, times in result.raised.items()],
        errors=[error_row(kind, number_of, result) for kind, number_of in result.errors.items()],
        comparison=result.comparison and _compared(result.comparison),
        stairs=[_stair(stair) for stair in result.capacity.stairs] if result.capacity else [],
    )
    return shown_safely(page)


def _particulars(result: ValidationResult) -> list[Figure]:
    return [
        Figure("Target", result.url),
        Figure("Load", result.description),
        Figure("Began", format_moment(result.began)),
        Figure("Took", format_span(result.seconds)),
    ]


def _figures(result: ValidationResult) -> Iterator[Figure]:
    asked = f"successful, of {format_number(result.asked)} asked for" if result.asked else "successful"
    yield Figure("Answers", f"{format_number(result.reached)}/s", asked)
    errors = result.total.failures - result.total.client_errors + result.abandoned
    requests, client_errors = result.total.requests + result.abandoned, result.total.client_errors
    failed = format_plural(errors, "error") + (f", {format_ratio(errors / requests)}" if errors else "")
    failed += f"; {format_plural(client_errors, '4xx answer')}" if client_errors else ""
    yield Figure("Requests", format_count(requests), failed)
    if raised := sum(result.raised.values()):
        yield Figure("Raised tasks", format_count(raised), "of the locustfile")
    if (latency := result.total.latency) is not None:
        yield Figure("Mean latency", format_ms(latency.mean), f"median {format_ms(latency.p50)}")
        yield Figure("95th percentile", format_ms(latency.p95))
        yield Figure("99th percentile", format_ms(latency.p99))
    if result.capacity is not None:
        highest = NOTHING if result.capacity.rate is None else f"{format_number(result.capacity.rate)}/s"
        yield Figure("Capacity", highest, "highest rate that met the criteria")


def _whole(result: ValidationResult) -> Sequence[EndpointCounts]:
    return [result.total] if len(result.counted) > 1 else []


def _cell(cell: EndpointCounts) -> dict[str, object]:
    latency = cell.latency
    latencies = [latency.mean, latency.p50, latency.p95, latency.p99] if latency else []
    return {
        "endpoint": cell.endpoint,
        "track": track_name(cell.track),
        "requests": format_count(cell.requests),
        "errors": format_count(cell.failures - cell.client_errors),
        "client_errors": format_count(cell.client_errors),
        "latencies": [format_ms(ms) for ms in latencies] or [NOTHING] * 4,
        "is_sum": cell.endpoint == cell.track == "all",
    }


def comparison_title(comparison: Comparison) -> str:
    """Return what the run is compared with."""
    return f"beside the base at {comparison.against}" if comparison.against else "beside the last accepted run"


def comparison_note(comparison: Comparison) -> str:
    """Return how far the comparison can be trusted."""
    if comparison.against:
        return (
            "Both were sent the same requests in turns, by one process: what slows the machine slows both, and is not "
            "in the difference."
        )
    made = f"That run was of {comparison.with_run}"
    if comparison.other_machine:
        made += f", made on another machine ({comparison.other_machine})"
    return (
        f"{made}. What varies from run to run, such as the machine and what else it does, is not in these intervals; "
        "`--against` compares base and change in one run."
    )


def _compared(comparison: Comparison) -> dict[str, object]:
    outcomes = {
        Outcome.PASS: "No regression",
        Outcome.FAIL: "Regression",
        Outcome.INCONCLUSIVE: "Cannot tell yet whether there is a regression",
    }
    return {
        "word": outcomes[comparison.outcome],
        "title": to_sentence(comparison_title(comparison)).rstrip("."),
        "note": comparison_note(comparison),
        "outcome": comparison.outcome,
        "mark": OUTCOME_MARK[comparison.outcome],
        "rows": [row_of(finding) for finding in comparison.findings],
    }


def _stair(stair: CapacityStep) -> dict[str, object]:
    return {
        "rate": f"{format_number(stair.rate)}/s",
        "reached": f"{format_number(stair.reached)}/s",
        "reason": to_sentence(stair.reason),
        "outcome": stair.outcome,
        "mark": OUTCOME_MARK[stair.outcome],
    }


@cache
def _template() -> Template:
    package = files("report") / "templates"
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
