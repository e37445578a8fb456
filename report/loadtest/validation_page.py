"""A load test as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from jinja2 import DictLoader, Environment, StrictUndefined, Template
from markupsafe import Markup

from report.charts.geometry import HEIGHT, WIDTH, drawn
from report.formatting import (
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
from report.loadtest.validation_charts import charts
from report.rollout.key_facts import Figure
from report.rollout.page import shown_safely
from rollout.failures import is_client_error
from rollout.load_test_result import CapacityStep, Comparison, EndpointCounts, ValidationResult
from rollout.model import Outcome
from rollout.record import FindingEntry

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
        raised=[{"what": kind, "count": count(times)} for kind, times in result.raised.items()],
        errors=[error_row(kind, number_of, result) for kind, number_of in result.errors.items()],
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
    errors = result.total.failures - result.total.client_errors + result.abandoned
    requests, client_errors = result.total.requests + result.abandoned, result.total.client_errors
    failed = plural(errors, "error") + (f", {percent(errors / requests)}" if errors else "")
    failed += f"; {plural(client_errors, '4xx answer')}" if client_errors else ""
    yield Figure("Requests", count(requests), failed)
    if raised := sum(result.raised.values()):
        yield Figure("Raised tasks", count(raised), "of the locustfile")
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
        estimate=NOTHING if finding.estimate is None else _measure(finding.estimate, unit),
        interval=" to ".join(_measure(end, unit) for end in finding.interval or ()),
        limit=NOTHING if finding.limit is None else _measure(finding.limit, unit),
        outcome=finding.outcome,
        mark=OUTCOME_MARK[finding.outcome],
    )


def _measure(value: float, unit: str) -> str:
    """Return a number with its unit; a ratio to the other run as the difference that it is: 1.005 is +0.50%."""
    if unit != "x":
        return quantity(value, unit)
    return f"{value - 1:+.2%}" if value < 1.1 else f"{value - 1:+.0%}"


def _missing(finding: FindingEntry) -> str:
    if finding.requests_needed is None or finding.outcome is not Outcome.INCONCLUSIVE:
        return ""
    time = f", about {about(finding.seconds_needed)} at this rate" if finding.seconds_needed else ""
    return f"{plural(finding.requests_needed, 'more request')} needed{time}."


def _whole(result: ValidationResult) -> Sequence[EndpointCounts]:
    return [result.total] if len(result.counted) > 1 else []


def _cell(cell: EndpointCounts) -> dict[str, object]:
    latency = cell.latency
    told = [latency.mean, latency.p50, latency.p95, latency.p99] if latency else []
    return {
        "endpoint": cell.endpoint,
        "track": track_name(cell.track),
        "requests": count(cell.requests),
        "errors": count(cell.failures - cell.client_errors),
        "client_errors": count(cell.client_errors),
        "latencies": [f"{number(ms)} ms" for ms in told] or [NOTHING] * 4,
        "is_sum": cell.endpoint == cell.track == "all",
    }


def track_name(track: str) -> str:
    """Return who answered; where no answer names a track that is no fault."""
    return "not named" if track == _NOBODY else track


def error_row(kind: str, number_of: int, result: ValidationResult) -> dict[str, str]:
    """Return a kind of failures in words: what, whose fault, who answered, how many."""
    track, _, what = kind.partition(": ")
    share = percent(number_of / result.total.requests) if result.total.requests else NOTHING
    counts_as = "4xx answer" if is_client_error(what or track) else "error"
    return {
        "track": track_name(track),
        "what": what or track,
        "counts_as": counts_as,
        "count": count(number_of),
        "share": share,
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
    words = {
        Outcome.PASS: "No regression",
        Outcome.FAIL: "Regression",
        Outcome.INCONCLUSIVE: "Cannot tell yet whether there is a regression",
    }
    return {
        "word": words[comparison.outcome],
        "title": sentence(comparison_title(comparison)).rstrip("."),
        "note": comparison_note(comparison),
        "outcome": comparison.outcome,
        "mark": OUTCOME_MARK[comparison.outcome],
        "rows": [row_of(finding) for finding in comparison.findings],
    }


def _stair(stair: CapacityStep) -> dict[str, object]:
    return {
        "rate": f"{number(stair.rate)}/s",
        "reached": f"{number(stair.reached)}/s",
        "reason": sentence(stair.reason),
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
