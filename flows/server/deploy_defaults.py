"""What `prefect deploy` fills into prefect.yaml: a fact that another file says is not written there again."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from loadtest.allowed_targets import checked_target
from loadtest.profile import LoadProfile, parse_profile
from wiring.files import read_live_plan, read_text
from wiring.settings import Settings
from wiring.target import named_target


def defaults() -> dict[str, Any]:
    """Return what the forms are filled with at first: plan, load profile and target, as the environment names them.

    `CANARY_PLAN` and `CANARY_LOADTEST` name the files, `CANARY_BACKEND`, `CANARY_STATE`, `CANARY_NAMESPACE`,
    `CANARY_PROMETHEUS`, `CANARY_GATEWAY` and `CANARY_KIND` the target; load goes to the gateway unless those files say
    where.
    Relative paths are those of the folder that `prefect deploy` is called in.

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
        "profile": _sent_to(profile, settings.gateway).model_dump(mode="json"),
        "target": named_target(None, None).model_dump(mode="json"),
        "folder": str(Path.cwd()),
    }


def _sent_to(profile: LoadProfile, gateway: str) -> LoadProfile:
    """Return a load test that goes to the gateway, unless it says where itself."""
    if profile.url or not gateway:
        return profile
    host = urlsplit(gateway).netloc
    checked_target(gateway, {host})
    return profile.model_copy(update={"url": gateway, "allow": (*profile.allow, host)})
