"""A drill of the rollback: a canary that fails on purpose, for marked requests alone, and the chain that ends it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from analysis.scrapes.reading import counted_by_gateway, observed_share
from conductor import moves, watch
from conductor.commands.commands import unfinished
from conductor.commands.last_drill import PARTS
from conductor.commands.last_drill import shown as shown
from conductor.ownership import steering
from conductor.rollout import Do, Stop, plainly
from conductor.state.environment import World
from conductor.state.rollout_run import Run
from rollout.decide import DecisionKind, Hold, RollBack
from rollout.errors import NoSamplesError, PlanError, UnavailableError
from rollout.events import (
    DecisionMade,
    DrillEnded,
    Ended,
    EndState,
    Fault,
    LoadSummary,
    Scaled,
    Started,
    StepStarted,
    VerdictChanged,
    WeightsObserved,
    WeightsSet,
)
from rollout.formatting import format_span
from rollout.load import LoadPlan
from rollout.model import AT_REST, Outcome, Track
from rollout.notices import Notice
from rollout.plan import RolloutPlan, WhenDrifted, WhenInconclusive, WhenOrphaned
from rollout.ports import Clock, Notices, Undelivered
from rollout.record import Event, RolloutRecord

NAME = "drill"
EXPOSED_REQUESTS = 20
"""Marked requests counted at the canary before it is taken to be exposed."""
"""Before the reason that people are told: nobody has to get up for it."""
_SHORTEST_BASELINE = timedelta(seconds=15)
_BASELINE_SCRAPES = 6


def drill_plan(plan: RolloutPlan, within: timedelta) -> RolloutPlan:
    """Return the plan of a drill: the plan's own criteria, on one pod of the canary, for so long at most.

    Nothing in it can give the canary live traffic: whoever finds it without its owner restores it.
    """
    observe = min(plan.baseline.observe, max(_SHORTEST_BASELINE, _BASELINE_SCRAPES * plan.scrape))
    only = {"name": NAME, "replicas": 1, "bake": within, "deadline": within, "approval": None}
    step = plan.steps[0].model_copy(update=only)
    return plan.model_copy(
        update={
            "steps": (step,),
            "baseline": plan.baseline.model_copy(update={"observe": observe}),
            "mirror": None,
            "hooks": (),
            "load": LoadPlan(),
            "drift": WhenDrifted.HOLD,
            "when_inconclusive": WhenInconclusive.ROLLBACK,
            "when_orphaned": WhenOrphaned.RESTORE,
        }
    )


def check_quiet(world: World) -> None:
    """Return when the service is at rest.

    Raises
    ------
    PlanError
        When a rollout has not ended, or the canary has live traffic; nothing was touched.
    """
    for one in unfinished(world):
        raise PlanError(f"not drilled, nothing was touched: {one.name} has begun and not ended; see `canary status`")
    if (found := world.router.read_weights()) != AT_REST:
        raise PlanError(
            f"not drilled, nothing was touched: the canary has {found.canary} % of the live traffic, allowed: 0 %"
        )


def carry_out(run: Run, started: Started, marker: str, *, do: Do = plainly) -> Ended:
    """Drill the rollback, and return how it ended: rolled back when the judge condemned the canary, failed else.

    Parameters
    ----------
    run
        A run at its very start, of a plan that `drill_plan` made.
    started
        What to record; says how the canary is to fail.
    marker
        What the load generator marks half of its requests with.
    do
        How each move is made.
    """
    with steering(run, started):
        observe = format_span(run.plan.baseline.observe)
        stop: Stop = do(f"baseline: {run.plan.stable.version} alone for {observe}", moves.check_baseline, run)
        stop = stop or do(f"expose {run.plan.canary.version}: {run.drill}", expose, run, marker)
        stop = stop or do("judge", watch.bake, run, waits_for_person=False)
        state, reason = _end(run, stop)
        return do("take it back", moves.roll_back, run, f"drill: {reason}", state=state, cause=reason)


def expose(run: Run, marker: str) -> RollBack | Hold | None:
    """Bring the failing canary up, let the marked requests reach it, and see them there.

    Returns the reason not to go on if there is one.
    """
    if stop := moves.scale_up(run, 1):
        return stop
    drills = run.ports.drills
    assert drills is not None
    run.step_index, run.step_since = 0, None
    run.save()
    drills.expose(marker, run.drill)
    began = run.ports.clock.now()
    run.note(
        Fault(at=began, what=f"marked requests reach {run.plan.canary.version}, which fails on purpose: {run.drill}")
    )
    seen = watch.watch_until(
        run, lambda: _is_exposed(run, began), timeout=run.plan.steps[0].deadline, every=run.plan.scrape / 2
    )
    if isinstance(seen, RollBack):
        return seen
    if not seen:
        return Hold("no marked request was seen at the canary")
    run.step_since = run.ports.clock.now()
    run.note(StepStarted(at=run.step_since, step=NAME, canary=0))
    run.save()
    return None


def _is_exposed(run: Run, began: datetime) -> bool:
    try:
        canary, _ = observed_share(run.ports.metrics.read(began))
    except (UnavailableError, NoSamplesError):
        return False
    return canary >= EXPOSED_REQUESTS


def _end(run: Run, stop: Stop) -> tuple[EndState, str]:
    if stop is None:
        return EndState.FAILED, "the judge let a canary pass that fails on purpose"
    is_condemned = run.last_verdict is not None and run.last_verdict.outcome is Outcome.FAIL
    return EndState.ROLLED_BACK if is_condemned and isinstance(stop, RollBack) else EndState.FAILED, stop.reason


@dataclass(slots=True)
class Witness:
    """Notices that pass through, with the moment at which the last one was out."""

    notices: Notices
    clock: Clock
    last: datetime | None = None

    def send(self, notice: Notice) -> None:
        """Tell people."""
        self.notices.send(notice)
        self.last = self.clock.now()

    def undelivered(self) -> tuple[Undelivered, ...]:
        """Return which receivers have missed something."""
        return self.notices.undelivered()


def witnessed(run: Run) -> Witness:
    """Let a run's notices pass by a witness, and return it."""
    witness = Witness(run.ports.notices, run.ports.clock)
    run.ports = replace(run.ports, notices=witness)
    return witness


def conclude(run: Run, load: LoadSummary, unmarked_astray: int, noticed: datetime | None) -> DrillEnded:
    """Hold the record against the gateway's own counters, record what the drill has shown, and return it.

    Parameters
    ----------
    run
        The drill, ended, and its load too.
    load
        What the load generator counted.
    unmarked_astray
        Requests of its without the mark that the canary answered.
    noticed
        When the last notice was out.
    """
    run.ports.clock.sleep(2 * run.plan.scrape)  # what was answered last has to be scraped
    record = run.ports.ledger.read()
    answered = load.tracks.get(str(Track.CANARY))
    marked = answered.requests - unmarked_astray if answered else 0
    counted = _counted(run, record)
    chain = chain_of(record, load, noticed)
    strays = unmarked_astray if counted is None else max(counted - marked, unmarked_astray)
    stopped = _where_stopped(record, chain)
    if not stopped and counted is None:
        stopped = "the gateway's counters could not be read: that nobody else was touched is not shown"
    if not stopped and (lost := run.ports.notices.undelivered()):
        stopped = f"not {PARTS[-1]}: {lost[0].text}"
    if not stopped and strays:
        stopped = f"{strays} requests without the mark reached the failing canary"
    drilled = DrillEnded(
        at=run.ports.clock.now(), stopped=stopped, seconds=chain, marked=marked, counted=counted or 0, strays=strays
    )
    run.ports.ledger.append(drilled)
    return drilled


def chain_of(record: RolloutRecord, load: LoadSummary, noticed: datetime | None) -> dict[str, float]:
    """Return when each part of the chain was done, in seconds since the first bad answer; up to where it stopped.

    The first bad answer is the first failed one that a client got from the canary; where it fails by being slow, the
    moment from which marked requests could reach it.
    """
    exposed = _first(record, lambda event: isinstance(event, Fault))
    if exposed is None:
        return {}
    bad = load.first_failures.get(str(Track.CANARY), exposed)
    judged = _first(record, lambda event: isinstance(event, VerdictChanged) and event.verdict.outcome is Outcome.FAIL)
    decided = _first(record, lambda event: isinstance(event, DecisionMade) and event.decision is DecisionKind.ROLL_BACK)
    routed = _first(record, lambda event: isinstance(event, WeightsSet) and decided is not None and event.at >= decided)
    seen = _first(
        record, lambda event: isinstance(event, WeightsObserved) and routed is not None and event.at >= routed
    )
    ended = record.ended.at if record.ended else None
    moments = (judged, decided, routed, seen, ended, noticed)
    chain: dict[str, float] = {}
    for part, moment in zip(PARTS, moments, strict=True):
        if moment is None:
            break
        chain[part] = (moment - bad).total_seconds()
    return chain


def _first(record: RolloutRecord, fits: Callable[[Event], bool]) -> datetime | None:
    return next((event.at for event in record.events if fits(event)), None)


def _where_stopped(record: RolloutRecord, chain: Mapping[str, float]) -> str:
    missing = next((part for part in PARTS if part not in chain), None)
    if missing is None and record.ended and record.ended.state is EndState.ROLLED_BACK:
        return ""
    cause = record.ended.cause if record.ended else "its end is not on record"
    return f"not {missing or PARTS[0]}: {cause}"


def _counted(run: Run, record: RolloutRecord) -> int | None:
    """Return how many requests of the canary's the gateway has counted since its pod was asked for; None: unknown."""
    up = _first(record, lambda event: isinstance(event, Scaled) and event.replicas > 0)
    if up is None:
        return 0
    try:
        samples = run.ports.metrics.read_range(up - 3 * run.plan.scrape, run.ports.clock.now())
    except (UnavailableError, NoSamplesError):
        return None
    return counted_by_gateway(samples, Track.CANARY, since=up)
