"""The load-test validation flow: by hand from the Prefect UI, or on a schedule."""

from pathlib import Path

from prefect import State, flow
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from flows.canary import as_task
from flows.validating import accepted_runs, reports_folder, target_of, write_reports
from loadtest import trial
from loadtest.profile import LoadProfile
from report.validation_page import headline
from report.validation_texts import validation_junit, validation_markdown
from rollout.model import Outcome
from rollout.validation import ValidationResult, dump_result


@flow(name="load_test_validation", flow_run_name="load test of {profile.name}")
def load_test_validation(
    profile: LoadProfile, find_capacity: bool = False, accept: bool = False, files: Path = Path()
) -> State[None]:
    """Put a load on a service, judge it, and publish the validation report.

    Args:
        profile: What to send and what has to hold, as in loadtest.yaml. Without a url: the embedded backend's gateway.
        find_capacity: Whether to search the highest rate that meets the criteria, afterwards.
        accept: Whether later runs are compared with this one, whatever comes of it.
        files: Folder of the profile's own files, such as bodies.
    """
    url, folder = target_of(profile), reports_folder(None)
    load = folder.absolute() / "load"
    result = as_task(f"load {url}", trial.run_trial, profile, url, folder=load, files=files)
    result = as_task("compare with the last accepted run", trial.compare, result, profile, accepted_runs())
    if find_capacity:
        result = as_task("find the capacity", trial.search_capacity, result, profile, url, folder=load, files=files)
    trial.accept(result, accepted_runs(), whatever=accept)
    write_reports(result, folder)
    publish(result, folder)
    return final_state(result)


def publish(result: ValidationResult, folder: Path) -> None:
    """Show the report on the flow run's page, in all four forms."""
    if FlowRunContext.get() is None:
        return
    create_markdown_artifact(key="load-test", markdown=validation_markdown(result), description=headline(result).reason)
    page = (folder.absolute() / "report.html").as_uri()
    create_link_artifact(key="load-test-report", link=page, link_text="validation report (HTML)")
    create_markdown_artifact(key="load-test-junit", markdown=f"```xml\n{validation_junit(result)}```")
    create_markdown_artifact(key="load-test-json", markdown=f"```json\n{dump_result(result)}\n```")


def final_state(result: ValidationResult) -> State[None]:
    """Return the flow's final state: it says the verdict, and only a pass is a success."""
    head = headline(result)
    message = f"{head.word}: {head.reason}"
    if result.outcome is Outcome.PASS:
        return Completed(name=head.word, message=message)
    return Failed(name=head.word, message=message)
