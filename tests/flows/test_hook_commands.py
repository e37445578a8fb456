"""Commands as hooks run when a plan file of this machine has them, and not because a form or an API says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import backends.local.environment as local
from conductor.recovery import begin
from flows.canary import canary_rollout
from rollout.errors import PlanError
from rollout.events import Started
from rollout.hooks import HookMoment
from rollout.plan import RolloutPlan, parse_plan
from wiring import hook_commands
from wiring.composition import open_run
from wiring.hook_commands import refused_commands
from wiring.preflight import checklist
from wiring.target import Target

DEMO = yaml.safe_load((Path(__file__).parents[2] / "demo.yaml").read_text())


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.World]:
    plan = parse_plan(yaml.safe_dump(DEMO))
    world = local.start(tmp_path_factory.mktemp("state"), plan=plan, scrape=plan.scrape, seed=1, owner_pid=os.getpid())
    yield world
    world.stop()


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No plan file is there, and none was named."""
    monkeypatch.setattr(hook_commands, "_named", [])
    monkeypatch.setenv("CANARY_PLAN", str(tmp_path / "rollout.yaml"))
    monkeypatch.delenv("CANARY_ALLOW_COMMANDS", raising=False)


def hook(*command: str, **parts: Any) -> dict[str, Any]:
    return {"name": "migrate", "when": "before-rollout", "command": list(command)} | parts


def data_with(*hooks: dict[str, Any]) -> dict[str, Any]:
    return DEMO | {"hooks": list(hooks)}


def plan_with(*hooks: dict[str, Any]) -> RolloutPlan:
    return parse_plan(yaml.safe_dump(data_with(*hooks)))


def written(file: Path, *hooks: dict[str, Any]) -> Path:
    file.write_text(yaml.safe_dump(data_with(*hooks)))
    return file


def refusals(world: local.World, plan: RolloutPlan) -> list[str]:
    found = checklist(plan, Target(state=world.folder.path))
    return [check.found for check in found if not check.ok]


def test_a_form_alone_runs_no_command_and_nothing_is_touched(world: local.World, tmp_path: Path) -> None:
    pasted = data_with(hook("touch", str(tmp_path / "done")))

    with pytest.raises(PlanError, match="commands that stand in no plan file of this machine: migrate \\(touch "):
        canary_rollout.fn(pasted, target=Target(state=world.folder.path))  # type: ignore[arg-type] - as a form gives it

    assert not (tmp_path / "done").exists()
    assert world.rollouts() == ()


def test_what_the_plan_file_of_the_process_has_may_run(world: local.World, tmp_path: Path) -> None:
    ours = hook("make", "migrate")
    written(tmp_path / "rollout.yaml", ours)

    assert refusals(world, plan_with(ours)) == []
    assert refusals(world, plan_with(ours, hook("id", name="other"))) == [
        "commands that stand in no plan file of this machine: other (id)"
    ]


@pytest.mark.parametrize("changed", [{"when": "after-rollback"}, {"metadata": {"DROP": "all"}}, {"timeout": "1h"}])
def test_a_hook_of_the_file_that_a_form_has_changed_is_another(tmp_path: Path, changed: dict[str, Any]) -> None:
    ours = hook("make", "migrate")
    written(tmp_path / "rollout.yaml", ours)

    assert len(refused_commands(plan_with(ours | changed))) == 1


def test_a_file_that_the_command_line_names_is_as_good(tmp_path: Path) -> None:
    ours = hook("make", "migrate")
    hook_commands.trust(written(tmp_path / "mine.yaml", ours))

    assert refused_commands(plan_with(ours)) == ()


def test_whoever_runs_the_worker_may_allow_all_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY_ALLOW_COMMANDS", "true")

    assert refused_commands(plan_with(hook("id"))) == ()


def test_requests_as_hooks_need_no_file() -> None:
    request = {"name": "gate", "when": "before-rollout", "url": "http://gate.example/"}

    assert refused_commands(plan_with(request)) == ()


@pytest.mark.parametrize("content", ["", "hooks: [", "{}", "\x00"])
def test_a_plan_file_that_is_none_allows_nothing(tmp_path: Path, content: str) -> None:
    (tmp_path / "rollout.yaml").write_text(content)

    assert len(refused_commands(plan_with(hook("id")))) == 1


def test_a_rollout_on_this_machines_own_record_goes_on_with_its_commands(world: local.World, tmp_path: Path) -> None:
    plan, target = plan_with(hook("true")), Target(state=world.folder.path)

    def outcome() -> str:
        run = open_run(plan, target, "r1")
        assert run.ports.hooks is not None
        (due,) = [one for one in plan.hooks if one.is_due(HookMoment.BEFORE_ROLLOUT, "")]
        running = run.ports.hooks.start(due, "{}")
        while (found := running.outcome()) is None:
            pass
        running.stop()
        return found.reason

    assert outcome().startswith("may not run true here")
    run = open_run(plan, target, "r1")
    begin(run, Started(at=run.ports.clock.now(), rollout="r1", plan=plan, who="ada", backend="local"), None)
    run.journal.finish()
    assert outcome() == "ended with exit code 0"
