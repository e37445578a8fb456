"""A load test from start to result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from loadtest.load_spec import LoadOrder
from loadtest.profile import LoadProfile
from loadtest.results import LoadResults
from loadtest.runner import LoadRun
from loadtest.schedule import Legs, duration, steady
from loadtest.validation.accepted import Accepted
from loadtest.validation.capacity import find_capacity
from loadtest.validation.comparison import compared
from loadtest.validation.load_verdict import LoadEvidence, counted_in_all, validated, with_capacity, with_comparison
from loadtest.validation.paired import compared_in_turns, stretch_seconds
from loadtest.validation.spec_from_profile import load_order, user_locustfile, with_base
from rollout.errors import PlanError, SetupError
from rollout.load_test_result import Comparison, ValidationResult
from rollout.model import Outcome

Progress = Callable[[float, LoadResults], None]
_LOOK_SECONDS = 0.5
_SLACK_SECONDS = 5.0
"""How much longer than asked for a run may take to send everything, on a machine that is busy."""


def run_trial(
    profile: LoadProfile,
    url: str,
    *,
    folder: Path,
    files: Path = Path(),
    legs: Legs | None = None,
    against: str = "",
    on_progress: Progress | None = None,
) -> ValidationResult:
    """Put the profile's load on a URL, and return what was found.

    Parameters
    ----------
    profile, url
        What to send, and where to.
    folder
        Where counts and logs are kept.
    files
        Where the profile's own files are.
    legs
        Another rate over time than the profile's.
    against
        Where a base answers that is sent the same requests in turns, and compared with; empty for none.
    on_progress
        Called twice a second with the seconds since the start and the counts so far.

    Raises
    ------
    PlanError
        A target that is not allowed.
    UnavailableError
        Nothing answers at the URL.
    SetupError
        Locust could not run here.
    """
    order = load_order(profile, url, folder=files, legs=legs)
    if against:
        asked = profile.duration.total_seconds() if order.users else duration(order.legs)
        order = order.model_copy(update={"window_seconds": stretch_seconds(asked)})
    sent = with_base(order, _base_order(profile, against, files, legs)) if against else order
    load, began = LoadRun(sent, folder, locustfile=user_locustfile(profile, files)), datetime.now(UTC)
    seconds = profile.duration.total_seconds() if order.users else duration(order.legs)
    try:
        load.start(any_answer=True)
        _follow(load, began, seconds, may_end=profile.locustfile is not None, on_progress=on_progress)
    finally:
        load.stop()
    evidence = LoadEvidence(
        order, began, datetime.now(UTC), load.tally(), load.windows(), load.lost, exit_code=load.exit_code
    )
    result = validated(evidence, profile, url=url)
    return with_comparison(result, _beside_base(load, evidence, profile, against)) if against else result


def _base_order(profile: LoadProfile, against: str, files: Path, legs: Legs | None) -> LoadOrder:
    if profile.locustfile is not None:
        raise PlanError("against: got it with a locustfile, allowed: with endpoints")
    return load_order(profile, against, folder=files, legs=legs)


def _beside_base(load: LoadRun, evidence: LoadEvidence, profile: LoadProfile, against: str) -> Comparison:
    comparison = compared_in_turns(
        evidence.windows_in_time,
        evidence.in_time(load.base_windows()),
        against=against,
        slower_below=profile.criteria.slower_below,
    )
    return comparison.model_copy(update={"base": counted_in_all(load.base_tally())})


def _follow(load: LoadRun, began: datetime, seconds: float, *, may_end: bool, on_progress: Progress | None) -> None:
    """Wait until all has been sent; the closed model's users go on until their time is up.

    A user's locustfile may end the run by itself: its shape is over, or a listener of its own called `quit()`.
    """
    while True:
        tally = load.tally()
        if may_end and tally.finished:
            load.wait_ended(_SLACK_SECONDS)
            return
        if load.pid is None:
            raise SetupError(f"the load generator ended by itself after {tally.seconds:.0f} s: {load.exit_reason}")
        if on_progress is not None:
            on_progress(tally.seconds, load.results())
        took = (datetime.now(UTC) - began).total_seconds()
        if tally.done or tally.seconds >= seconds or took > seconds + _SLACK_SECONDS + 30:
            return
        load.wait(min(_LOOK_SECONDS, max(seconds - tally.seconds, 0.05)))


def compare(result: ValidationResult, profile: LoadProfile, accepted: Accepted) -> ValidationResult:
    """Return the result beside the last accepted run of the same settings, if there is one."""
    before = accepted.last(result.settings)
    if before is None:
        return result
    return with_comparison(result, compared(result, before, slower_below=profile.criteria.slower_below))


def accept(result: ValidationResult, accepted: Accepted, *, whatever: bool = False) -> None:
    """Keep a run that passed (or whatever came of it) as the one that the next is compared with."""
    if whatever or result.outcome is Outcome.PASS:
        accepted.keep(result)


def search_capacity(
    result: ValidationResult, profile: LoadProfile, url: str, *, folder: Path, files: Path = Path()
) -> ValidationResult:
    """Return the result with the highest rate that met the criteria; each rate is put on for the profile's duration.

    Raises
    ------
    PlanError
        The profile is of the closed model, which has no rate to search.
    """
    if profile.rate is None or load_order(profile, url, folder=files).users:
        raise PlanError("--find-capacity: the profile is of the closed model, allowed: with a rate and model open")
    seconds, ceiling = profile.duration.total_seconds(), profile.ceiling

    def tried(rate: float) -> ValidationResult:
        changed = profile.model_copy(update={"rate": rate})
        return run_trial(changed, url, folder=folder / f"{rate:g}", files=files, legs=steady(rate, seconds))

    return with_capacity(result, find_capacity(tried, start=profile.rate, ceiling=ceiling), profile)
