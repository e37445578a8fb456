"""The load-test validation flow: by hand from the Prefect UI, or on a schedule."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Completed, Failed

from flows.canary import as_task
from flows.page.forms import filled_in, log_to_prefect, refused
from loadtest.profile import LoadProfile
from loadtest.validation import validation_run
from report.loadtest.validation_page import headline
from report.loadtest.validation_rows import row_of
from report.loadtest.validation_texts import validation_markdown
from rollout.errors import PlanError, RolloutError
from rollout.load_test_result import ValidationResult
from rollout.model import Outcome
from wiring.load_test import (
    accepted_runs,
    check_against,
    checked_profile,
    reports_folder,
    target_of,
    write_reports,
)

USUAL = LoadProfile(name="load test", rate=50.0, duration=timedelta(minutes=1))
"""What the form begins with: just enough requests to show an error share below 0.1 %."""


def run_name() -> str:
    """Return what Prefect calls a run: the test's name, or its target, and how much is sent."""
    given = flow_run.parameters.get("profile", USUAL)
    try:
        profile = filled_in("profile", given, LoadProfile)
    except PlanError:
        return "a load test that is refused"
    amount = f"{profile.users} users" if profile.users else f"{profile.rate or 0:g} a second"
    return f"{profile.name or profile.url or USUAL.name}, {amount}"


@flow(name="load_test_validation", flow_run_name=run_name, validate_parameters=False)
def load_test_validation(
    profile: LoadProfile = USUAL,
    find_capacity: bool = False,
    accept: bool = False,
    against: str = "",
    files: Path = Path(),
) -> State[Any]:
    """Put a load on a service, judge it, and publish the validation report.

    Args:
        profile: What to send and what has to hold, as in loadtest.yaml. Without a url: the embedded backend's gateway.
        find_capacity: Whether to search the highest rate that meets the criteria, afterwards.
        accept: Whether later runs are compared with this one, whatever comes of it.
        against: Where a base answers that is sent the same requests in turns, and compared with.
        files: Folder of the profile's own files, such as bodies.
    """
    log_to_prefect()
    try:
        return _validated(
            filled_in("profile", profile, LoadProfile),
            find_capacity=filled_in("find_capacity", find_capacity, bool),
            accept=filled_in("accept", accept, bool),
            against=filled_in("against", against, str),
            files=filled_in("files", files, Path),
        )
    except RolloutError as error:
        return refused(error)


def _validated(profile: LoadProfile, *, find_capacity: bool, accept: bool, against: str, files: Path) -> State[Any]:
    checked_profile(profile, source="profile")
    url = target_of(profile)
    check_against(against, profile, find_capacity=find_capacity, accept=accept)
    folder = reports_folder(None)
    load = folder.absolute() / "load"
    result = as_task(
        f"load {url}", validation_run.run_load_test, profile, url, folder=load, files=files, against=against
    )
    if not against:
        result = as_task(
            "compare with the last accepted run", validation_run.with_last_accepted, result, profile, accepted_runs()
        )
    if find_capacity:
        result = as_task(
            "find the capacity", validation_run.search_capacity, result, profile, url, folder=load, files=files
        )
    if not against:
        validation_run.accept(result, accepted_runs(), whatever=accept)
    write_reports(result, folder)
    publish(result, folder)
    return final_state(result)


def publish(result: ValidationResult, folder: Path) -> None:
    """Show the report on the flow run's page, in all its forms."""
    if FlowRunContext.get() is None:
        return
    head, folder = headline(result), folder.absolute()
    page = folder / "report.html"
    markdown = f"{validation_markdown(result)}\nThe whole report, with charts: `{page}`\n"
    create_markdown_artifact(key="load-test", markdown=markdown, description=f"{head.word}: {head.reason}")
    create_table_artifact(key="load-test-criteria", table=criteria(result), description=f"{result.name}: {head.word}")
    create_link_artifact(key="load-test-report", link=page.as_uri(), link_text="validation report (HTML)")
    for key, file, kind in (("junit", "junit.xml", "xml"), ("json", "result.json", "json")):
        text = (folder / file).read_text(encoding="utf-8").rstrip()
        create_markdown_artifact(
            key=f"load-test-{key}", markdown=f"`{folder / file}`\n\n```{kind}\n{text}\n```\n", description=result.name
        )


def criteria(result: ValidationResult) -> list[dict[str, str]]:
    """Return the criteria as a table's rows."""
    rows = [row_of(finding) for finding in result.findings]
    return [
        {
            "criterion": row.criterion,
            "verdict": str(row.outcome),
            "measured": row.estimate,
            "95 % bounds": row.interval,
            "limit": row.limit,
        }
        for row in rows
    ]


def final_state(result: ValidationResult) -> State[None]:
    """Return the flow's final state: it says the verdict, and only a pass is a success."""
    head = headline(result)
    message = f"{head.word}: {head.reason}"
    if result.outcome is Outcome.PASS:
        return Completed(name=head.word, message=message)
    return Failed(name=head.word, message=message)
