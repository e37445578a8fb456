"""What `prefect deploy` fills into prefect.yaml: a fact that another file says is not written there again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.files import read_live_plan, read_text
from flows.settings import Settings
from flows.targets import named_target
from loadtest.profile import parse_profile


def defaults() -> dict[str, Any]:
    """Return what the forms are filled with at first: plan, load profile and target, as the environment names them.

    `CANARY_PLAN` and `CANARY_LOADTEST` name the files, `CANARY_BACKEND`, `CANARY_STATE`, `CANARY_NAMESPACE` and
    `CANARY_PROMETHEUS` the target. Relative paths are those of the folder that `prefect deploy` is called in.

    Raises
    ------
    PlanError
        When a file says something that is not allowed; nothing is deployed then.
    """
    settings = Settings()
    profile = parse_profile(read_text(settings.loadtest), source=str(settings.loadtest))
    return {
        "plan": read_live_plan(settings.plan).model_dump(mode="json"),
        "plan_file": str(settings.plan.absolute()),
        "profile": profile.model_dump(mode="json"),
        "target": named_target(None, None).model_dump(mode="json"),
        "folder": str(Path.cwd()),
    }
