"""The rollout flow: reads as the list of its phases."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, assert_never

from prefect import State, flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.states import Completed, Failed

from conductor import moves, watch
from conductor.run import Run
from conductor.steering import steering
from flows.fitness import check_fitness
from flows.wiring import Target, new_rollout_id, open_run, who_runs
from rollout.errors import UnavailableError
from rollout.model import Hold, RollBack
from rollout.plan import RolloutPlan
from rollout.quantities import format_duration
from rollout.record import Ended, EndState, Started

T = TypeVar("T")
log = logging.getLogger(__name__)
Stop = RollBack | Hold | None
"""Why a rollout does not go on; None while it does."""


@flow(name="canary_rollout", flow_run_name="{plan.service} {plan.canary.version}")
def canary_rollout(
    plan: RolloutPlan,
    target: Target = Target(),  # noqa: B008 - frozen
    rollout_id: str = "",
    waits_for_person: bool = True,
    note: str = "",
) -> State[None]:
    """Release the canary beside stable, step by step, and promote it or roll it back.

    Args:
        plan: The rollout plan, as in rollout.yaml.
        target: Where the rollout takes place.
        rollout_id: Name of the record; made from service, version and time unless given.
        waits_for_person: Whether to hold for a person at a deadline without enough evidence, or to end as held.
        note: What is out of the ordinary, for the record.
    """
    now = datetime.now(UTC)
    rollout_id = rollout_id or new_rollout_id(plan, now)
    check_fitness(plan, target)
    run = open_run(plan, target, rollout_id)
    with steering(
        run, Started(at=now, rollout=rollout_id, plan=plan, who=who_runs(), backend=target.backend, note=note)
    ):
        stop = check_baseline(run)
        for index, _ in enumerate(plan.steps):
            stop = stop or shift(run, index) or bake(run, index, waits_for_person)
        ended = turn_back(run, stop) if stop else promote(run)
    publish(run)
    return final_state(ended)


def check_baseline(run: Run) -> Stop:
    """Watch stable alone first."""
    observe = format_duration(run.plan.baseline.observe)
    return as_task(f"baseline: {run.plan.stable.version} alone for {observe}", moves.check_baseline, run, retries=2)


def shift(run: Run, index: int) -> Stop:
    """Scale, wait until ready, route, and see the split in the traffic."""
    step = run.plan.steps[index]
    return as_task(f"shift to {step.canary} %", moves.shift, run, index)


def bake(run: Run, index: int, waits_for_person: bool) -> Stop:
    """Watch the step until it is decided."""
    step = run.plan.steps[index]
    name = f"{run.plan.canary.version}: {step.canary} % for {format_duration(step.bake)}"
    return as_task(name, watch.bake, run, waits_for_person=waits_for_person)


def turn_back(run: Run, stop: RollBack | Hold) -> Ended:
    """Put all traffic on stable, then scale the canary down."""
    state = EndState.ROLLED_BACK if isinstance(stop, RollBack) else EndState.HELD
    return as_task(f"roll back to {run.plan.stable.version}", moves.roll_back, run, stop.reason, state=state)


def promote(run: Run) -> Ended:
    """Keep the canary in service, and the old version warm."""
    return as_task(f"promote {run.plan.canary.version}", moves.promote, run)


def as_task(name: str, verb: Callable[..., T], *args: Any, retries: int = 0, **kwargs: Any) -> T:
    """Call a verb as a Prefect task of this name; outside a flow run, plainly.

    The verb's arguments are bound beforehand, because Prefect walks through a task's parameters.
    """
    if FlowRunContext.get() is None:
        return verb(*args, **kwargs)

    @task(
        name=name, cache_policy=NO_CACHE, retries=retries, retry_delay_seconds=1, retry_condition_fn=_may_succeed_later
    )
    def call() -> T:
        return verb(*args, **kwargs)

    return call()


def _may_succeed_later(task: object, task_run: object, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's signature
    return isinstance(state.result(raise_on_failure=False), UnavailableError)


def final_state(ended: Ended) -> State[None]:
    """Return the flow's final state: it says the outcome, and only a promotion is a success."""
    name = ended.state.capitalize()
    match ended.state:
        case EndState.PROMOTED:
            return Completed(name=name, message=ended.reason)
        case EndState.ROLLED_BACK | EndState.HELD | EndState.FAILED:
            return Failed(name=name, message=f"{name}: {ended.reason}")
        case _:
            assert_never(ended.state)


def publish(run: Run) -> None:
    """Show the outcome on the flow run's page."""
    record = run.ports.ledger.read()
    if FlowRunContext.get() is None or record.ended is None:
        return
    try:
        create_markdown_artifact(
            key="outcome", markdown=f"# {record.ended.state.capitalize()}\n\n{record.ended.reason}"
        )
    except Exception as error:  # the rollout has ended, and a page that cannot be written changes nothing of it
        log.warning("the outcome is not on the flow run's page: %s", error)
