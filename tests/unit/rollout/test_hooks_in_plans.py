"""Hooks as a person writes them into a plan."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from rollout.errors import PlanError
from rollout.hooks import HookMoment, WhenHookFails
from rollout.model import Occasion
from rollout.plan import RolloutPlan, dump_plan, parse_plan, validate_plan

TEXT = (Path(__file__).parents[3] / "rollout.yaml").read_text()
HOOK: dict[str, Any] = {"name": "migrate", "when": "before-step", "url": "https://hooks.example/gate"}


def planned(*hooks: dict[str, Any], **parts: Any) -> RolloutPlan:
    return validate_plan(yaml.safe_load(TEXT) | {"hooks": [HOOK | hook for hook in hooks]} | parts)


def test_a_hook_says_when_and_what_and_the_rest_has_defaults() -> None:
    (hook,) = planned({}).hooks

    assert (hook.timeout, hook.on_failure) == (timedelta(seconds=30), WhenHookFails.ROLLBACK)
    assert all(hook.is_due(HookMoment.BEFORE_STEP, step) for step in ("introduce", "increase"))
    assert not hook.is_due(HookMoment.AFTER_STEP, "introduce")


def test_a_hook_may_be_of_some_steps_only() -> None:
    (hook,) = planned({"steps": ["full"]}).hooks

    assert [step for step in ("introduce", "increase", "full") if hook.is_due(HookMoment.BEFORE_STEP, step)] == ["full"]


@pytest.mark.parametrize("when", ["after-promote", "after-rollback"])
def test_after_the_end_a_failure_can_only_be_ignored(when: str) -> None:
    (hook,) = planned({"when": when}).hooks

    assert hook.on_failure is WhenHookFails.IGNORE
    with pytest.raises(PlanError, match="on_failure is 'rollback', allowed with after-"):
        planned({"when": when, "on_failure": "rollback"})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"when": "before-lunch"}, "hooks[0].when: got 'before-lunch', allowed: "),
        ({"when": ["before-step"]}, "hooks[0].when: got ['before-step'], allowed: "),
        ({"command": ["ls"]}, "command is ['ls'], allowed: one of the two"),
        ({"url": ""}, "hooks[0].url is '' and command is [], allowed: one of the two"),
        ({"url": "ftp://there/"}, "hooks[0].url is no such address, allowed: http:// or https:// and a host"),
        ({"url": "https://ada:hunter2@there/"}, "hooks[0].url is no such address"),
        ({"url": "http://[::1/"}, "hooks[0].url is no such address"),
        ({"url": "", "command": [""]}, "hooks[0].command is one without a name"),
        ({"timeout": "0s"}, "hooks[0].timeout is 0s, allowed: above 0s, at most 1h"),
        ({"timeout": "2h"}, "hooks[0].timeout is 2h, allowed: above 0s, at most 1h"),
        ({"timeout": 30}, "hooks[0].timeout: got 30, allowed: a duration such as"),
        ({"on_failure": "shrug"}, "hooks[0].on_failure: got 'shrug', allowed: "),
        ({"steps": ["lunch"]}, "hooks.migrate.steps names ['lunch'], allowed: ['introduce', 'increase', 'full']"),
        ({"when": "before-promote", "steps": ["full"]}, "allowed with before-step and after-step, not before-promote"),
        ({"naem": "x"}, "hooks[0].naem: unknown key (value 'x'), did you mean 'name'?"),
    ],
)
def test_a_mistake_names_field_value_and_what_is_allowed(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError) as refused:
        planned(wrong)

    assert said in str(refused.value)


def test_hooks_have_names_of_their_own() -> None:
    with pytest.raises(PlanError, match="hooks are named"):
        planned({}, {"when": "after-step"})


def test_what_is_told_is_everything_unless_the_plan_chooses() -> None:
    assert planned().notify == tuple(Occasion)
    assert planned(notify=["held", "rolled-back"]).notify == (Occasion.HELD, Occasion.ROLLED_BACK)
    with pytest.raises(PlanError, match="notify"):
        planned(notify=["lunch"])


def test_a_plan_with_hooks_reads_back_to_an_equal_one() -> None:
    plan = planned({"metadata": {"team": "shop"}}, {"name": "tell", "when": "after-promote"}, notify=["promoted"])

    assert parse_plan(dump_plan(plan)) == plan
