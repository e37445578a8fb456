"""Synthetic load beside the real traffic: just as much as the decision still needs, and its share told."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from conductor.load.restart import keep_alive
from conductor.state.rollout_run import Run
from rollout.errors import UnavailableError
from rollout.formatting import format_ratio
from rollout.load import NOBODY, LoadMode, unanswered_kinds
from rollout.model import Basis, Finding, Outcome, Track, Trouble, Verdict
from rollout.plan import RolloutPlan, Step

BASELINE_REQUESTS = 1000
"""What the judge learns from stable alone, where its own traffic does not suffice."""
RESERVE = 1.1
"""A little more than is needed, because what is needed is an estimate."""
FIRST_RATE = 10.0
"""Requests a second to begin with."""
STEEPEST = 2.0
"""Times by which the rate may grow from one scrape to the next: a service that scales has to be given the time."""
FEWEST_SCRAPES = 10
"""Over how many scrapes what the judge learns from is spread at least, where the plan observes stable for less."""
HEARD_EACH_SCRAPE = 2.0
"""Canary requests a scrape that are sent in any case: a canary that nobody asks is a blind spot, not a pass."""
CHANGE = 0.1
"""Share by which a wanted rate has to differ before the load generator is told."""
UNANSWERED = 3
"""Requests that no copy of the service answered before it is said: one may be a connection that broke."""


def fewest_requests(plan: RolloutPlan) -> int:
    """Return how many canary requests a healthy step takes at least: with no error at all, to show the limit is kept.

    log(1 / beta) / -log(1 - limit), and a quarter for the mixture over effects.
    """
    limit = max(plan.criteria.errors.healthy_below, 1e-6)
    return math.ceil(1.25 * math.log(1 / plan.beta) / -math.log1p(-limit))


def topped_up_rate(*, need: int, seconds: float, share: float, real: float, ceiling: float) -> float:
    """Return the synthetic rate, in requests a second, that makes up what the real traffic lacks.

    Parameters
    ----------
    need
        Canary requests that are still missing.
    seconds
        Time in which they should come.
    share
        The canary's share of all requests, 0-1.
    real
        The real traffic's rate, both tracks.
    ceiling
        What is never passed.

    >>> topped_up_rate(need=600, seconds=60, share=0.2, real=2, ceiling=100)
    53.0
    """
    return min(max(RESERVE * need / seconds / share - real, 0.0), ceiling)


def steer_load(run: Run, verdict: Verdict | None, now: datetime) -> None:
    """Let the load generator send what the decision still needs."""
    load, plan = run.ports.load, run.plan.load
    if load is None or not keep_alive(run, load, now):
        return
    _note_counts(run, now)
    if run.load.instead_since is not None:
        instead = f"metrics source down: {run.load.because}; judging by the clients' own counts"
        run.note_alarm(Trouble.JUDGED_BY_CLIENTS, instead, now)
    if plan.mode is LoadMode.TOP_UP:
        wanted = min(_wanted(run, verdict, now), max(STEEPEST * run.load.rate, FIRST_RATE))
        if abs(wanted - run.load.rate) > CHANGE * max(run.load.rate, 1.0):
            _set_rate(run, wanted, now)


def _set_rate(run: Run, rate: float, now: datetime) -> None:
    try:
        if run.ports.load is not None:
            run.ports.load.set_rate(rate)
            run.load.rate = rate
    except UnavailableError as error:
        run.note_alarm(Trouble.LOAD_RATE_NOT_SET, f"cannot steer the load: {error}", now)


def _wanted(run: Run, verdict: Verdict | None, now: datetime) -> float:
    ceiling, step = run.plan.load.ceiling, run.step
    if step is None:
        seconds = max(run.plan.baseline.observe, FEWEST_SCRAPES * run.plan.scrape).total_seconds()
        return topped_up_rate(need=BASELINE_REQUESTS, seconds=seconds, share=1.0, real=0.0, ceiling=ceiling)
    trickle = HEARD_EACH_SCRAPE / (step.canary / 100) / run.plan.scrape.total_seconds()
    wanted = topped_up_rate(
        need=_needed(run, verdict),
        seconds=_time_left(step, run.step_since, now).total_seconds(),
        share=step.canary / 100,
        real=_real_rate(run, now),
        ceiling=ceiling,
    )
    return max(wanted, min(trickle, ceiling))


def _needed(run: Run, verdict: Verdict | None) -> int:
    """Canary requests still missing: as the judge says once it can, by the plan's limits before.

    An estimate that few requests gave may be wild: past the plan's limits it is believed as far as twice the count.
    """
    counted = run.step_canary_requests
    by_limits = max(fewest_requests(run.plan) - counted, 1)
    if verdict is None:
        return by_limits
    if verdict.outcome is Outcome.PASS:
        return 0
    said = [f.requests_needed for f in verdict.findings if f.requests_needed and f.outcome is Outcome.INCONCLUSIVE]
    return min(max(said, default=by_limits), max(by_limits, counted))


def _time_left(step: Step, since: datetime | None, now: datetime) -> timedelta:
    left = step.bake if since is None else step.bake - (now - since)
    return max(left, step.bake / 5)


def _real_rate(run: Run, now: datetime) -> float:
    if run.step_since is None or (seconds := (now - run.step_since).total_seconds()) < 1:
        return 0.0
    return max(run.step_requests - sum(run.load.in_step().requests.values()), 0) / seconds


def _note_counts(run: Run, now: datetime) -> None:
    load = run.ports.load
    if load is None:
        return
    run.load.take(load.counts(), (run.step_index, run.step_since))
    share = synthetic_share(run)
    readings = {"synthetic.rate": run.load.rate} | ({} if share is None else {"synthetic.share": share})
    run.note_readings(readings, now)


def synthetic_share(run: Run) -> float | None:
    """Return the synthetic share (0-1) of the canary's requests in this step, or None while nothing was counted."""
    counted = run.step_canary_requests
    ours = run.load.in_step().requests.get(Track.CANARY, 0)
    return min(ours / counted, 1.0) if counted and ours else None


def with_clients(run: Run, verdict: Verdict) -> Verdict:
    """Return the verdict with what the clients counted on their side: none of it weighs in the outcome."""
    if run.ports.load is None:
        return verdict
    return replace(verdict, findings=(*verdict.findings, *_client_findings(run)))


def _client_findings(run: Run) -> Iterator[Finding]:
    clients = run.load.in_step()
    if run.load.instead_since is not None:
        told = f"judged by the clients' own counts since {run.load.instead_since:%H:%M:%S} UTC, for want of the mesh's"
        yield Finding("source", Basis.CLIENTS, Outcome.INCONCLUSIVE, f"{told}: {run.load.because}")
    if (share := synthetic_share(run)) is not None:
        ours = min(clients.requests.get(Track.CANARY, 0), run.step_canary_requests)  # they know of it a scrape earlier
        requests = f"{ours:,} of {run.step_canary_requests:,} canary requests"
        told = f"{format_ratio(share)} of the evidence is synthetic: {requests}"
        yield Finding("synthetic load", Basis.CLIENTS, Outcome.PASS, told, estimate=share, unit="ratio")
    unanswered = clients.errors.get(NOBODY, 0)
    if unanswered >= UNANSWERED:
        kinds = ", ".join(f"{kind} ({n:,})" for kind, n in unanswered_kinds(clients.kinds).items())
        told = f"clients got {unanswered:,} errors that no pod answered and so none counted: {kinds}"
        yield Finding("clients and pods disagree", Basis.CLIENTS, Outcome.INCONCLUSIVE, told, estimate=unanswered)
