"""Orders from Prefect's page: what `canary restore`, `guard --once` and the words to a rollout do, as flows."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect import State, flow
from prefect.context import FlowRunContext
from prefect.states import Completed

from conductor import orders
from conductor.guard import Guard
from conductor.saying import say
from flows.commands.guard import resume_here
from flows.commands.orders import desk_at
from flows.page.bridge import WHO
from flows.page.forms import filled_in, log_to_prefect, refused
from flows.server.runs import PrefectRuns
from flows.targets import Target
from rollout.errors import PlanError, RolloutError
from rollout.words import SignalKind

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
        desk = _desk_at(filled_in("target", target, Target), filled_in("plan", plan, Path))
        lines = [_logged(line) for line in orders.restore(desk, filled_in("reason", reason, str))]
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
        where = filled_in("target", target, Target)
        guard = Guard(desk_at(where, filled_in("plan", plan, Path)), resume_here(where), PrefectRuns.from_environment())
        lines = [_logged(line) for line in guard.look()]
    except RolloutError as error:
        return refused(error)
    return Completed(name="Looked", message="; ".join(lines) or "every rollout has its owner, or has ended")


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
        desk = _desk_at(filled_in("target", target, Target), filled_in("plan", plan, Path))
        why, name = filled_in("reason", reason, str), filled_in("rollout", rollout, str)
        line = _logged(say(desk, kind, why, rollout=name, count=complaints))
    except RolloutError as error:
        return refused(error)
    return Completed(name="Said", message=line)


def _desk_at(target: Target, plan: Path) -> orders.Desk:
    """Return where orders are given, in the name of whoever started this run: it is not the worker that asks."""
    desk, context = desk_at(target, plan), FlowRunContext.get()
    if context is None or context.flow_run is None:
        return desk
    creator = context.flow_run.created_by
    return replace(desk, who=asked_by(creator.type or "", creator.display_value or "") if creator else WHO)


def asked_by(kind: str, name: str) -> str:
    """Return in words who started a run; Prefect names only its own machinery.

    >>> asked_by("", "")
    "somebody at Prefect's page"
    >>> asked_by("AUTOMATION", "alert fires")
    "Prefect's automation: alert fires"
    """
    return f"Prefect's {kind.lower()}: {name or 'without a name'}" if kind in ("AUTOMATION", "SCHEDULE") else WHO


def _logged(line: str) -> str:
    log.info("%s", line)
    return line
