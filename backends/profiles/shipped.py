"""Profiles by their name, or as a plan holds its own."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from backends.profiles.source_profile import Profile
from rollout.document import mistakes, shown
from rollout.errors import PlanError

SCHEMA: Final = "docs/profile.schema.json"
_FOLDER: Final = Path(__file__).parent
SHIPPED: Final = tuple(sorted(file.stem for file in _FOLDER.glob("*.yaml")))


def is_file(name: str) -> bool:
    """Return whether a plan names a file of its own, and neither a shipped profile nor holds one as text."""
    return not _is_text(name) and ("/" in name or name.endswith((".yaml", ".yml")))


def _is_text(name: str) -> bool:
    return "\n" in name


@cache
def load_profile(name: str) -> Profile:
    """Return a profile by its name, or by its text, as a plan holds one that was in a file.

    Raises
    ------
    PlanError
        One line a mistake: field, value, what is allowed.
    """
    if _is_text(name):
        return parse_profile(name, source="metrics.profile")
    if is_file(name):
        raise PlanError(f"metrics.profile: got {name!r}, allowed: a file that can be read")
    if name not in SHIPPED:
        allowed = f"{', '.join(SHIPPED)}, or a file of your own that ends in .yaml"
        raise PlanError(f"metrics.profile: got {shown(name)}, allowed: {allowed}")
    return parse_profile((_FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), source=name)


def parse_profile(text: str, *, source: str) -> Profile:
    """Return the profile that YAML text holds; raises as `load_profile` does.

    Parameters
    ----------
    text
        The content of a profile's file.
    source
        What to call it in an error.
    """
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise PlanError(f"{source}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(data, dict):
        raise PlanError(f"{source}: got {shown(data)}, allowed: a mapping with durations, unit, status and track")
    try:
        profile = Profile.model_validate(data)
    except ValidationError as error:
        raise PlanError(mistakes(error, source=source, schema=SCHEMA, whole=Profile)) from error
    if profile.fallback not in ("", *SHIPPED):
        raise PlanError(f"{source}: fallback: got {shown(profile.fallback)}, allowed: {', '.join(SHIPPED)}")
    return profile


def profile_schema() -> dict[str, Any]:
    """Return the JSON schema of a profile."""
    return Profile.model_json_schema()
