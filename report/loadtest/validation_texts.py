"""A load test for a pull request (Markdown) and for CI (JUnit XML)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

from report.loadtest.validation_page import comparison_note, comparison_title, headline
from report.loadtest.validation_rows import error_row, row_of
from rollout.formatting import (
    format_count,
    format_moment,
    format_ms,
    format_number,
    format_ratio,
    format_span,
    to_sentence,
)
from rollout.load_test_result import ValidationResult
from rollout.model import Outcome
from rollout.verdict_entries import FindingEntry

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SIGNS = {Outcome.PASS: "✅", Outcome.FAIL: "❌", Outcome.INCONCLUSIVE: "❔"}


def validation_markdown(result: ValidationResult) -> str:
    """Return the result as Markdown: the verdict, the criteria, and what stood out."""
    return "\n".join(_lines(result)) + "\n"


def _lines(result: ValidationResult) -> Iterator[str]:
    head = headline(result)
    yield f"## {_SIGNS[result.outcome]} Load test {head.word.lower()}: {_plain(result.name)}"
    yield f"\n{_plain(head.reason)}\n"
    load = f"{result.description} for {format_span(result.seconds)}"
    yield f"`{_plain(result.url)}`, {_plain(load)}, {format_moment(result.began)}\n"
    yield from _table(result.findings)
    if result.comparison is not None:
        yield f"\nCompared {_plain(comparison_title(result.comparison))}:\n"
        yield from _table(result.comparison.findings)
        yield f"\n{_plain(comparison_note(result.comparison))}"
    if result.capacity is not None:
        rate = "none that was tried" if result.capacity.rate is None else f"**{format_number(result.capacity.rate)}/s**"
        yield f"\nHighest rate that met the criteria: {rate}. {_plain(result.capacity.bounded_by)}"
    for note in result.notes:
        yield f"\n> {_plain(to_sentence(note))}"
    if result.errors:
        yield "\n| Failures | Count as | Answered by | Requests |\n|---|---|---|---:|"
        for kind, requests in result.errors.items():
            row = error_row(kind, requests, result)
            yield f"| {_plain(row['what'])} | {row['counts_as']} | {row['track']} | {row['count']} |"
    if result.raised:
        yield "\n| Tasks raised | Times |\n|---|---:|"
        for kind, times in result.raised.items():
            yield f"| {_plain(kind)} | {format_count(times)} |"
    if (latency := result.total.latency) is not None:
        latencies = (latency.mean, latency.p50, latency.p95, latency.p99)
        yield "\n| Requests | Mean | Median | p95 | p99 |\n|---:|---:|---:|---:|---:|"
        yield f"| {format_count(result.total.requests)} | {' | '.join(format_ms(ms) for ms in latencies)} |"


def _table(findings: tuple[FindingEntry, ...]) -> Iterator[str]:
    yield "| | Criterion | Measured | 95 % bounds | Limit |\n|---|---|---:|---:|---:|"
    for finding in findings:
        row = row_of(finding)
        yield f"| {_SIGNS[row.outcome]} | {_plain(row.criterion)} | {row.estimate} | {row.interval} | {row.limit} |"


def _plain(text: str) -> str:
    """Return a text that cannot become Markdown or HTML of its own."""
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", " ".join(text.split()))


def validation_junit(result: ValidationResult) -> str:
    """Return the result as JUnit XML: one test case a criterion; an inconclusive one is a failure of that name."""
    findings = (*result.findings, *(result.comparison.findings if result.comparison else ()))
    bad = [finding for finding in findings if finding.outcome is not Outcome.PASS]
    counts = {"tests": str(len(findings)), "failures": str(len(bad)), "errors": "0", "time": f"{result.seconds:.3f}"}
    suites = ElementTree.Element("testsuites", {"name": "load test", **counts})
    stamp = result.began.strftime("%Y-%m-%dT%H:%M:%S")
    suite = ElementTree.SubElement(suites, "testsuite", {"name": _xml(result.name), **counts, "timestamp": stamp})
    for finding in findings:
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": _xml(result.name), "name": finding.criterion, "time": "0"}
        )
        if finding.outcome is not Outcome.PASS:
            attributes = {"type": str(finding.outcome), "message": _xml(finding.reason)}
            ElementTree.SubElement(case, "failure", attributes).text = _xml(finding.reason)
    summary = f"{headline(result).word}: {result.reason}\nerrors: {format_ratio(_error_share(result))} of the requests"
    summary += "".join(f"\nraised {times:,} times: {kind}" for kind, times in result.raised.items())
    ElementTree.SubElement(suite, "system-out").text = _xml(summary)
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _error_share(result: ValidationResult) -> float:
    requests, errors = result.total.requests, result.total.failures - result.total.client_errors
    return errors / requests if requests else 0.0


def _xml(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
