"""The rollout flow: the conductor's moves, each as a task of Prefect."""

import logging
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, TypeVar, assert_never

from prefect import State, flow, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Cancelled, Completed, Failed

from conductor.commands.commands import left_behind
from conductor.rollout import carry_out
from conductor.state.rollout_run import Run
from flows.page.forms import filled_in, log_to_prefect, refused
from flows.page.prefect_events import emit_events
from flows.page.publisher import published
from flows.page.run_page_signals import followed_page
from rollout.errors import PlanError, RolloutError, SetupError, UnavailableError
from rollout.events import Ended, EndState, Started
from rollout.plan import RolloutPlan
from wiring.composition import Target, gateway_of, new_rollout_id, open_command_context, open_run, who_runs
from wiring.dry_run import rehearse
from wiring.files import carried_out
from wiring.preflight import check_fitness
from wiring.synthetic_load import synthetic_load

T = TypeVar("T")
log = logging.getLogger(__name__)


def _run_name() -> str:
    given = flow_run.parameters
    try:
        plan = filled_in("plan", given.get("plan"), RolloutPlan)
    except PlanError:
        return "a rollout that is refused"
    name = f"{plan.service} {plan.stable.version} → {plan.canary.version}"
    return f"what would happen: {name}" if given.get("dry_run") else name


@flow(name="canary_rollout", flow_run_name=_run_name, validate_parameters=False)
def canary_rollout(
    plan: RolloutPlan,
    target: Target = Target(),  # noqa: B008 - frozen
    rollout_id: str = "",
    waits_for_person: bool = True,
    note: str = "",
    dry_run: bool = False,
) -> State[Any]:
    """Release the canary beside stable, step by step, and promote it or roll it back.

    A rollout that has begun and whose owner is gone is taken over by the plan's policy: the one of this name; without a
    name this very run's own, after a retry, or else the latest one of the same plan.

    Args:
        plan: The rollout plan, as in rollout.yaml.
        target: Where the rollout takes place.
        rollout_id: Name of the record; unless given, of what is taken over, or made from service, version and time.
        waits_for_person: Whether to hold for a person at a deadline without enough evidence, or to end as held.
        note: What is out of the ordinary, for the record.
        dry_run: What would this do? Tells the steps, the hooks and the expected times, and touches nothing.
    """
    log_to_prefect()
    try:
        plan, target = filled_in("plan", plan, RolloutPlan), filled_in("target", target, Target)
        waits, dry = filled_in("waits_for_person", waits_for_person, bool), filled_in("dry_run", dry_run, bool)
        rollout_id, note = filled_in("rollout_id", rollout_id, str), filled_in("note", note, str)
        return _rehearsed(plan, target) if dry else _release(plan, target, rollout_id, waits, note)
    except RolloutError as error:
        return refused(error)


def _rehearsed(plan: RolloutPlan, target: Target) -> State[Any]:
    lines = rehearse(carried_out(plan, source="plan"), target)
    for line in lines:
        log.info("%s", line)
    if FlowRunContext.get() is not None:
        create_markdown_artifact(key="what-would-happen", markdown="\n".join(f"- {line}" for line in lines))
    return Completed(name="Dry run", message="nothing was touched")


def _release(plan: RolloutPlan, target: Target, rollout_id: str, waits_for_person: bool, note: str) -> State[Any]:
    now = datetime.now(UTC)
    rollout_id = rollout_id or _left_behind(plan, target) or new_rollout_id(plan, now)
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
    with published(run.ports.ledger, target), followed_page(run) as page, synthetic_load(run, gateway_of(target)):
        ended = carry_out(run, started, waits_for_person=waits_for_person, do=as_task)
    return final_state(ended, is_cancelled=page is not None and page.cancelled.is_set())


def _left_behind(plan: RolloutPlan, target: Target) -> str:
    with suppress(SetupError):  # what is missing is named by preflight, all of it at once
        return left_behind(open_command_context(target, plan), plan, flow_run=this_flow_run())
    return ""


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
        name=name,
        task_run_name=name,
        cache_policy=NO_CACHE,
        retries=retries,
        retry_delay_seconds=1,
        retry_condition_fn=_may_succeed_later,
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
