"""Metrics as Prometheus fetches them, over HTTP, from a fake world's ledger."""

from __future__ import annotations

import io
import socket
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from cli.commands import watch
from conductor.commands.commands import Desk
from rollout.errors import SetupError, UnavailableError
from rollout.events import (
    DrillEnded,
    Ended,
    EndState,
    Started,
)
from rollout.model import AT_REST
from tests.fakes import FakeWorld
from tests.unit.conductor.processes import PLAN as SHORT
from tests.unit.conductor.processes import Process
from wiring import guard_watch, metrics_endpoint
from wiring.metrics_endpoint import Looks
from wiring.target import Target

PLAN = Path("rollout.yaml")


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A service whose one rollout was promoted."""
    process = Process(FakeWorld(), "ada")
    process.carry_out()
    monkeypatch.setattr(metrics_endpoint, "command_contexts", lambda *_: {"canary-app": lambda: process.desk})
    return process.desk


def test_what_the_ledger_holds_is_served_and_the_embedded_prometheus_told_where(desk: Desk, tmp_path: Path) -> None:
    looks = Looks()
    looks.note(looked=True, actions=2)

    with metrics_endpoint.serving(Target(state=tmp_path), PLAN, also=[looks]) as address:
        served = httpx.get(address).text
        told = [file.read_text() for file in (tmp_path / "prometheus" / "targets").iterdir()]

    assert 'canary_rollout_state{service="canary-app",state="promoted"} 1.0' in served
    assert 'canary_ledger_readable{service="canary-app"} 1.0' in served
    assert "canary_guard_actions_total 2.0" in served
    assert told == [f'[{{"targets": ["{address.removeprefix("http://").removesuffix("/metrics")}"]}}]']
    assert not list((tmp_path / "prometheus" / "targets").iterdir())


def test_a_guard_exports_its_deeds_and_not_every_line_that_it_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    world = FakeWorld()
    Process(world, "ada").dies_in("introduce")
    desk = Process(world, "guard").desk
    monkeypatch.setattr(guard_watch, "command_contexts", lambda *_: {"": lambda: desk})
    watch = guard_watch.Watch(Target(), PLAN, lambda _: lambda one: one.name, print)
    desk.world.router.fail("set_weights", times=-1)

    watch.look()
    in_vain = exported(watch.looks)
    desk.world.router.mend()
    watch.look()
    watch.look()

    assert (in_vain["canary_guard_actions_total"], in_vain["canary_guard_looks_total"]) == (0, 1)
    assert (exported(watch.looks)["canary_guard_actions_total"], world.router.weights) == (1, AT_REST)


def exported(looks: Looks) -> dict[str, float]:
    samples = [one for family in looks.collect() for one in family.samples]
    return {one.name: one.value for one in samples if one.labels.get("result") != "could not look"}


def test_a_ledger_that_cannot_be_read_is_said_and_nothing_made_up(tmp_path: Path) -> None:
    with metrics_endpoint.serving(Target(state=tmp_path), PLAN) as address:
        served = httpx.get(address).text

    assert 'canary_ledger_readable{service=""} 0.0' in served
    assert "canary_rollout" not in served


def test_a_taken_port_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        with pytest.raises(SetupError, match=f"port {port}: cannot be listened on"):
            metrics_endpoint.serving(Target(state=tmp_path), PLAN, port=port).__enter__()


def test_a_rollout_that_has_ended_can_be_watched_still(desk: Desk) -> None:
    output = io.StringIO()

    assert watch._seen_to_its_end(desk.world, "", Console(file=output)) is EndState.PROMOTED
    assert "Promoted" in output.getvalue()


def test_a_drill_after_a_rollout_hides_nothing_of_it_however_often_it_is_asked(desk: Desk) -> None:
    _drill(desk)
    ledgers = metrics_endpoint.Ledgers(lambda: {"": lambda: desk})

    for _ in range(3):
        found = {sample.name: sample for family in ledgers.collect() for sample in family.samples if sample.value == 1}
        assert found["canary_rollout_state"].labels["state"] == "promoted"
        assert "canary_drill_proven" in found


def test_a_drill_before_the_first_rollout_is_exported() -> None:
    desk = Process(FakeWorld(), "ada").desk
    _drill(desk)

    names = {family.name for family in metrics_endpoint.Ledgers(lambda: {"": lambda: desk}).collect()}

    assert {"canary_drill_proven", "canary_drill_timestamp_seconds"} <= names


def test_a_service_that_cannot_be_read_hides_no_other(desk: Desk) -> None:
    def gone() -> Desk:
        raise UnavailableError("no answer")

    families = {
        one.name: one for one in metrics_endpoint.Ledgers(lambda: {"gone": gone, "canary-app": lambda: desk}).collect()
    }

    told = {one.labels["service"]: one.value for one in families["canary_ledger_readable"].samples}
    assert told == {"gone": 0, "canary-app": 1}
    assert "canary_rollout_state" in families


def _drill(desk: Desk) -> None:
    ledger, at = desk.world.ledger("r2"), desk.clock.now() + timedelta(hours=1)
    ledger.append(Started(at=at, rollout="r2", plan=SHORT, who="ada", backend="fake", drill="errors=30%"))
    ledger.append(Ended(at=at, state=EndState.ROLLED_BACK, reason="drill"))
    ledger.append(DrillEnded(at=at, stopped="", seconds={}, marked=60, counted=60, strays=0))
