"""A load test from start to result."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from loadtest.load_spec import LoadSpec
from loadtest.profile import LoadProfile
from loadtest.results import LoadResults
from loadtest.runner import LoadRun
from loadtest.schedule import Stages, duration, steady
from loadtest.validation.capacity import find_capacity
from loadtest.validation.comparison import compare_runs
from loadtest.validation.load_verdict import LoadEvidence, judge_load, total_counts, with_capacity, with_comparison
from loadtest.validation.paired import compare_interleaved, stretch_seconds
from loadtest.validation.spec_from_profile import load_spec, user_locustfile, with_base
from rollout.errors import PlanError, SetupError
from rollout.load_test_result import Comparison, ValidationResult, dump_result, parse_result
from rollout.model import Outcome

Progress = Callable[[float, LoadResults], None]
_TICK_SECONDS = 0.5
_SLACK_SECONDS = 5.0
"""How much longer than asked for a run may take to send everything, on a machine that is busy."""


def run_load_test(
    profile: LoadProfile,
    url: str,
    *,
    folder: Path,
    files: Path = Path(),
    stages: Stages | None = None,
    against: str = "",
    on_progress: Progress | None = None,
) -> ValidationResult:
    """Put the profile's load on a URL, and return the judged result.

    Parameters
    ----------
    profile, url
        What to send, and where to.
    folder
        Where counts and logs are written.
    files
        Where the profile's own files are.
    stages
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
    spec = load_spec(profile, url, folder=files, stages=stages)
    if against:
        requested = profile.duration.total_seconds() if spec.users else duration(spec.stages)
        spec = spec.model_copy(update={"window_seconds": stretch_seconds(requested)})
    both = with_base(spec, _base_spec(profile, against, files, stages)) if against else spec
    load, began = LoadRun(both, folder, locustfile=user_locustfile(profile, files)), datetime.now(UTC)
    seconds = profile.duration.total_seconds() if spec.users else duration(spec.stages)
    try:
        load.start(any_answer=True)
        _wait_until_sent(load, began, seconds, may_end=profile.locustfile is not None, on_progress=on_progress)
    finally:
        load.stop()
    evidence = LoadEvidence(
        spec, began, datetime.now(UTC), load.stats(), load.windows(), load.lost, exit_code=load.exit_code
    )
    result = judge_load(evidence, profile, url=url)
    return with_comparison(result, _compared_with_base(load, evidence, profile, against)) if against else result


def _base_spec(profile: LoadProfile, against: str, files: Path, stages: Stages | None) -> LoadSpec:
    if profile.locustfile is not None:
        raise PlanError("against: got it with a locustfile, allowed: with endpoints")
    return load_spec(profile, against, folder=files, stages=stages)


def _compared_with_base(load: LoadRun, evidence: LoadEvidence, profile: LoadProfile, against: str) -> Comparison:
    comparison = compare_interleaved(
        evidence.windows_in_time,
        evidence.in_time(load.base_windows()),
        against=against,
        slower_below=profile.criteria.slower_below,
    )
    return comparison.model_copy(update={"base": total_counts(load.base_stats())})


def _wait_until_sent(
    load: LoadRun, began: datetime, seconds: float, *, may_end: bool, on_progress: Progress | None
) -> None:
    """Wait until all has been sent; the closed model's users go on until their time is up.

    A user's locustfile may end the run by itself: its shape is over, or a listener of its own called `quit()`.
    """
    while True:
        stats = load.stats()
        if may_end and stats.finished:
            load.wait_ended(_SLACK_SECONDS)
            return
        if load.pid is None:
            raise SetupError(f"the load generator ended by itself after {stats.seconds:.0f} s: {load.exit_reason}")
        if on_progress is not None:
            on_progress(stats.seconds, load.results())
        elapsed = (datetime.now(UTC) - began).total_seconds()
        if stats.done or stats.seconds >= seconds or elapsed > seconds + _SLACK_SECONDS + 30:
            return
        load.wait(min(_TICK_SECONDS, max(seconds - stats.seconds, 0.05)))


class AcceptedRuns:
    """A folder with the last accepted result of each settings.

    Parameters
    ----------
    folder
        Made when the first result is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def last(self, settings: str) -> ValidationResult | None:
        """Return the last accepted run of these settings, or None; a file that cannot be read is none."""
        try:
            return parse_result(self._file(settings).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, PlanError):
            return None

    def save(self, result: ValidationResult) -> None:
        """Make this run the one that the next is compared with."""
        path = self._file(result.settings)
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            path.with_suffix(".new").write_text(dump_result(result), encoding="utf-8")
            path.with_suffix(".new").replace(path)
        except OSError as error:
            raise SetupError(f"keep the accepted run in {self._folder}: {error.strerror}") from error

    def _file(self, settings: str) -> Path:
        return self._folder / f"{settings}.json"


def with_last_accepted(result: ValidationResult, profile: LoadProfile, accepted_runs: AcceptedRuns) -> ValidationResult:
    """Return the result, compared with the last accepted run of the same settings, if there is one."""
    before = accepted_runs.last(result.settings)
    if before is None:
        return result
    return with_comparison(result, compare_runs(result, before, slower_below=profile.criteria.slower_below))


def accept(result: ValidationResult, accepted_runs: AcceptedRuns, *, whatever: bool = False) -> None:
    """Keep a run that passed (or whatever came of it) as the one that the next is compared with."""
    if whatever or result.outcome is Outcome.PASS:
        accepted_runs.save(result)


def search_capacity(
    result: ValidationResult, profile: LoadProfile, url: str, *, folder: Path, files: Path = Path()
) -> ValidationResult:
    """Return the result with the highest rate that met the criteria; each rate is put on for the profile's duration.

    Raises
    ------
    PlanError
        The profile is of the closed model, which has no rate to search.
    """
    if profile.rate is None or load_spec(profile, url, folder=files).users:
        raise PlanError("--find-capacity: the profile is of the closed model, allowed: with a rate and model open")
    seconds, ceiling = profile.duration.total_seconds(), profile.ceiling

    def run_at(rate: float) -> ValidationResult:
        changed = profile.model_copy(update={"rate": rate})
        return run_load_test(changed, url, folder=folder / f"{rate:g}", files=files, stages=steady(rate, seconds))

    return with_capacity(result, find_capacity(run_at, start=profile.rate, ceiling=ceiling), profile)
