"""A split in the traffic that is not the one asked for: what it comes from, by what else can be seen."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from analysis.scrapes.reading import counted_by_pods, observed_share
from analysis.verdict.blockers import Clues, with_clues
from conductor.state.rollout_run import Run
from rollout.errors import NoSamplesError, UnavailableError
from rollout.load import NOBODY
from rollout.model import Basis, Track, Trouble, Verdict

LOOK_BACK = timedelta(minutes=1)
"""Over how long the pods' own counts are held against the gateway's."""
STANDS_SCRAPES = 2
"""Scrapes that a wrong split has to stand for before people are told: a canary that is slow at first catches up."""
LOOK_AGAIN = timedelta(seconds=30)
"""How often that is asked, while the split is wrong."""


def with_cause(run: Run, verdict: Verdict, now: datetime) -> Verdict:
    """Return the verdict with the cause of a wrong split named, and tell people of one that stands."""
    found = next((finding for finding in verdict.findings if finding.basis is Basis.SAMPLE_RATIO), None)
    if found is None or run.step is None:
        run.mismatch, run.mismatch_since = "", None
        run.load.note_right_split()
        return verdict
    named = with_clues(found, _clues(run, now))
    run.mismatch, run.mismatch_since = named.reason, run.mismatch_since or now
    if named.mismatch and now - run.mismatch_since >= STANDS_SCRAPES * run.plan.scrape:
        cause = named.mismatch.cause
        wrong = f"{run.step.name}: the traffic is not split as asked; likely cause: {cause}"
        run.note_alarm(Trouble.SPLIT_MISMATCH, wrong, now, subject=cause)
    return replace(verdict, findings=tuple(named if one is found else one for one in verdict.findings))


def _clues(run: Run, now: datetime) -> Clues:
    own = run.load.while_wrong()
    answered = {track: number for track, number in own.requests.items() if track != NOBODY}
    by_pods, by_gateway = _counted(run, now)
    return Clues(
        ready=_ready(run),
        by_pods=by_pods,
        by_gateway=by_gateway,
        own=(answered.get(Track.CANARY, 0), sum(answered.values())),
        refused=own.errors.get(NOBODY, 0),
    )


def _counted(run: Run, now: datetime) -> tuple[int, int]:
    """Return the canary's requests as its pods counted them, and as the gateway did; asked for now and then."""
    if run.copies is None or now - run.copies[0] >= LOOK_AGAIN:
        run.copies = (now, *_ask(run, now))
    return run.copies[1:]


def _ask(run: Run, now: datetime) -> tuple[int, int]:
    since = max(run.step_since or now - 5 * run.plan.scrape, now - LOOK_BACK)
    try:
        samples = run.ports.metrics.read_range(since, now)
    except (UnavailableError, NoSamplesError):
        return 0, 0
    return counted_by_pods(samples, Track.CANARY)[0], observed_share(samples)[0]


def _ready(run: Run) -> int | None:
    try:
        return sum(pod.ready for pod in run.ports.workloads.pods() if pod.track is Track.CANARY)
    except UnavailableError:
        return None
