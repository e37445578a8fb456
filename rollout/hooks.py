"""Hooks: what the plan's author wants done or asked before, between and after the steps."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from rollout.criteria import Part
from rollout.quantities import Duration, format_duration

LONGEST = timedelta(hours=1)


class HookMoment(StrEnum):
    """When a hook runs."""

    BEFORE_ROLLOUT = "before-rollout"
    """Before anything is touched."""
    BEFORE_STEP = "before-step"
    """Before the canary is scaled and gets the step's share."""
    AFTER_STEP = "after-step"
    """When the step has passed."""
    BEFORE_PROMOTE = "before-promote"
    AFTER_PROMOTE = "after-promote"
    AFTER_ROLLBACK = "after-rollback"
    """When all traffic is on stable again, for whatever reason."""


AFTER_THE_END = frozenset({HookMoment.AFTER_PROMOTE, HookMoment.AFTER_ROLLBACK})
OF_A_STEP = frozenset({HookMoment.BEFORE_STEP, HookMoment.AFTER_STEP})


class WhenHookFails(StrEnum):
    """What a hook that fails, or does not end in time, is to the rollout."""

    ROLLBACK = "rollback"
    HOLD = "hold"
    """Stand still, and ask it again until it succeeds or its deadline has passed."""
    IGNORE = "ignore"
    """Go on, with an alarm."""


class Hook(Part):
    """One request or command on the way; it gets what is known of the rollout as JSON."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)] = Field(
        description="What it is called in the record."
    )
    when: HookMoment = Field(description="At which moment of the rollout.")
    steps: tuple[str, ...] = Field(
        default=(), description="Before or after these steps only; all of them unless said.", max_length=50
    )
    url: str = Field(default="", description="Where the JSON is posted; any 2xx answer is a success.")
    command: tuple[str, ...] = Field(
        default=(),
        description="Program and arguments, run without a shell where the rollout's process runs, with the JSON on "
        "its standard input; exit code 0 is a success.",
    )
    timeout: Duration = Field(default=timedelta(seconds=30), description="When it is ended and has failed.")
    on_failure: WhenHookFails = Field(
        default=WhenHookFails.ROLLBACK,
        description="rollback; hold: ask again until it succeeds; or ignore, which is all that there is after the end.",
    )
    deadline: Duration = Field(
        default=timedelta(hours=24), description="How long `on_failure: hold` holds; then it is a rollback."
    )
    metadata: dict[str, str] = Field(default={}, description="Handed on in the JSON as it is.")

    @model_validator(mode="before")
    @classmethod
    def _ignored_after_the_end(cls, data: Any) -> Any:
        if isinstance(data, dict) and str(data.get("when")) in set(AFTER_THE_END):
            return {"on_failure": WhenHookFails.IGNORE.value} | data
        return data

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        if bool(self.url) == bool(self.command):
            raise ValueError(f"url is {self.url!r} and command is {list(self.command)}, allowed: one of the two")
        if self.url and not _is_web(self.url):
            raise ValueError("url is no such address, allowed: http:// or https:// and a host, without a password")
        if self.command and not self.command[0]:
            raise ValueError("command is one without a name, allowed: a program and its arguments")
        if not timedelta(0) < self.timeout <= LONGEST:
            raise ValueError(
                f"timeout is {format_duration(self.timeout)}, allowed: above 0s, at most {format_duration(LONGEST)}"
            )
        if self.when in AFTER_THE_END and self.on_failure is not WhenHookFails.IGNORE:
            raise ValueError(f"on_failure is {self.on_failure.value!r}, allowed with {self.when.value}: ignore")
        if self.steps and self.when not in OF_A_STEP:
            raise ValueError(
                f"steps is {list(self.steps)}, allowed with before-step and after-step, not {self.when.value}"
            )
        return self

    def is_due(self, when: HookMoment, step: str) -> bool:
        """Return whether it runs at this moment; `step` is empty where the moment is none of a step's."""
        return self.when is when and (not self.steps or step in self.steps)


def _is_web(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.password is None
    except ValueError:
        return False
