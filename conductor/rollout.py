"""A whole rollout, as the list of its moves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from conductor import moves, running_hooks, watch
from conductor.ownership import steering
from conductor.state.rollout_run import Run
from rollout.decide import Hold, RollBack
from rollout.events import Ended, EndState, Started
from rollout.formatting import format_span
from rollout.hooks import HookMoment
from rollout.plan import WhenOrphaned

T = TypeVar("T")
Stop = RollBack | Hold | None
"""Why a rollout does not go on; None while it does."""


class Do(Protocol):
    """How a move is made: plainly, or as a task of a scheduler that shows it under its name."""

    def __call__(self, name: str, move: Callable[..., T], *args: Any, retries: int = 0, **kwargs: Any) -> T:
        """Make the move and return what it returns; retries are for what may succeed later."""
        ...


def plainly(name: str, move: Callable[..., T], *args: Any, retries: int = 0, **kwargs: Any) -> T:  # noqa: ARG001
    """Make a move, and nothing else."""
    return move(*args, **kwargs)


def carry_out(
    run: Run,
    started: Started,
    *,
    waits_for_person: bool,
    policy: WhenOrphaned | None = None,
    because: str = "",
    do: Do = plainly,
) -> Ended:
    """Carry a rollout out, or on from where its last owner left it, and return how it ended.

    Parameters
    ----------
    run
        A run at its very start.
    started
        What to record of a rollout that has not begun yet.
    waits_for_person
        Whether to hold for a person at a deadline without enough evidence, or to end as held.
    policy
        What to do with a rollout that has begun; the plan's own policy unless given.
    because
        Why one that is restored is restored; the loss of its owner unless given.
    do
        How each move is made.
    """

    def heeded(when: HookMoment, step: str = "") -> Stop:
        return _heed(run, when, step, waits_for_person, do)

    with steering(run, started, policy=policy, because=because):
        stop = run.stop or heeded(HookMoment.BEFORE_ROLLOUT) or _check_baseline(run, do) or _mirror(run, do)
        for index in range(run.step_index or 0, len(run.plan.steps)):
            step = run.plan.steps[index].name
            stop = stop or heeded(HookMoment.BEFORE_STEP, step) or _shift(run, index, do)
            stop = stop or _bake(run, index, waits_for_person, do) or heeded(HookMoment.AFTER_STEP, step)
        stop = stop or heeded(HookMoment.BEFORE_PROMOTE) or moves.await_resumed(run)
        ended = _turn_back(run, stop, do) if stop else _promote(run, do)
    for hook in running_hooks.due_at_end(run, ended):
        do(f"hook {hook.name}", running_hooks.tell_end, run, hook, ended)
    return ended


def _heed(run: Run, when: HookMoment, step: str, waits_for_person: bool, do: Do) -> Stop:
    stop: Stop = None
    for hook in running_hooks.due(run, when, step):
        stop = stop or do(f"hook {hook.name}", running_hooks.heed, run, hook, step, waits_for_person=waits_for_person)
    return stop


def _check_baseline(run: Run, do: Do) -> Stop:
    observe = format_span(run.plan.baseline.observe)
    return do(f"baseline: {run.plan.stable.version} alone for {observe}", moves.check_baseline, run, retries=2)


def _mirror(run: Run, do: Do) -> Stop:
    asked = run.plan.mirror
    return do(f"mirror {asked.share} % to {run.plan.canary.version}", moves.mirror, run) if asked else None


def _shift(run: Run, index: int, do: Do) -> Stop:
    return do(f"shift to {run.plan.steps[index].canary} %", moves.shift, run, index)


def _bake(run: Run, index: int, waits_for_person: bool, do: Do) -> Stop:
    step = run.plan.steps[index]
    name = f"{run.plan.service} {run.plan.canary.version}: {step.canary} % for {format_span(step.bake)}"
    return do(name, watch.bake, run, waits_for_person=waits_for_person)


def _turn_back(run: Run, stop: RollBack | Hold, do: Do) -> Ended:
    state = EndState.ROLLED_BACK if isinstance(stop, RollBack) else EndState.HELD
    return do(f"roll back to {run.plan.stable.version}", moves.roll_back, run, stop.reason, state=state)


def _promote(run: Run, do: Do) -> Ended:
    return do(f"promote {run.plan.canary.version}", moves.promote, run)
