"""The rollout flow: the conductor's moves, each as a task of Prefect."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TypeVar, assert_never

from prefect import State, flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.states import Cancelled, Completed, Failed

from conductor.rollout import carry_out
from conductor.run import Run
from flows.bridge import bridged
from flows.events import emit_events
from flows.fitness import check_fitness
from flows.running import answers, prefect_url
from flows.synthetic import synthetic_load
from flows.wiring import Target, gateway_of, new_rollout_id, open_run, who_runs
from rollout.errors import SetupError, UnavailableError
from rollout.plan import RolloutPlan
from rollout.record import Ended, EndState, Started

T = TypeVar("T")
log = logging.getLogger(__name__)


@flow(name="canary_rollout", flow_run_name="{plan.service} {plan.canary.version}")
def canary_rollout(
    plan: RolloutPlan,
    target: Target = Target(),  # noqa: B008 - frozen
    rollout_id: str = "",
    waits_for_person: bool = True,
    note: str = "",
) -> State[None]:
    """Release the canary beside stable, step by step, and promote it or roll it back.

    A rollout that has begun under the same name, and whose owner is gone, is taken over by the plan's policy.

    Args:
        plan: The rollout plan, as in rollout.yaml.
        target: Where the rollout takes place.
        rollout_id: Name of the record; made from service, version and time unless given.
        waits_for_person: Whether to hold for a person at a deadline without enough evidence, or to end as held.
        note: What is out of the ordinary, for the record.
    """
    now = datetime.now(UTC)
    rollout_id = rollout_id or new_rollout_id(plan, now)
    run = open_run(plan, target, rollout_id)
    emit_events(run)
    if not _has_begun(run):
        check_fitness(plan, target)
    started = Started(
        at=now,
        rollout=rollout_id,
        plan=plan,
        who=who_runs(),
        backend=target.backend,
        flow_run=this_flow_run(),
        note=note,
    )
    with bridged(run) as bridge, synthetic_load(run, gateway_of(target)):
        ended = carry_out(run, started, waits_for_person=waits_for_person, do=as_task)
    publish(run)
    return final_state(ended, is_cancelled=bridge is not None and bridge.is_cancelled)


def this_flow_run() -> str:
    """Return the id of the flow run that this process carries out; empty where it is none."""
    context = FlowRunContext.get()
    return str(context.flow_run.id) if context and context.flow_run else ""


def _has_begun(run: Run) -> bool:
    try:
        return run.ports.ledger.read().started is not None
    except SetupError:  # what is missing is named by preflight, all of it at once
        return False


def as_task(name: str, move: Callable[..., T], *args: Any, retries: int = 0, **kwargs: Any) -> T:
    """Make a move as a Prefect task of this name; outside a flow run, plainly.

    The move's arguments are bound beforehand, because Prefect walks through a task's parameters.
    """
    if FlowRunContext.get() is None:
        return move(*args, **kwargs)

    @task(
        name=name, cache_policy=NO_CACHE, retries=retries, retry_delay_seconds=1, retry_condition_fn=_may_succeed_later
    )
    def call() -> T:
        return move(*args, **kwargs)

    return call()


def _may_succeed_later(task: object, task_run: object, state: State[Any]) -> bool:  # noqa: ARG001 - Prefect's signature
    return isinstance(state.result(raise_on_failure=False), UnavailableError)


def final_state(ended: Ended, *, is_cancelled: bool = False) -> State[None]:
    """Return the flow's final state: it says the outcome, and only a promotion is a success.

    What was cancelled can only become Cancelled in Prefect.
    """
    name = ended.state.capitalize()
    if is_cancelled:
        return Cancelled(message=f"{name}: {ended.reason}")
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
    if (url := prefect_url()) and not answers(url):  # Prefect's client would try for a minute
        return
    try:
        create_markdown_artifact(
            key="outcome", markdown=f"# {record.ended.state.capitalize()}\n\n{record.ended.reason}"
        )
    except Exception as error:  # the rollout has ended, and a page that cannot be written changes nothing of it
        log.warning("the outcome is not on the flow run's page: %s", error)
