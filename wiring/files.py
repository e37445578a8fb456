"""Files that a person names: read and written with errors in one line."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from backends.profiles.shipped import is_file, load_profile
from rollout.errors import PlanError
from rollout.plan import Comparison, RolloutPlan, parse_plan


def read_plan(path: Path) -> RolloutPlan:
    """Return the plan that a file holds, with the text of its own profile, if that can be read: no order needs it."""
    plan = parse_plan(read_text(path), source=str(path))
    return with_profile(plan, plan.metrics.profile, path.parent)


def with_profile(plan: RolloutPlan, profile: str, folder: Path) -> RolloutPlan:
    """Return the plan with a profile of its metrics; the text of one in a file, named as this folder has it.

    So whoever takes the rollout over needs no file.
    """
    if is_file(profile):
        file = (folder / profile).absolute()
        with suppress(PlanError):
            profile = f"{read_text(file)}\n"
        profile = profile if "\n" in profile else str(file)
    return plan.model_copy(update={"metrics": plan.metrics.model_copy(update={"profile": profile})})


def read_live_plan(path: Path) -> RolloutPlan:
    """Return the plan of a file that a backend is to carry out; what none can do is refused before all else."""
    return carried_out(read_plan(path), source=str(path))


def carried_out(plan: RolloutPlan, *, source: str) -> RolloutPlan:
    """Return the plan if a backend can carry it out."""
    try:
        load_profile(plan.metrics.profile)
    except PlanError as error:
        raise PlanError("\n".join(f"{source}: {line}" for line in str(error).splitlines())) from error
    if plan.compare_with == Comparison.BASELINE:
        told = "no backend starts a baseline track yet, only `canary backtest` can judge one"
        raise PlanError(f"{source}: compare_with: got 'baseline', allowed in a rollout: stable; {told}")
    return plan


def read_text(path: Path) -> str:
    """Return a file's text, or raise PlanError saying why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PlanError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write a file, or raise PlanError saying why it cannot be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise PlanError(f"{path}: cannot be written: {error.strerror}") from error


def checked_output(option: str, path: Path | None) -> Path | None:
    """Return the path if a file can be written there, or raise PlanError before anything has begun."""
    if path is not None and not (path.parent.is_dir() and os.access(path.parent, os.W_OK) and not path.is_dir()):
        raise PlanError(f"{option}: got {str(path)!r}, allowed: a file in a folder that exists and can be written")
    return path
