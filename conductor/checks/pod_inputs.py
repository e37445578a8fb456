"""What the canary's pods rest on: what keeps them from being made, and configuration that changes under them."""

from __future__ import annotations

from datetime import datetime

from analysis.judge import with_promotion_restarted
from conductor.state.rollout_run import Run
from rollout.errors import UnavailableError
from rollout.events import ComparisonRestarted
from rollout.model import Trouble
from rollout.ports import PodInputs


def look_at_footing(run: Run, now: datetime) -> str:
    """Return why the canary's pods cannot be made, if so; begin the comparison again where their configuration changed.

    What was evidence against the canary stays: it was gathered on the very same rollout.
    """
    try:
        footing = run.ports.workloads.pod_inputs()
    except UnavailableError as error:
        run.note_alarm(Trouble.POD_INPUTS_UNSEEN, f"cannot see what the canary rests on: {error}", now)
        return ""
    changed = _changed(run, footing)
    run.inputs = dict(footing.inputs)
    if changed and run.step is not None:
        _restart(run, f"{', '.join(changed)} changed, which the canary reads", now)
    return footing.trouble


def _changed(run: Run, footing: PodInputs) -> list[str]:
    return [name for name, version in footing.inputs.items() if run.inputs.get(name, version) != version]


def _restart(run: Run, reason: str, now: datetime) -> None:
    run.evidence = with_promotion_restarted(run.evidence)
    if run.step is None or run.step_since is None:
        return
    run.step_since, run.asked_since = now, None
    run.note(ComparisonRestarted(at=now, step=run.step.name, reason=reason))
