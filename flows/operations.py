"""Commands from Prefect's page: what `canary restore`, `guard --once` and the signals to a rollout do, as flows."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from httpx import HTTPError
from prefect import State, flow
from prefect.context import FlowRunContext
from prefect.deployments import run_deployment
from prefect.exceptions import ObjectNotFound
from prefect.runtime import deployment
from prefect.states import Completed, Failed

from conductor.commands import commands
from conductor.commands.commands import Begun
from conductor.commands.send_signal import say
from flows.page.forms import filled_in, log_to_prefect, refused
from flows.page.prefect_events import emit_events_of_commands
from flows.page.run_page_signals import WHO
from rollout.errors import PlanError, RolloutError, UnavailableError
from rollout.signals import SignalKind
from wiring.command_contexts import command_context
from wiring.guard_watch import ALL_WELL, Watch, resume_here
from wiring.target import Target

log = logging.getLogger(__name__)
_PLAN = Path("rollout.yaml")
_HERE = Target()


@flow(name="emergency_rollback", flow_run_name="all traffic to stable", validate_parameters=False)
def emergency_rollback(reason: str, target: Target = _HERE, plan: Path = _PLAN) -> State[Any]:
    """Put all traffic on stable at once, whoever steers, also after a promotion; what is under way ends.

    Args:
        reason: Why, for the record.
        target: Where the service runs.
        plan: Cluster only: the rollout plan's file, which names service and versions.
    """
    log_to_prefect()
    try:
        desk = _command_context(filled_in("target", target, Target), filled_in("plan", plan, Path))
        lines = [_logged(line) for line in commands.restore(desk, filled_in("reason", reason, str))]
    except RolloutError as error:
        return refused(error)
    return Completed(name="Restored", message=lines[-1])


@flow(name="guard", flow_run_name="look after orphaned rollouts", validate_parameters=False)
def look_after(target: Target = _HERE, plan: Path = _PLAN) -> State[Any]:
    """Look once for rollouts whose owner is gone, as `canary guard --once` does.

    The guard that counts is the process `canary guard`, which needs no Prefect; this is a second pair of eyes.

    Args:
        target: Where the service runs.
        plan: Cluster only: the rollout plan's file, which names service and versions.
    """
    log_to_prefect()
    try:
        lines = list[str]()
        watch = Watch(
            filled_in("target", target, Target),
            filled_in("plan", plan, Path),
            resume_elsewhere,
            lines.append,
            emit_events_of_commands,
        )
        looked = watch.look()
    except RolloutError as error:
        return refused(error)
    message = "; ".join(map(_logged, lines)) or ALL_WELL
    return Completed(name="Looked", message=message) if looked else Failed(name="Could not look", message=message)


def resume_elsewhere(target: Target) -> Callable[[Begun], str]:
    """Return what lets a run of its own go on with a rollout: this one has only to look."""
    here = deployment.name
    if here is None:
        return resume_here(target, emit_events_of_commands)
    deployment_name = "canary-rollout-job" if here.endswith("-job") else "canary-rollout"

    def resume(rollout: Begun) -> str:
        plan, where = rollout.started.plan.model_dump(mode="json"), target.model_dump(mode="json")
        parameters = {"plan": plan, "target": where, "rollout_id": rollout.name}
        try:
            run_deployment(
                f"canary_rollout/{deployment_name}",
                parameters=parameters,
                timeout=0,
                as_subflow=False,
                # The next look may come before that run begins.
                idempotency_key=f"{rollout.name} goes on, {datetime.now(UTC):%Y-%m-%d %H} h",
            )
        except ObjectNotFound as error:
            raise UnavailableError(f"there is no deployment {deployment_name} that could go on with it") from error
        except HTTPError as error:
            raise UnavailableError(f"Prefect's server does not answer: {error}") from error
        return f"{rollout.name}: a run of {deployment_name} goes on with it"

    return resume


@flow(name="steer", flow_run_name="{word}", validate_parameters=False)
def steer(
    word: SignalKind,
    reason: str = "",
    rollout: str = "",
    count: int = 1,
    target: Target = _HERE,
    plan: Path = _PLAN,
) -> State[Any]:
    """Say a word to the rollout that is under way; it is heard within a second or so.

    Args:
        word: pause and resume; skip the rest of the step; promote now; approve or refuse; abort; complaint.
        reason: Why, for the record.
        rollout: Name of the rollout; the one under way unless given.
        count: Of a complaint: how many users complained.
        target: Where the service runs.
        plan: Cluster only: the rollout plan's file, which names service and versions.
    """
    log_to_prefect()
    try:
        kind, complaints = filled_in("word", word, SignalKind), filled_in("count", count, int)
        if complaints < 1:
            raise PlanError(f"count: got {complaints}, allowed: 1 or more")
        desk = _command_context(filled_in("target", target, Target), filled_in("plan", plan, Path))
        why, name = filled_in("reason", reason, str), filled_in("rollout", rollout, str)
        line = _logged(say(desk, kind, why, rollout=name, count=complaints))
    except RolloutError as error:
        return refused(error)
    return Completed(name="Said", message=line)


def _command_context(target: Target, plan: Path) -> commands.Desk:
    """Return the context of commands in the name of whoever started this run, who is not the worker."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        return command_context(target, plan)
    flow_run, creator = context.flow_run, context.flow_run.created_by
    # One worker carries out several commands at once: what each takes over has an owner of its own.
    desk = emit_events_of_commands(command_context(target, plan, owner=f"flow run {flow_run.id}"))
    return replace(desk, who=describe_requester(creator.type or "", creator.display_value or "") if creator else WHO)


def describe_requester(kind: str, name: str) -> str:
    """Return who started a run, as a record names them; Prefect names only its own machinery.

    >>> describe_requester("", "")
    "somebody at Prefect's page"
    >>> describe_requester("AUTOMATION", "alert fires")
    "Prefect's automation: alert fires"
    """
    return f"Prefect's {kind.lower()}: {name or 'without a name'}" if kind in ("AUTOMATION", "SCHEDULE") else WHO


def _logged(line: str) -> str:
    log.info("%s", line)
    return line
