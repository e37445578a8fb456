"""What has to hold before a rollout touches anything, asked of the backend and told in lines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from backends.local.guard_heartbeat import read_guard_status
from conductor.commands.commands import begun
from conductor.commands.last_drill import NEVER_DRILLED, last_drill
from rollout.errors import PlanError, RolloutError, SetupError, UnavailableError
from rollout.model import AT_REST
from rollout.plan import RolloutPlan
from wiring.composition import open_cluster, open_world
from wiring.hook_commands import describe_refusal, describe_way_out, refused_commands
from wiring.notifications import describe_receivers
from wiring.target import Target


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the checklist."""

    name: str
    ok: bool
    found: str
    fix: str = ""
    """What to do, where it is not ok."""


def checklist(plan: RolloutPlan, target: Target) -> tuple[Check, ...]:
    """Return every check of a target; the embedded backend was checked when it was started.

    Raises
    ------
    SetupError
        When there is no kubeconfig to ask with.
    """
    if target.backend == "local":
        checks = (*_embedded(plan, target), *_commands(plan), _notices())
    else:
        checks = (*_cluster(plan, target), *_commands(plan), _notices())
    return (*checks, _drill(plan, target)) if all(check.ok for check in checks) else checks


def _cluster(plan: RolloutPlan, target: Target) -> Iterator[Check]:
    from backends.cluster.preflight.checks import checks

    for check in checks(open_cluster(target, plan), plan):
        yield Check(check.name, check.ok, check.detail, check.fix)


def _notices() -> Check:
    try:
        return Check("notices", ok=True, found=describe_receivers())
    except PlanError as error:
        return Check("notices", ok=False, found=str(error), fix="mend CANARY_NOTIFY, then try it with canary notify")


def _commands(plan: RolloutPlan) -> Iterator[Check]:
    """Whether the hooks' commands may run here; a plan without any has no such line."""
    if refused := refused_commands(plan):
        yield Check("hooks", ok=False, found=describe_refusal(refused), fix=describe_way_out())


def _drill(plan: RolloutPlan, target: Target) -> Check:
    """Tell the last drill; that there was none, or that it failed, keeps nobody from a release."""
    try:
        last = last_drill(begun(open_world(target, plan)))
    except RolloutError as error:
        return Check("rollback drill", ok=True, found=f"unknown: {error}")
    return Check("rollback drill", ok=True, found=last.told(datetime.now(UTC)) if last else NEVER_DRILLED)


def _embedded(plan: RolloutPlan, target: Target) -> Iterator[Check]:
    try:
        weights = open_world(target, plan).router.read_weights()
    except (SetupError, UnavailableError) as error:
        yield Check("embedded backend", ok=False, found=str(error), fix="canary up, or canary demo for all in one")
        return
    yield Check("embedded backend", ok=True, found=f"runs in {target.state}")
    split = f"stable {weights.stable} %, canary {weights.canary} %"
    guard = read_guard_status(target.state)
    unguarded = f"{guard.description}: a rollout that loses its process keeps its split until `canary guard` looks"
    yield Check("guard", ok=True, found=guard.description if guard.lives else unguarded)  # keeps nobody from a release
    yield Check("split at rest", ok=weights == AT_REST, found=split, fix="canary restore: all traffic to stable")


def check_fitness(plan: RolloutPlan, target: Target) -> None:
    """Return when a rollout may start.

    Raises
    ------
    PlanError
        Naming each miss, and what to do about it; nothing was touched.
    """
    if misses := [check for check in checklist(plan, target) if not check.ok]:
        raise PlanError(
            "\n".join([f"not started, nothing was touched: {_describe_count(misses)}", *map(describe_miss, misses)])
        )


def describe_miss(check: Check) -> str:
    """Return one miss as a person reads it."""
    return f"  {check.name}: {check.found}\n      {check.fix}"


def _describe_count(misses: Sequence[Check]) -> str:
    return f"preflight found {len(misses)} thing{'s' if len(misses) > 1 else ''} to mend"
