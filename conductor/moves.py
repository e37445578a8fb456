"""Moves: baseline check, shift, promote, roll back. Each a short ordered list of port calls."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta

from analysis.scrapes.reading import observed_share
from conductor import mirroring
from conductor.history import learn_history
from conductor.readiness import ready_within
from conductor.routing import adopt, go_home, note_weights, set_weights
from conductor.state.journal import PATIENCE
from conductor.state.rollout_run import Run
from conductor.watch import watch_until
from rollout.decide import Hold, RollBack
from rollout.errors import NoSamplesError, RolloutError, UnavailableError
from rollout.events import (
    BaselineChecked,
    Ended,
    EndState,
    Scaled,
    StepStarted,
    WeightsObserved,
)
from rollout.formatting import format_span
from rollout.model import (
    AT_REST,
    Pod,
    Track,
    Trouble,
    Weights,
)

SPLIT_CHECK_REQUESTS = 200
"""Requests after which the observed share is compared with the weight."""
SPLIT_TOLERANCE_SIGMAS = 3.29
"""The two-sided 99.9 % interval of the binomial, by its normal approximation."""
UNREAD = timedelta(minutes=1)
"""How long a baseline without any request waits for the first one, beyond its own time."""
DRAINED_WITHIN = timedelta(seconds=10)


def check_baseline(run: Run) -> RollBack | None:
    """Watch stable alone: all pods ready, all traffic on it, healthy by the plan's own limits.

    What is counted here is the judge's history. Returns the reason to stop if there is one.
    """
    if run.baseline_done:
        return None
    set_weights(run, AT_REST, "baseline")
    wanted, within = run.plan.stable.replicas, ready_within(run.plan, run.ports.workloads, Track.STABLE)
    stop = watch_until(run, lambda: _ready(run, Track.STABLE, wanted), timeout=within)
    if stop is not True:
        return stop or RollBack(f"stable is not ready: fewer than {wanted} pods after {format_span(within)}")
    if unfit := learn_history(run):
        return unfit
    observe = run.plan.baseline.observe
    end = run.ports.clock.now() + observe
    # Metrics that cannot be read are no unhealthy stable: they are waited for.
    stop = watch_until(run, lambda: run.ports.clock.now() >= end and _has_seen_stable(run), timeout=observe + UNREAD)
    return stop if isinstance(stop, RollBack) else _judge_baseline(run)


def _has_seen_stable(run: Run) -> bool:
    return run.judge.baseline(run.evidence).requests > 0


def _judge_baseline(run: Run) -> RollBack | None:
    summary = run.judge.baseline(run.evidence)
    run.note(
        BaselineChecked(
            at=run.ports.clock.now(),
            reason="fit to be compared with" if summary.healthy else summary.reason,
            requests=summary.requests,
            error_ratio=summary.error_ratio,
            latency_ms=summary.latency_ms,
            history_seconds=run.history_seconds,
        )
    )
    run.baseline_done = summary.healthy
    run.save()
    return None if summary.healthy else RollBack(f"stable itself is not healthy: {summary.reason}")


def mirror(run: Run) -> RollBack | Hold | None:
    """Let the canary have copies of live requests first, where the plan says so."""
    asked = run.plan.mirror
    if asked is None or run.step_index is not None:
        return None
    return await_resumed(run) or scale_up(run, asked.replicas) or mirroring.mirror(run, asked)


def shift(run: Run, step_index: int) -> RollBack | Hold | None:
    """Take the rollout to a step: scale, wait until ready, route, and see the split in the traffic.

    The judge watches all the while. Returns the reason not to go on if there is one.
    """
    step = run.plan.steps[step_index]
    if _stands(run, step_index):
        return None
    if stop := await_resumed(run) or scale_up(run, step.replicas) or _await_record(run):
        return stop
    run.step_index, run.step_since, run.asked_since, run.passed = step_index, None, None, ""
    run.step_requests, run.step_canary_requests, run.is_counting = 0, 0, False
    split = Weights.with_canary(step.canary)
    put = watch_until(run, lambda: _shifted(run, split, f"step {step.name}"), timeout=step.deadline)
    if put is not True:
        return put or _unseen_split(run)
    began = run.ports.clock.now()
    seen = watch_until(run, lambda: _split_seen(run, began), timeout=step.deadline, every=run.plan.scrape / 2)
    if isinstance(seen, RollBack):
        return seen
    if not seen:
        return _unseen_split(run)
    run.step_since = run.ports.clock.now()
    run.note(StepStarted(at=run.step_since, step=step.name, canary=step.canary))
    run.save()
    return None


def _stands(run: Run, step_index: int) -> bool:
    """Whether the rollout was taken over at this very step, with its split seen and still in force."""
    return run.step_index == step_index and run.step_since is not None and run.ports.router.read_weights() == run.asked


def await_resumed(run: Run) -> RollBack | Hold | None:
    """Go no further while a person holds the rollout, but not for ever."""
    stop = watch_until(run, lambda: not run.words.paused, timeout=run.plan.horizon, every=run.plan.scrape / 2)
    if isinstance(stop, RollBack):
        return stop
    return None if stop else Hold(run.words.paused, needs_person=True)


def _await_record(run: Run) -> RollBack | None:
    """Give the canary no more traffic before it is on record what for."""
    stop = watch_until(run, run.journal.flush, timeout=2 * PATIENCE)
    return stop if isinstance(stop, RollBack) else None


def scale_up(run: Run, replicas: int) -> RollBack | None:
    """Give the canary this many ready pods. Returns the reason not to go on if there is one."""
    began = run.ports.clock.now()
    within = ready_within(run.plan, run.ports.workloads, Track.CANARY)
    stop = watch_until(run, lambda: _scaled(run, replicas), timeout=within)
    if stop is True:
        stop = watch_until(run, lambda: _canary_ready(run, replicas, began), timeout=within)
    if isinstance(stop, RollBack):
        return stop
    if not stop:
        return RollBack(
            f"canary is not ready: fewer than {replicas} pods after {format_span(within)}{_waiting(_pods(run))}"
        )
    now = run.ports.clock.now()
    seconds = (now - began).total_seconds()
    run.note(Scaled(at=now, track=Track.CANARY, replicas=replicas, seconds=seconds))
    return None


def _scaled(run: Run, replicas: int) -> bool:
    """Return whether the pods were asked for; who does not take the word now is asked again, and people are told."""
    try:
        run.ports.workloads.scale(Track.CANARY, replicas)
    except UnavailableError as error:
        run.note_alarm(Trouble.PODS_NOT_READY, f"the canary cannot be scaled now: {error}", run.ports.clock.now())
        return False
    return True


def _shifted(run: Run, weights: Weights, reason: str) -> bool:
    """Return whether the split is in force; a gateway that does not answer now is asked again."""
    try:
        set_weights(run, weights, reason)
    except UnavailableError as error:
        run.note_alarm(Trouble.WEIGHTS_UNSEEN, f"the split cannot be set now: {error}", run.ports.clock.now())
        return False
    return True


def _unseen_split(run: Run) -> RollBack | Hold:
    seen = f": {run.mismatch}" if run.mismatch else ""
    asked = f"{run.asked.canary} % was asked for and not seen in the traffic{seen}"
    return RollBack(asked) if run.plan.when_inconclusive == "rollback" else Hold(asked, needs_person=True)


def _split_seen(run: Run, began: datetime, *, least: int = SPLIT_CHECK_REQUESTS) -> bool:
    # Samples scraped before the gateway flushed its counters still show the old split, and so do requests that were
    # under way when it changed: they are counted when they end, which the route's timeout sees to.
    flushed = began + run.plan.scrape
    counts = (_counted(run, since) for since in (flushed, flushed + run.plan.timeout))
    found = next((one for one in counts if one and one[1] >= least and agrees(*one, run.asked.canary / 100)), None)
    if found is None:
        return False
    canary, total = found
    now = run.ports.clock.now()
    run.note(
        WeightsObserved(
            at=now,
            canary=run.asked.canary,
            observed=canary / total,
            requests=total,
            seconds=(now - began).total_seconds(),
        )
    )
    return True


def _counted(run: Run, since: datetime) -> tuple[int, int] | None:
    """Return the canary's requests and all of them since a moment; None where it is to come, or nothing was read."""
    if run.ports.clock.now() < since:
        return None
    try:
        return observed_share(run.ports.metrics.read(since))
    except (UnavailableError, NoSamplesError):
        return None


def agrees(canary: int, total: int, share: float) -> bool:
    """Return whether a count of canary requests fits the share asked for (binomial, 99.9 %).

    >>> agrees(212, 1000, 0.2), agrees(300, 1000, 0.2), agrees(0, 500, 0.0), agrees(1, 500, 0.0)
    (True, False, True, False)
    """
    return abs(canary - total * share) <= SPLIT_TOLERANCE_SIGMAS * math.sqrt(total * share * (1 - share))


def promote(run: Run) -> Ended:
    """End the rollout with the canary in service; the old version stays warm for the plan's retention."""
    adopt(run)
    judged = run.passed or (run.last_verdict.reason if run.last_verdict else "all steps passed")
    kept = f"{run.plan.stable.version} stays ready for {format_span(run.plan.retention)}"
    return run.note_end(EndState.PROMOTED, f"{judged}; {kept}")


def roll_back(run: Run, reason: str, *, state: EndState = EndState.ROLLED_BACK, cause: str = "") -> Ended:
    """Put all traffic on stable, see that it is, and only then scale the canary down."""
    run.step_index = None  # from here on nothing is judged, and nothing may stop this
    if not run.is_home:
        note_weights(run, go_home(run, reason))
    began = run.ports.clock.now()
    run.save()
    _await_drained(run, began)
    _end_mirror(run)
    _clear_drill(run)
    _scale_down(run)
    return run.note_end(state, reason, cause)


def _end_mirror(run: Run) -> None:
    """See that no copies go to pods that are about to end; users are not touched by them."""
    if run.plan.mirror is None:
        return
    try:
        run.ports.router.set_mirror(0)
    except RolloutError as error:
        run.note_alarm(Trouble.MIRROR_NOT_ENDED, f"the mirror could not be ended: {error}", run.ports.clock.now())


def _clear_drill(run: Run) -> None:
    """See that no later canary fails because of a drill; the marked requests' route went with the split's write."""
    if not run.drill or run.ports.drills is None:
        return
    try:
        run.ports.drills.clear_drill()
    except RolloutError as error:
        run.note_alarm(
            Trouble.DRILL_NOT_CLEARED, f"the canary may still fail on purpose: {error}", run.ports.clock.now()
        )


def _scale_down(run: Run) -> None:
    try:
        run.ports.workloads.scale(Track.CANARY, 0)
    except UnavailableError as error:  # its pods get no traffic: that they still run harms nobody
        stays = f"the canary could not be scaled down: {error}"
        run.note_alarm(Trouble.CANARY_NOT_SCALED_DOWN, stays, run.ports.clock.now())
    else:
        run.note(Scaled(at=run.ports.clock.now(), track=Track.CANARY, replicas=0, seconds=0.0))


def _await_drained(run: Run, began: datetime) -> None:
    """Wait until the traffic itself shows that none of it reaches the canary, but not for ever."""
    end = began + max(DRAINED_WITHIN, run.plan.timeout + 3 * run.plan.scrape)
    while run.ports.clock.now() < end:
        run.rest(run.plan.scrape / 2)
        if _split_seen(run, began, least=1):
            return
    unseen = f"all traffic is on stable by the gateway's own word; {_counted_since(run, began)}"
    run.note_alarm(Trouble.TRAFFIC_NOT_DRAINED, unseen, end)


def _counted_since(run: Run, began: datetime) -> str:
    """Return what keeps the counts from showing that the traffic has left the canary."""
    try:
        canary, total = observed_share(run.ports.metrics.read(began + run.plan.scrape))
    except (UnavailableError, NoSamplesError) as error:
        return f"its requests could not be counted since: {error}"
    return f"of {total} requests counted since {canary} reached the canary" if total else "no request was counted since"


def _ready(run: Run, track: Track, replicas: int) -> bool:
    return sum(pod.ready for pod in _pods(run) if pod.track is track) >= replicas


def _canary_ready(run: Run, replicas: int, began: datetime) -> bool:
    """Return whether the canary has its pods; what they wait for after a scrape is told at once, as it may be long."""
    pods, now = _pods(run), run.ports.clock.now()
    if sum(pod.ready for pod in pods if pod.track is Track.CANARY) >= replicas:
        return True
    if now - began >= run.plan.scrape and (reasons := _waiting(pods)):
        run.note_alarm(Trouble.PODS_NOT_READY, f"the canary's pods are not ready yet{reasons}", now)
    return False


def _waiting(pods: Sequence[Pod]) -> str:
    waiting = {pod.waiting for pod in pods if pod.track is Track.CANARY}
    reasons = sorted(waiting - {"", "Terminating"})
    return f" ({', '.join(reasons)})" if reasons else ""


def _pods(run: Run) -> tuple[Pod, ...]:
    try:
        return run.ports.workloads.pods()
    except UnavailableError:
        return ()
