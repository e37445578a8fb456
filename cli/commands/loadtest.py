"""`canary loadtest`: a load test from this terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from loadtest.allowed_targets import HIGHEST_RATE
from rollout.errors import PlanError
from rollout.quantities import parse_duration
from wiring.interruption import interruptible
from wiring.terminal import Terminal


def loadtest(
    url: Annotated[str, typer.Option(help="Where to send requests: loopback, or a host that the profile allows.")] = "",
    profile: Annotated[Path | None, typer.Option(help="The load profile, such as loadtest.yaml.")] = None,
    against: Annotated[
        str, typer.Option(help="Compare with a base that answers here: it gets the same requests, in turns.")
    ] = "",
    rate: Annotated[float | None, typer.Option(help="Requests a second, instead of the profile's.")] = None,
    duration: Annotated[str, typer.Option(help="How long, such as 30s or 5m, instead of the profile's.")] = "",
    users: Annotated[int | None, typer.Option(help="Closed model: so many users who wait for their answers.")] = None,
    processes: Annotated[int | None, typer.Option(help="Workers; above 1 with a master.")] = None,
    find_capacity: Annotated[
        bool, typer.Option("--find-capacity", help="Then search the highest rate that meets the criteria.")
    ] = False,
    accept_it: Annotated[
        bool, typer.Option("--accept", help="Compare later runs with this one, whatever comes of it.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the four reports.")] = None,
) -> None:
    """Check whether a service carries a load, and write a validation report (HTML, JSON, JUnit XML, Markdown).

    Exit codes: 0 passed, 3 failed, 4 inconclusive (too few requests to tell), 2 bad input, 1 could not run.
    """
    # numpy and scipy come with these, which no other command waits for
    from loadtest.validation.validation_run import accept, run_load_test, search_capacity, with_last_accepted
    from wiring import load_test as test

    folder = profile.parent if profile else Path()
    changes = _changes(url=url, rate=rate, duration=duration, users=users, processes=processes)
    wanted = test.read_profile(profile, changes)
    target = test.target_of(wanted)
    test.check_against(against, wanted, find_capacity=find_capacity, accept=accept_it)
    reports = test.reports_folder(output)
    console = Terminal()
    if too_few := test.shortfall(wanted):
        console.print(f"note: {too_few}", soft_wrap=True)
    with interruptible(), test.shown_on(console, wanted) as progress:
        result = run_load_test(
            wanted, target, folder=reports / "load", files=folder, against=against, on_progress=progress
        )
        if not against:  # half of such a load is the base's: it is no measure for one without
            result = with_last_accepted(result, wanted, test.accepted_runs())
        if find_capacity:
            result = search_capacity(result, wanted, target, folder=reports / "load", files=folder)
    if not against:
        accept(result, test.accepted_runs(), whatever=accept_it)
    test.write_reports(result, reports)
    test.print_result(result, reports, console)
    raise typer.Exit(test.EXIT_CODES[result.outcome])


def _changes(
    *, url: str, rate: float | None, duration: str, users: int | None, processes: int | None
) -> dict[str, Any]:
    """Return what the command line says in place of the profile, each value checked under its option's name."""
    changes: dict[str, Any] = {}
    if url:
        changes["url"] = url
    if rate is not None:
        if not 0 < rate <= HIGHEST_RATE:
            raise PlanError(f"--rate: got {rate:g}, allowed: above 0, at most {HIGHEST_RATE} requests a second")
        changes["rate"] = rate
    if duration:
        try:
            changes["duration"] = parse_duration(duration)
        except ValueError as error:
            raise PlanError(f"--duration: got {duration!r}, {error}") from error
    if users is not None:
        changes |= {"model": "closed", "users": users}
    if processes is not None:
        changes["processes"] = processes
    return changes
