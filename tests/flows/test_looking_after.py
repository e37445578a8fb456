"""The scheduled look at orphans: what it lets go on, what it tells, and that it carries no rollout itself."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from prefect.context import FlowRunContext
from prefect.exceptions import ObjectNotFound

from conductor.commands.commands import begun
from flows import operations
from flows.page import prefect_events
from rollout.errors import UnavailableError
from rollout.events import Started
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import PLAN, Process
from wiring import guard_watch
from wiring.target import Target


@pytest.fixture
def world() -> FakeWorld:
    world = FakeWorld()
    Process(world, "ada").dies_in("introduce")
    return world


@pytest.fixture
def emitted(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Prefect is told while the guard's flow looks at the world, in a flow run of this id: run-1."""
    found = list[dict[str, Any]]()
    context = SimpleNamespace(flow_run=SimpleNamespace(id="run-1", deployment_id=None))
    monkeypatch.setattr(prefect_events, "emit_event", lambda **event: found.append(event))
    monkeypatch.setattr(FlowRunContext, "get", lambda: context)
    monkeypatch.setattr(operations, "deployment", SimpleNamespace(name=None))
    monkeypatch.setattr(guard_watch, "command_contexts", lambda *_: {"": lambda: Process(world, "guard").desk})
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    return found


def test_an_orphan_that_the_look_ends_becomes_an_event_of_its_flow_run(
    world: FakeWorld, emitted: list[dict[str, Any]]
) -> None:
    state = operations.look_after.fn()

    assert (state.name, "r1: rolled back" in state.message) == ("Looked", True)
    assert [event["event"] for event in emitted] == ["canary.taken-over", "canary.rolled-back"]
    assert emitted[-1]["resource"]["prefect.resource.id"] == "canary.service.canary-app"
    assert emitted[-1]["related"][0]["prefect.resource.id"] == "prefect.flow-run.run-1"
    assert [notice.occasion for notice in world.notices.sent][-2:] == ["taken-over", "rolled-back"]


def test_an_orphan_that_goes_on_in_the_look_itself_tells_its_end_too(
    world: FakeWorld, emitted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard_watch, "open_command_context", lambda *_: Process(world, "guard").desk)
    (one,) = begun(world)

    operations.resume_elsewhere(Target())(one)

    assert [event["event"] for event in emitted][-1] == "canary.promoted"


def test_a_drill_whose_owner_died_is_no_event(world: FakeWorld, emitted: list[dict[str, Any]]) -> None:
    operations.look_after.fn()
    emitted.clear()
    drill = Started(at=world.clock.time, rollout="drill-1", plan=PLAN, who="bob", backend="fake", drill="errors=30%")
    world.ledger("drill-1").append(drill)

    state = operations.look_after.fn()

    assert "drill-1: rolled back" in state.message
    assert world.notices.sent[-1].occasion == "rolled-back"
    assert emitted == []


@pytest.mark.parametrize(("here", "beside"), [("guard", "canary-rollout"), ("guard-job", "canary-rollout-job")])
def test_a_rollout_is_gone_on_with_in_a_run_of_its_own(
    world: FakeWorld, monkeypatch: pytest.MonkeyPatch, here: str, beside: str
) -> None:
    created = dict[str, Any]()
    monkeypatch.setattr(operations, "deployment", SimpleNamespace(name=here))
    monkeypatch.setattr(operations, "run_deployment", lambda name, **given: created.update({name: given}))
    (one,) = begun(world)

    said = operations.resume_elsewhere(Target())(one)

    assert said == f"r1: a run of {beside} goes on with it"
    given = created[f"canary_rollout/{beside}"]
    assert given["parameters"]["rollout_id"] == "r1"
    assert PLAN.model_validate(given["parameters"]["plan"]) == PLAN
    assert (given["timeout"], given["as_subflow"]) == (0, False)


def test_where_no_such_deployment_is_the_look_says_so(world: FakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> None:
        raise ObjectNotFound(Exception("404"))

    monkeypatch.setattr(operations, "deployment", SimpleNamespace(name="guard"))
    monkeypatch.setattr(operations, "run_deployment", none)
    (one,) = begun(world)

    with pytest.raises(UnavailableError, match="there is no deployment canary-rollout"):
        operations.resume_elsewhere(Target())(one)
