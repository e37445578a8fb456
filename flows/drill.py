"""The rollback drill's flow: by hand from the Prefect UI, or on a schedule."""

from typing import Annotated, Any

from prefect import State, flow
from prefect.artifacts import create_table_artifact
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Completed, Failed
from pydantic import Field

from conductor.commands.drill import shown
from flows.canary import as_task
from flows.page.forms import filled_in, log_to_prefect, refused
from rollout.errors import PlanError, RolloutError
from rollout.events import DrillEnded
from rollout.plan import RolloutPlan
from wiring.composition import Target
from wiring.drill_run import Drill, lines, run_drill

Rate = Annotated[float, Field(ge=2, le=5000)]


def _run_name() -> str:
    try:
        plan = filled_in("plan", flow_run.parameters.get("plan"), RolloutPlan)
    except PlanError:
        return "a drill that is refused"
    return f"drill of {plan.service}"


@flow(name="rollback_drill", flow_run_name=_run_name, validate_parameters=False)
def rollback_drill(
    plan: RolloutPlan,
    target: Target = Target(),  # noqa: B008 - frozen
    fault: str = "",
    rate: Rate = 50.0,
) -> State[Any]:
    """Prove that the rollback works, with a canary that fails on purpose and gets marked requests alone.

    It emits no event `canary.*`: an automation that pauses releases after a rollback has nothing to do here.

    Args:
        plan: The rollout plan, as in rollout.yaml.
        target: Where the drill takes place.
        fault: How the canary fails, such as errors=30%; in the way that suits the backend unless given.
        rate: Requests a second to send, half of them marked.
    """
    log_to_prefect()
    try:
        drill = Drill(
            filled_in("plan", plan, RolloutPlan),
            filled_in("target", target, Target),
            fault=filled_in("fault", fault, str),
            rate=_rate(rate),
        )
        drilled = run_drill(drill, do=as_task)
    except RolloutError as error:
        return refused(error)
    publish(drilled)
    return final_state(drilled)


def _rate(given: object) -> float:
    rate: float = filled_in("rate", given, Rate)
    return rate


def publish(drilled: DrillEnded) -> None:
    """Show the chain on the flow run's page."""
    if FlowRunContext.get() is None:
        return
    table = [{"since the first bad answer": part, "seconds": round(took, 3)} for part, took in drilled.seconds.items()]
    create_table_artifact(key="rollback-drill", table=table, description="\n\n".join(lines(drilled)))


def final_state(drilled: DrillEnded) -> State[None]:
    """Return the flow's final state: only a chain that fired as a whole is a success."""
    if drilled.proven:
        return Completed(name="Proven", message=shown(drilled))
    return Failed(name="Not proven", message=shown(drilled))
