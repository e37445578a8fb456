"""Hooks on the way: the watch goes on while one runs, and what its failure means is the plan's word."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Final, assert_never

from conductor.moves import await_resumed
from conductor.state.rollout_run import Run
from conductor.watch import watch_until
from rollout.decide import Hold, RollBack
from rollout.events import Ended, EndState, HookEnded
from rollout.formatting import format_span
from rollout.hooks import Hook, HookMoment, WhenHookFails
from rollout.model import Trouble
from rollout.ports import HookOutcome, RunningHook
from rollout.signals import SignalKind

AGAIN_AFTER: Final = timedelta(seconds=10)
"""How often a hook that holds the rollout is asked again."""
GO_ON: Final = frozenset({SignalKind.SKIP, SignalKind.PROMOTE})
"""Words that end the waiting for a hook which holds, if they are said meanwhile."""
_LOOK: Final = timedelta(milliseconds=100)


def due(run: Run, when: HookMoment, step: str = "") -> tuple[Hook, ...]:
    """Return the hooks that run at a moment, but for those that have succeeded in it already."""
    return tuple(hook for hook in run.plan.hooks if hook.is_due(when, step) and _key(hook, step) not in run.hooks_done)


def due_at_end(run: Run, ended: Ended) -> tuple[Hook, ...]:
    """Return the hooks that an end is told to."""
    return due(run, HookMoment.AFTER_PROMOTE if ended.state is EndState.PROMOTED else HookMoment.AFTER_ROLLBACK)


def heed(run: Run, hook: Hook, step: str, *, waits_for_person: bool) -> RollBack | Hold | None:
    """Run a hook while the watch goes on, and return the reason not to go on if there is one.

    It begins once no person holds the rollout.

    Parameters
    ----------
    run
        At any phase before its end.
    hook
        One that is due.
    step
        The step that it is about; empty where it is about none.
    waits_for_person
        Whether to stand still where the plan says to hold, or to return that hold.
    """
    try:
        return _heed(run, hook, step, waits_for_person=waits_for_person)
    finally:
        run.hook = ""


def _heed(run: Run, hook: Hook, step: str, *, waits_for_person: bool) -> RollBack | Hold | None:
    heard = run.heard  # before anything else is: what was said to an orphan counts
    if stop := await_resumed(run):
        return stop
    until, before = _now(run) + hook.deadline, HookOutcome(ok=True, reason="")
    while True:
        began = _now(run)
        outcome = _watched(run, hook, step)
        if isinstance(outcome, RollBack):
            return outcome
        if outcome != before:  # one that is asked again and again says the same for hours
            _note(run, hook, step, outcome, began)
        if outcome.ok:
            run.hooks_done |= {_key(hook, step)}  # whoever takes the rollout over does not run it once more
            run.save()
            return None
        said, before = f"hook {hook.name} {outcome.reason}", outcome
        match hook.on_failure:
            case WhenHookFails.IGNORE:
                return None
            case WhenHookFails.ROLLBACK:
                return RollBack(said)
            case WhenHookFails.HOLD:
                held = _hold(run, hook, outcome, step, until, waits_for_person=waits_for_person)
                if held or any(word.kind in GO_ON for word in run.said[heard:]):
                    return held
            case _:
                assert_never(hook.on_failure)


def tell_end(run: Run, hook: Hook, ended: Ended) -> None:
    """Run a hook after the rollout's end, which it changes nothing of; the lock has been given back."""
    began = _now(run)
    running = _start(run, hook, "", ended)
    try:
        while (outcome := running.outcome()) is None and _now(run) - began < hook.timeout:
            run.ports.clock.sleep(_LOOK)
    finally:
        running.stop()
    _note(run, hook, "", outcome or _late(hook), began)
    run.journal.finish()


def _watched(run: Run, hook: Hook, step: str) -> HookOutcome | RollBack:
    running = _start(run, hook, step)
    try:
        stop = watch_until(run, lambda: running.outcome() is not None, timeout=hook.timeout)
        return stop if isinstance(stop, RollBack) else running.outcome() or _late(hook)
    finally:
        running.stop()


def _hold(
    run: Run, hook: Hook, outcome: HookOutcome, step: str, until: datetime, *, waits_for_person: bool
) -> RollBack | Hold | None:
    """Stand still until the hook is asked again."""
    said = f"hook {hook.name} {outcome.reason}"
    run.hook = said
    asked_every = hook.timeout + AGAIN_AFTER
    held, subject = f"held: {said}", "/".join(part for part in (step, hook.name, outcome.reason) if part)
    run.note_alarm(Trouble.HELD_BY_HOOK, held, _now(run), subject=subject, every=asked_every, needs_person=True)
    if not waits_for_person:
        return Hold(said, needs_person=True)
    if _now(run) >= until:
        return RollBack(f"{said}, until its deadline")
    again = _now(run) + AGAIN_AFTER
    stop = watch_until(run, lambda: _now(run) >= again, timeout=2 * AGAIN_AFTER)
    return stop if isinstance(stop, RollBack) else None


def _start(run: Run, hook: Hook, step: str, ended: Ended | None = None) -> RunningHook:
    if run.ports.hooks is None:
        return _Nowhere()
    return run.ports.hooks.start(hook, _payload(run, hook, step, ended))


class _Nowhere:
    """A hook where nothing runs hooks: it has failed."""

    def outcome(self) -> HookOutcome:
        return HookOutcome(ok=False, reason="cannot run here")

    def stop(self) -> None:
        return


def _payload(run: Run, hook: Hook, step: str, ended: Ended | None) -> str:
    verdict, plan, weights = run.last_verdict, run.plan, run.asked
    return json.dumps(
        {
            "hook": hook.name,
            "when": hook.when.value,
            "at": _now(run).isoformat(),
            "rollout": run.scene.started.rollout if run.scene.started else "",
            "service": plan.service,
            "stable": plan.stable.version,
            "canary": plan.canary.version,
            "step": step or run.scene.step,
            "weights": {"stable": weights.stable, "canary": weights.canary},
            "verdict": verdict.outcome.value if verdict else None,
            "reason": ended.reason if ended else verdict.reason if verdict else "",
            "state": ended.state.value if ended else "under way",
            "metadata": hook.metadata,
        }
    )


def _note(run: Run, hook: Hook, step: str, outcome: HookOutcome, began: datetime) -> None:
    now = _now(run)
    run.note(
        HookEnded(
            at=now,
            hook=hook.name,
            when=hook.when,
            step=step,
            ok=outcome.ok,
            reason=outcome.reason,
            seconds=(now - began).total_seconds(),
            on_failure=hook.on_failure,
        )
    )


def _late(hook: Hook) -> HookOutcome:
    return HookOutcome(ok=False, reason=f"did not end within {format_span(hook.timeout)}")


def _key(hook: Hook, step: str) -> str:
    return f"{hook.name} {step}".strip()


def _now(run: Run) -> datetime:
    return run.ports.clock.now()
