"""`canary loadtest`: put a load on a service, judge it, and write the validation report."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from loadtest.allowed_targets import checked_target
from loadtest.profile import LoadProfile, Model, parse_profile, validate_profile
from loadtest.results import LoadResults
from loadtest.schedule import requests_due
from loadtest.validation.intervals import requests_for
from loadtest.validation.validation_run import AcceptedRuns, Progress
from report.loadtest.validation_page import comparison_title, headline, render_validation
from report.loadtest.validation_texts import validation_junit, validation_markdown
from rollout.errors import PlanError
from rollout.formatting import format_number, format_ratio
from rollout.load_test_result import ValidationResult, dump_result
from rollout.model import Outcome
from wiring.files import read_text, write_text
from wiring.settings import Settings

EXIT_CODES = {Outcome.PASS: 0, Outcome.FAIL: 3, Outcome.INCONCLUSIVE: 4}


def read_profile(path: Path | None, changes: dict[str, Any]) -> LoadProfile:
    """Return the profile of a file, or a plain one without, with what was said instead of its own values."""
    if path is None:
        profile = validate_profile(changes, source="options")
    else:
        profile = parse_profile(read_text(path), source=str(path), folder=path.parent, **changes)
    return checked_profile(profile, source=str(path or "options"), otherwise=" there or as --rate")


def checked_profile(profile: LoadProfile, *, source: str, otherwise: str = "") -> LoadProfile:
    """Return a profile that says how much is to be sent."""
    if profile.model is Model.OPEN and profile.rate is None:
        raise PlanError(f"{source}: rate: missing, it has to be given{otherwise}")
    return profile


def shortfall(profile: LoadProfile) -> str:
    """Return why the test cannot pass as it is, or an empty text: too few requests to show a small error share."""
    if profile.model is Model.CLOSED or profile.rate is None:
        return ""
    limit = min(profile.criteria.errors_below, 1 - profile.criteria.success_above)
    needed, due = requests_for(limit, 0, 0), requests_due(profile.stages(profile.rate))
    if needed is None or due >= needed:
        return ""
    least = f"to show fewer than {format_ratio(limit)} errors takes {needed:,}"
    return f"{due:,.0f} requests are at best inconclusive: {least}"


def target_of(profile: LoadProfile) -> str:
    """Return where the load goes: the profile's URL, else the gateway of the embedded backend that runs here."""
    from wiring.composition import running_gateway  # kubernetes comes with it, which a test of a URL can do without

    url = profile.url or running_gateway(Settings().state / "demo")
    if url is None:
        raise PlanError("--url: missing, allowed: where to send requests, such as http://127.0.0.1:8080/")
    checked_target(url, profile.allow)
    return url


def check_against(against: str, profile: LoadProfile, *, find_capacity: bool, accept: bool) -> None:
    """Refuse a base that must not be loaded, or that does not go with what else is wanted."""
    if not against:
        return
    checked_target(against, profile.allow)
    if find_capacity or accept:
        other = "find-capacity" if find_capacity else "accept"
        raise PlanError(f"--against: got it together with --{other}, allowed: without")
    if profile.locustfile is not None:
        raise PlanError("--against: the profile has a locustfile, allowed: with endpoints")


def accepted_runs() -> AcceptedRuns:
    """Return where the runs are kept that later ones are compared with."""
    return AcceptedRuns(Settings().state / "loadtests" / "accepted")


def reports_folder(output: Path | None) -> Path:
    """Return the folder for the reports, made if need be; one of its own where none is named."""
    folder = output or Settings().state / "loadtests" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    try:
        return _own(folder) if output is None else _made(folder)
    except OSError as error:
        raise PlanError(f"--output: got {str(folder)!r} ({error.strerror}), allowed: a folder to write to") from error


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _own(folder: Path) -> Path:
    """Make a folder that no other test has, though it may begin in the same second."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    wanted, number = folder, 1
    while True:
        try:
            wanted.mkdir()
        except FileExistsError:
            number += 1
            wanted = folder.with_name(f"{folder.name}-{number}")
        else:
            return wanted


def write_reports(result: ValidationResult, folder: Path) -> None:
    """Write the report as HTML, JSON, JUnit XML and Markdown."""
    write_text(folder / "report.html", render_validation(result))
    write_text(folder / "result.json", dump_result(result))
    write_text(folder / "junit.xml", validation_junit(result))
    write_text(folder / "summary.md", validation_markdown(result))


@contextmanager
def shown_on(console: Console, profile: LoadProfile) -> Iterator[Progress]:
    """Show the counts as they grow, on a terminal."""
    whole = profile.duration.total_seconds()
    with console.status("starting the load") as status:

        def show(seconds: float, results: LoadResults) -> None:
            left = max(whole - seconds, 0.0)
            counts = f"{results.requests:,} answers, {results.rate:.1f} a second, {results.failures:,} failed"
            status.update(f"{counts}; {left:.0f} s left")

        yield show


def print_result(result: ValidationResult, folder: Path, console: Console) -> None:
    """Print the verdict, a line a criterion, and where the reports are."""
    head = headline(result)
    colour = {"good": "green", "bad": "red", "open": "yellow"}[head.style]
    console.print(Text.assemble((head.word, f"bold {colour}"), f": {head.reason}"), soft_wrap=True)
    for finding in result.findings:
        console.print(f"  {finding.outcome:12}  {finding.reason}", soft_wrap=True)
    if result.comparison is not None:
        beside = comparison_title(result.comparison)
        for finding in result.comparison.findings:
            console.print(f"  {finding.outcome:12}  {beside}: {finding.reason}", soft_wrap=True)
    if result.capacity is not None:
        rate = (
            "none that was tried" if result.capacity.rate is None else f"{format_number(result.capacity.rate)} a second"
        )
        console.print(f"  capacity      {rate}. {result.capacity.bounded_by}", soft_wrap=True)
    for note in result.notes:
        console.print(f"  note          {note}", soft_wrap=True)
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True)
